//! One long text as many short ones: windows of tokens, each with the token that comes next.

use candle_core::{Device, Result, Tensor};
use nn_core::{Random, ensure};

use super::{Batch, Dataset};

/// Where the windows of an epoch begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the first token.
    #[default]
    First,
    /// At one of the first window's tokens, drawn in every epoch: a model meets a text in ever new windows.
    Drawn,
}

/// Tokens in windows that follow each other; example `n` is the `n`-th window.
///
/// Inputs and targets are `[B, length]` of `u32`, the targets one token further.
#[derive(Clone, Debug)]
pub struct TokenStream {
    tokens: Vec<u32>,
    length: usize,
    begin: Begin,
}

impl TokenStream {
    /// Windows of `length` tokens; what is left at the end is left out.
    ///
    /// # Errors
    /// If a window has no tokens, or there are too few tokens for one.
    pub fn new(tokens: Vec<u32>, length: usize, begin: Begin) -> Result<Self> {
        ensure!(length > 0, "TokenStream: a window must have a token, got 0");
        let needed = match begin {
            Begin::First => length.saturating_add(1),
            Begin::Drawn => length.saturating_mul(2),
        };
        let got = tokens.len();
        ensure!(got >= needed, "TokenStream: windows of {length} need {needed} tokens or more, got {got}");
        Ok(Self { tokens, length, begin })
    }

    /// All of them.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl Dataset for TokenStream {
    type Batch = Batch;

    fn len(&self) -> usize {
        let beyond = match self.begin {
            Begin::First => 1,
            Begin::Drawn => self.length,
        };
        (self.tokens.len() - beyond) / self.length
    }

    fn batch(&self, indices: &[usize], random: Random) -> Result<Batch> {
        let begin = match self.begin {
            Begin::First => 0,
            Begin::Drawn => random.at("begin").draws().below(self.length as u32) as usize,
        };
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for &index in indices {
            ensure!(index < self.len(), "TokenStream: there are {} windows, got index {index}", self.len());
            let start = begin + index * self.length;
            inputs.extend_from_slice(&self.tokens[start..start + self.length]);
            targets.extend_from_slice(&self.tokens[start + 1..start + 1 + self.length]);
        }
        let shape = (indices.len(), self.length);
        let tensor = |tokens| Tensor::from_vec(tokens, shape, &Device::Cpu);
        Ok(Batch { inputs: tensor(inputs)?, targets: tensor(targets)? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn windows_follow_each_other() -> Result<()> {
        for (tokens, windows) in [(4, 1), (6, 1), (7, 2), (9, 2), (10, 3)] {
            assert_eq!(TokenStream::new((0..tokens).collect(), 3, Begin::First)?.len(), windows, "{tokens}");
        }
        let batch = TokenStream::new((0..10).collect(), 3, Begin::First)?.batch(&[2, 0], Random::new(0))?;
        assert_eq!(batch.inputs.to_vec2::<u32>()?, [[6, 7, 8], [0, 1, 2]]);
        assert_eq!(batch.targets.to_vec2::<u32>()?, [[7, 8, 9], [1, 2, 3]]);
        Ok(())
    }

    #[test]
    fn epochs_begin_anywhere_and_end_within_the_text() -> Result<()> {
        let stream = TokenStream::new((0..12).collect(), 4, Begin::Drawn)?;
        assert_eq!(stream.len(), 2);
        let begins = (0..50).map(|epoch| {
            let batch = stream.batch(&[0, 1], Random::new(3).nth(epoch))?;
            let (inputs, targets) = (batch.inputs.to_vec2::<u32>()?, batch.targets.to_vec2::<u32>()?);
            assert_eq!(inputs[1][0], inputs[0][0] + 4);
            assert_eq!(targets[1][3], inputs[0][0] + 8);
            Ok(inputs[0][0])
        });
        assert_eq!(begins.collect::<Result<BTreeSet<_>>>()?, BTreeSet::from([0, 1, 2, 3]));
        Ok(())
    }

    #[test]
    fn short_texts_are_refused() -> Result<()> {
        for (tokens, length, begin, says) in [
            (3, 3, Begin::First, "windows of 3 need 4 tokens or more, got 3"),
            (7, 4, Begin::Drawn, "need 8"),
            (3, 0, Begin::First, "must have a token"),
        ] {
            let error = TokenStream::new(vec![0; tokens], length, begin).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        let stream = TokenStream::new(vec![0; 4], 3, Begin::First)?;
        let error = stream.batch(&[1], Random::new(0)).expect_err("one window").to_string();
        assert!(error.contains("there are 1 windows, got index 1"), "{error}");
        Ok(())
    }
}
