//! Sequences of tokens, padded to the longest of their batch.

use candle_core::{Device, Result, Tensor};
use nn_core::{Random, ensure};

use super::Dataset;

/// Sequences of tokens as one tensor.
#[derive(Clone, Debug)]
pub struct Padded {
    /// `[B, T]` of `u32`, as many steps as the longest has.
    pub tokens: Tensor,
    /// How many of the steps are each sequence's own.
    pub lengths: Vec<usize>,
}

impl Padded {
    /// Fills up with `padding`.
    ///
    /// # Errors
    /// If a sequence is empty; the message gives its place.
    pub fn new<S: AsRef<[u32]>>(sequences: &[S], padding: u32) -> Result<Self> {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.as_ref().len()).collect();
        let empty = lengths.iter().position(|&length| length == 0);
        ensure!(empty.is_none(), "Padded: sequence {} of the batch is empty", empty.unwrap_or(0));
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let mut tokens = Vec::with_capacity(sequences.len() * steps);
        for sequence in sequences {
            tokens.extend_from_slice(sequence.as_ref());
            tokens.resize(tokens.len().next_multiple_of(steps), padding);
        }
        Ok(Self { tokens: Tensor::from_vec(tokens, (sequences.len(), steps), &Device::Cpu)?, lengths })
    }
}

/// Sequences of tokens in memory, each of a class.
#[derive(Clone, Debug)]
pub struct LabelledSequences {
    sequences: Vec<Vec<u32>>,
    labels: Vec<u32>,
    padding: u32,
}

/// A batch of [`LabelledSequences`].
#[derive(Clone, Debug)]
pub struct LabelledBatch {
    /// The sequences.
    pub inputs: Padded,
    /// `[B]` of `u32`, their classes.
    pub targets: Tensor,
}

impl LabelledSequences {
    /// `labels` are the classes of the sequences; `padding` fills up short ones.
    ///
    /// # Errors
    /// If there is not one label a sequence, or a sequence is empty.
    pub fn new(sequences: Vec<Vec<u32>>, labels: Vec<u32>, padding: u32) -> Result<Self> {
        let (count, got) = (sequences.len(), labels.len());
        ensure!(got == count, "LabelledSequences: one label a sequence, {count}, got {got}");
        let empty = sequences.iter().position(Vec::is_empty);
        ensure!(empty.is_none(), "LabelledSequences: sequence {} is empty", empty.unwrap_or(0));
        Ok(Self { sequences, labels, padding })
    }

    /// The tokens of a sequence.
    pub fn sequence(&self, index: usize) -> Option<&[u32]> {
        self.sequences.get(index).map(Vec::as_slice)
    }

    /// The class of each.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

impl Dataset for LabelledSequences {
    type Batch = LabelledBatch;

    fn len(&self) -> usize {
        self.sequences.len()
    }

    fn batch(&self, indices: &[usize], _random: Random) -> Result<LabelledBatch> {
        let beyond = indices.iter().find(|&&index| index >= self.len());
        ensure!(
            beyond.is_none(),
            "LabelledSequences: there are {}, got index {}",
            self.len(),
            beyond.unwrap_or(&0)
        );
        let sequences: Vec<&[u32]> = indices.iter().map(|&index| self.sequences[index].as_slice()).collect();
        let labels: Vec<u32> = indices.iter().map(|&index| self.labels[index]).collect();
        let targets = Tensor::from_vec(labels, indices.len(), &Device::Cpu)?;
        Ok(LabelledBatch { inputs: Padded::new(&sequences, self.padding)?, targets })
    }

    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        by_length(order, batch_size, random, |index| self.sequences[index].len())
    }
}

/// Batches among which a sequence finds others of its length.
const POOL: usize = 64;

/// `order` with examples of like length side by side, so that batches of `batch_size` hold little padding: within 64 batches
/// at a time they are sorted by length, and the batches shuffled.
pub fn by_length(
    mut order: Vec<usize>,
    batch_size: usize,
    random: Random,
    length: impl Fn(usize) -> usize,
) -> Vec<usize> {
    for (n, pool) in (0..).zip(order.chunks_mut(POOL.saturating_mul(batch_size))) {
        pool.sort_by_key(|&index| length(index));
        // The last batch may be smaller and must stay the last.
        let mut batches: Vec<Vec<usize>> = pool.chunks_exact(batch_size).map(<[usize]>::to_vec).collect();
        random.nth(n).draws().shuffle(&mut batches);
        pool.iter_mut().zip(batches.concat()).for_each(|(place, index)| *place = index);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::{Loader, LoaderConfig, Order};

    fn set(lengths: &[usize]) -> Result<LabelledSequences> {
        let sequences: Vec<Vec<u32>> = (0..).zip(lengths).map(|(i, &n)| vec![i; n]).collect();
        let labels = (0..lengths.len() as u32).collect();
        LabelledSequences::new(sequences, labels, 99)
    }

    #[test]
    fn batches_are_padded_to_their_longest() -> Result<()> {
        let batch = set(&[2, 1, 3])?.batch(&[1, 2], Random::new(0))?;
        assert_eq!(batch.inputs.tokens.to_vec2::<u32>()?, [[1, 99, 99], [2, 2, 2]]);
        assert_eq!(batch.inputs.lengths, [1, 3]);
        assert_eq!(batch.targets.to_vec1::<u32>()?, [1, 2]);
        assert_eq!(set(&[2])?.batch(&[], Random::new(0))?.inputs.tokens.dims(), [0, 0]);
        Ok(())
    }

    #[test]
    fn wrong_sequences_are_named() -> Result<()> {
        for (error, says) in [
            (set(&[1, 0]).err(), "sequence 1 is empty"),
            (LabelledSequences::new(vec![vec![1]], vec![], 0).err(), "one label a sequence, 1, got 0"),
            (set(&[1])?.batch(&[0, 7], Random::new(0)).err(), "there are 1, got index 7"),
            (Padded::new(&[vec![1], vec![]], 0).err(), "sequence 1 of the batch is empty"),
        ] {
            let error = error.expect(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        Ok(())
    }

    #[test]
    fn shuffled_batches_hold_little_padding_and_every_example_once() -> Result<()> {
        let lengths: Vec<usize> = (0..1003).map(|i| 1 + i * 7 % 50).collect();
        let config = LoaderConfig { batch_size: 16, order: Order::Shuffled, ..LoaderConfig::default() };
        let loader = Loader::new(Arc::new(set(&lengths)?), config, Random::new(1))?;
        let mut seen = Vec::new();
        let (mut own, mut all) = (0, 0);
        let mut longest = Vec::new();
        for batch in loader.epoch(0) {
            let batch = batch?;
            own += batch.inputs.lengths.iter().sum::<usize>();
            all += batch.inputs.tokens.elem_count();
            longest.push(batch.inputs.tokens.dim(1)?);
            seen.extend(batch.targets.to_vec1::<u32>()?);
        }
        assert!((all as f64) < 1.05 * own as f64, "{own} of {all}");
        // Of all lengths throughout the epoch.
        assert!(!longest.is_sorted() && longest[..8].iter().max() > longest[..8].iter().min());
        assert_ne!(loader.order(0), loader.order(1));
        assert_eq!(loader.order(0), loader.order(0));
        seen.sort_unstable();
        assert_eq!(seen, (0..1003).collect::<Vec<_>>());
        // A batch larger than any set is the set.
        assert_eq!(by_length(vec![0, 1, 2], usize::MAX / 2, Random::new(1), |i| 9 - i), [2, 1, 0]);
        Ok(())
    }
}
