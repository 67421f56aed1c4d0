//! Pictures one at a time, with what should be made of each.

use std::sync::Arc;

use candle_core::Result;
use nn_core::{Random, ensure};

use super::Image;

/// Pictures by index, in memory or on the disk.
pub trait Source: Send + Sync + 'static {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The picture at `index`, read and decoded now if it lies on the disk.
    ///
    /// # Errors
    /// If `index` is past the end, or the picture cannot be read; the message names it.
    fn example(&self, index: usize) -> Result<Example>;

    /// The name of each class, by its index.
    fn classes(&self) -> &[String];

    /// The class of the picture at `index`, where that is known without reading it.
    fn class(&self, _index: usize) -> Option<u32> {
        None
    }
}

/// A picture and what should be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// `[C, H, W]`
    pub image: Image,
    /// The answer.
    pub target: Target,
}

/// What should be made of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It shows this class.
    Class(u32),
    /// A class for every pixel, `[1, H, W]`.
    Mask {
        /// The class of each pixel.
        classes: Image,
        /// The value that stands for "not known"; pixels from beyond the picture get it.
        ignore: u8,
    },
}

impl Example {
    /// The example whose picture went through `image`, and whose mask went the same way through `mask`, which also
    /// gets the value of what is not known.
    ///
    /// # Errors
    /// What the functions say.
    pub fn moved(
        self,
        image: impl FnOnce(Image) -> Result<Image>,
        mask: impl FnOnce(Image, u8) -> Result<Image>,
    ) -> Result<Self> {
        let target = match self.target {
            Target::Mask { classes, ignore } => Target::Mask { classes: mask(classes, ignore)?, ignore },
            class => class,
        };
        Ok(Self { image: image(self.image)?, target })
    }
}

/// Some of the pictures of another source.
#[derive(Debug)]
pub struct Subset<S: ?Sized> {
    source: Arc<S>,
    indices: Vec<usize>,
}

impl<S: Source + ?Sized> Subset<S> {
    /// Those at `indices`, in that order.
    ///
    /// # Errors
    /// If an index is past the end.
    pub fn new(source: Arc<S>, indices: Vec<usize>) -> Result<Self> {
        let beyond = indices.iter().find(|&&index| index >= source.len());
        let beyond = beyond.copied().unwrap_or(0);
        ensure!(
            indices.is_empty() || beyond < source.len(),
            "Subset: there are {} examples, got index {beyond}",
            source.len()
        );
        Ok(Self { source, indices })
    }
}

impl<S: Source + ?Sized> Source for Subset<S> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let Some(&index) = self.indices.get(index) else {
            candle_core::bail!("Subset: there are {} examples, got index {index}", self.len())
        };
        self.source.example(index)
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn class(&self, index: usize) -> Option<u32> {
        self.indices.get(index).and_then(|&index| self.source.class(index))
    }
}

/// Two parts of `0..len`: the first holds `fraction` of the examples, rounded to the nearest, the second the rest.
/// Which example goes where depends on `random` alone; each part is in ascending order.
///
/// # Errors
/// If `fraction` is not in [0, 1].
pub fn split(len: usize, fraction: f64, random: Random) -> Result<[Vec<usize>; 2]> {
    split_groups(vec![(0..len).collect()], len, fraction, random)
}

/// [`split`] in which both parts hold the classes of `labels` in the same proportions ("stratified"): of each class the
/// first part gets its share, rounded down or up so that there are as many examples in all as in [`split`].
///
/// Source: scikit-learn's `train_test_split(stratify=labels)`, whose classes have the same sizes.
/// Differs: a class may have a single example.
///
/// # Errors
/// As [`split`].
pub fn split_by_class(labels: &[u32], fraction: f64, random: Random) -> Result<[Vec<usize>; 2]> {
    let mut groups = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for (index, &label) in labels.iter().enumerate() {
        groups.entry(label).or_default().push(index);
    }
    split_groups(groups.into_values().collect(), labels.len(), fraction, random)
}

