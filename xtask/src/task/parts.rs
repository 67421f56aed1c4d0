//! The parts of a task's data: what is trained on, what the best epoch is chosen on, what is tested on once at the end.

use std::sync::Arc;

use anyhow::Result;
use nn_core::Random;
use nn_train::data::{
    Dataset, Loader, LoaderConfig, Order, Part, Portion, Shard, balanced, split, split_by_class,
};

use super::Task;
use crate::failure::{Advise, failed};
use crate::recipe::{Recipe, Sampling, Split};

/// The parts of a task's data, in batches.
pub(crate) struct Parts<T: Task> {
    pub(crate) train: Loader<Portion<T::Set>>,
    /// What the best epoch is chosen on.
    pub(crate) eval: Loader<Portion<T::Set>>,
    pub(crate) test: Loader<T::Set>,
    pub(crate) judge: Judge,
}

/// By which part the best epoch is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// One of its own: a share of the training examples, or what the data have for it.
    Validation,
    /// The test part itself, whose figures then flatter.
    Test,
}

/// How examples stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Each is by itself: which are held out is drawn.
    Strangers,
    /// One begins before the other ends: the last are held out, and so many before them are left out.
    Overlap(usize),
}

impl Neighbours {
    /// Which of so many examples are trained on, and which are the share that is held out.
    ///
    /// Strangers that have `labels` are divided class by class.
    fn divide(self, len: usize, share: f64, labels: Option<&[u32]>) -> candle_core::Result<[Vec<usize>; 2]> {
        let random = Random::new(0).at("validation");
        match self {
            Self::Strangers => match labels {
                Some(labels) => split_by_class(&labels[..len.min(labels.len())], 1.0 - share, random),
                None => split(len, 1.0 - share, random),
            },
            Self::Overlap(gap) => {
                let first = len - (len as f64 * share).round() as usize;
                Ok([(0..first.saturating_sub(gap)).collect(), (first..len).collect()])
            }
        }
    }
}

impl Judge {
    /// What people call the part.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl<T: Task> Parts<T> {
    /// # Errors
    /// If the files are missing or not what they should be, or too few examples are left.
    pub(crate) fn open(recipe: &Recipe<T>, known: &T::Known, shard: Shard) -> Result<Self> {
        let train = T::open(recipe, known, Part::Train)?;
        let test = Arc::new(T::open(recipe, known, Part::Test)?);
        let (train, eval, judge) = match recipe.train.validation {
            Some(share) => {
                let [train, eval] = divide(recipe, train, T::still(recipe, known)?, share)?;
                (train, eval, Judge::Validation)
            }
            None => match T::validation(recipe, known)? {
                Some(own) => (Portion::whole(train.into()), Portion::whole(own.into()), Judge::Validation),
                None => (Portion::whole(train.into()), Portion::whole(Arc::clone(&test)), Judge::Test),
            },
        };
        let (batch_size, workers) = (recipe.train.batch_size, T::workers(recipe));
        let config = LoaderConfig { batch_size, workers, shard, ..LoaderConfig::default() };
        let shuffled = LoaderConfig { order: Order::Shuffled, ..config };
        let random = Random::new(recipe.train.seed).at("data");
        Ok(Self {
            train: sampled(recipe, Loader::new(train.into(), shuffled, random)?)?,
            eval: Loader::new(eval.into(), config, random)?,
            test: Loader::new(test, config, random)?,
            judge,
        })
    }
}

/// What is left to train on of the training examples, and the share of them that is held out, whatever the run's seed
/// always the same; `still` are the same examples as they are in evaluation.
fn divide<T: Task>(
    recipe: &Recipe<T>,
    train: T::Set,
    still: T::Set,
    share: f64,
) -> Result<[Portion<T::Set>; 2]> {
    let len = train.len().min(still.len());
    let labels = match recipe.train.split {
        Split::Random => None,
        Split::Stratified => Some(labels::<T>(&train)?),
    };
    let [kept, held] = T::neighbours(recipe).divide(len, share, labels.as_deref())?;
    for (examples, what) in [(&kept, "train"), (&held, "validate")] {
        if examples.is_empty() {
            let message = format!(
                "of {len} training {} train.validation = {share} leaves none to {what} on",
                T::EXAMPLES
            );
            return Err(failed(message)).advise("choose another share, or none, with --set train.validation");
        }
    }
    Ok([Portion::new(train.into(), kept)?, Portion::new(still.into(), held)?])
}

/// The training examples as often as the recipe wants them.
fn sampled<T: Task>(recipe: &Recipe<T>, train: Loader<Portion<T::Set>>) -> Result<Loader<Portion<T::Set>>> {
    if recipe.train.sampling == Sampling::Shuffled {
        return Ok(train);
    }
    let labels = labels::<T>(train.data().data())?;
    let of_portion: Vec<u32> = train.data().indices().iter().map(|&index| labels[index]).collect();
    Ok(train.weighted(&balanced(&of_portion))?)
}

/// # Errors
/// If the examples are of no classes: pictures may have masks instead.
fn labels<T: Task>(set: &T::Set) -> Result<Vec<u32>> {
    T::labels(set).ok_or_else(|| {
        failed(format!("train.split and train.sampling go by classes, and these {} have none", T::EXAMPLES))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_drawn_and_neighbours_parted() -> Result<()> {
        let [kept, held] = Neighbours::Strangers.divide(100, 0.2, None)?;
        assert_eq!((kept.len(), held.len()), (80, 20));
        let mut all = [kept.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_ne!(held, (80..100).collect::<Vec<_>>());
        assert_eq!(Neighbours::Strangers.divide(100, 0.2, None)?, [kept, held]);
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i % 10 == 0)).collect();
        let [_, held] = Neighbours::Strangers.divide(100, 0.2, Some(&labels))?;
        assert_eq!((held.len(), held.iter().filter(|&&i| labels[i] == 1).count()), (20, 2));
        for (gap, trained) in [(0, 8), (1, 7), (3, 5), (20, 0)] {
            let [kept, held] = Neighbours::Overlap(gap).divide(10, 0.2, None)?;
            assert_eq!((kept, held), ((0..trained).collect(), vec![8, 9]));
        }
        Ok(())
    }
}
