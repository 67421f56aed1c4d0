//! The parts of a task's data: what is trained on, what the best epoch is chosen on, what is tested on once at the end.

use std::sync::Arc;

use anyhow::Result;
use nn_core::Random;
use nn_train::data::{Dataset, Loader, LoaderConfig, Order, Part, Portion, split};

use super::Task;
use crate::failure::{Advise, failed};
use crate::recipe::Recipe;

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
    fn divide(self, len: usize, share: f64) -> candle_core::Result<[Vec<usize>; 2]> {
        match self {
            Self::Strangers => split(len, 1.0 - share, Random::new(0).at("validation")),
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
    pub(crate) fn open(recipe: &Recipe<T>, known: &T::Known) -> Result<Self> {
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
        let config = LoaderConfig { batch_size, workers, ..LoaderConfig::default() };
        let random = Random::new(recipe.train.seed).at("data");
        Ok(Self {
            train: Loader::new(train.into(), LoaderConfig { order: Order::Shuffled, ..config }, random)?,
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
    let [kept, held] = T::neighbours(recipe).divide(len, share)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_drawn_and_neighbours_parted() -> Result<()> {
        let [kept, held] = Neighbours::Strangers.divide(100, 0.2)?;
        assert_eq!((kept.len(), held.len()), (80, 20));
        let mut all = [kept.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_ne!(held, (80..100).collect::<Vec<_>>());
        assert_eq!(Neighbours::Strangers.divide(100, 0.2)?, [kept, held]);
        for (gap, trained) in [(0, 8), (1, 7), (3, 5), (20, 0)] {
            let [kept, held] = Neighbours::Overlap(gap).divide(10, 0.2)?;
            assert_eq!((kept, held), ((0..trained).collect(), vec![8, 9]));
        }
        Ok(())
    }
}