fn split_groups(
    groups: Vec<Vec<usize>>,
    len: usize,
    fraction: f64,
    random: Random,
) -> Result<[Vec<usize>; 2]> {
    ensure!((0.0..=1.0).contains(&fraction), "split: a fraction must be in [0, 1], got {fraction}");
    let first = (len as f64 * fraction).round() as usize;
    let sizes = shares(&groups, first, random.at("shares"));
    let mut parts = [Vec::new(), Vec::new()];
    for (number, (mut group, size)) in (0..).zip(groups.into_iter().zip(sizes)) {
        random.at("split").nth(number).draws().shuffle(&mut group);
        let rest = group.split_off(size);
        parts[0].extend(group);
        parts[1].extend(rest);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// How many of each group are among the first `total` of all: its share, rounded down, and one more where most was
/// rounded away, until there are as many. Chance decides between equals.
fn shares(groups: &[Vec<usize>], total: usize, random: Random) -> Vec<usize> {
    let len = groups.iter().map(Vec::len).sum::<usize>().max(1) as u128;
    let parts = |group: &Vec<usize>| {
        let part = group.len() as u128 * total as u128;
        ((part / len) as usize, part % len)
    };
    let (mut sizes, lost): (Vec<usize>, Vec<u128>) = groups.iter().map(parts).unzip();
    let missing = total - sizes.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    random.draws().shuffle(&mut order);
    order.sort_by_key(|&group| std::cmp::Reverse(lost[group]));
    order.into_iter().take(missing).for_each(|group| sizes[group] += 1);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_seeded_and_as_large_as_asked_for() -> Result<()> {
        for (len, fraction, first) in
            [(10, 0.8, 8), (10, 0.25, 3), (3, 0.5, 2), (5, 0.0, 0), (5, 1.0, 5), (0, 0.5, 0)]
        {
            let [a, b] = split(len, fraction, Random::new(1))?;
            assert_eq!(a.len(), first, "{len} {fraction}");
            let mut all = [a.clone(), b].concat();
            assert!(a.is_sorted());
            all.sort_unstable();
            assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
        assert_eq!(split(100, 0.5, Random::new(1))?, split(100, 0.5, Random::new(1))?);
        assert_ne!(split(100, 0.5, Random::new(1))?, split(100, 0.5, Random::new(2))?);
        for fraction in [-0.1, 1.1, f64::NAN] {
            assert!(split(3, fraction, Random::new(0)).expect_err("refused").to_string().contains("[0, 1]"));
        }
        Ok(())
    }

    #[test]
    fn classes_keep_their_proportions_where_asked_to() -> Result<()> {
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i % 10 == 0)).collect();
        let [a, b] = split_by_class(&labels, 0.7, Random::new(3))?;
        let rare = |part: &[usize]| part.iter().filter(|&&i| labels[i] == 1).count();
        assert_eq!((a.len(), rare(&a), b.len(), rare(&b)), (70, 7, 30, 3));
        Ok(())
    }

    #[test]
    fn classes_have_the_sizes_that_scikit_learn_gives_them() -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Case {
            counts: Vec<usize>,
            first: usize,
            of_each: Vec<usize>,
        }
        let golden = include_str!("../../../../tests/golden/split.json");
        let cases: Vec<Case> = serde_json::from_str(golden).expect("cases");
        assert!(cases.len() > 50);
        for Case { counts, first, of_each } in cases {
            let labels: Vec<u32> =
                (0..).zip(&counts).flat_map(|(class, &count)| vec![class; count]).collect();
            let fraction = first as f64 / labels.len() as f64;
            let [a, b] = split_by_class(&labels, fraction, Random::new(4))?;
            assert_eq!((a.len(), a.len() + b.len()), (first, labels.len()));
            let mut ours = vec![0; counts.len()];
            a.iter().for_each(|&index| ours[labels[index] as usize] += 1);
            assert_eq!(ours, of_each, "{counts:?}");
        }
        Ok(())
    }

    #[test]
    fn chance_decides_between_classes_of_one_size() -> Result<()> {
        let labels: Vec<u32> = (0..20).map(|i| i % 4).collect();
        let mut winners = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let [a, _] = split_by_class(&labels, 0.9, Random::new(seed))?;
            assert_eq!(a.len(), 18);
            let mut counts = [0; 4];
            a.iter().for_each(|&index| counts[labels[index] as usize] += 1);
            winners.insert(counts);
            counts.sort_unstable();
            assert_eq!(counts, [4, 4, 5, 5]);
        }
        assert_eq!(winners.len(), 6);
        Ok(())
    }
}
