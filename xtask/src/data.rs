//! Data sets by name: where they come from, what they hold, and how they are loaded.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nn_train::data::mnist::{self, FASHION_MNIST, Family, MNIST};
use nn_train::data::{Dataset, ImageSet, Images, Normalise, Part, digits};
use serde::{Deserialize, Serialize};

use crate::failure::{Advise, failed};

/// The environment's answer where `--data-dir` and the recipe give none.
pub(crate) const DIRECTORY_VARIABLE: &str = "NN_DATA_DIR";

/// The images of `digits` are always these, so that results compare.
const DIGITS_SEED: u64 = 0;

/// A data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DataName {
    #[default]
    Digits,
    Mnist,
    FashionMnist,
}

/// What there is to say about a data set without loading it.
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    /// `[C, H, W]`
    pub(crate) size: [usize; 3],
    pub(crate) classes: usize,
    pub(crate) train: usize,
    pub(crate) test: usize,
    pub(crate) source: &'static str,
}

/// Where a data set is read from and how much of it is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    #[serde(default)]
    pub(crate) name: DataName,
    /// The folder of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    /// Only the first so many training images; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train_examples: Option<usize>,
    /// Only the first so many test images; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test_examples: Option<usize>,
}

impl DataName {
    pub(crate) const ALL: [Self; 3] = [Self::Digits, Self::Mnist, Self::FashionMnist];

    pub(crate) fn facts(self) -> Facts {
        let facts =
            |name, train, test, source| Facts { name, size: [1, 28, 28], classes: 10, train, test, source };
        match self {
            Self::Digits => facts("digits", 10_000, 2_000, "drawn by this program: no files, no download"),
            Self::Mnist => facts(MNIST.name, 60_000, 10_000, "LeCun et al. 1998; IDX files in --data-dir"),
            Self::FashionMnist => {
                facts(FASHION_MNIST.name, 60_000, 10_000, "Xiao et al. 2017; IDX files in --data-dir")
            }
        }
    }

    fn family(self) -> Option<&'static Family> {
        match self {
            Self::Digits => None,
            Self::Mnist => Some(&MNIST),
            Self::FashionMnist => Some(&FASHION_MNIST),
        }
    }

    /// How intensities become inputs.
    pub(crate) fn normalise(self) -> Normalise {
        self.family().map_or(digits::NORMALISE, |family| family.normalise)
    }

    /// The names of the classes, in order.
    pub(crate) fn classes(self) -> Vec<String> {
        match self.family() {
            Some(family) => family.classes.iter().map(|&name| name.to_owned()).collect(),
            None => (0..10).map(|digit| digit.to_string()).collect(),
        }
    }
}

impl Plan {
    /// Fills in the folder: the one given, else the plan's own, else the environment's. In absolute form, so that
    /// a run finds it again from anywhere.
    pub(crate) fn locate(&mut self, given: Option<&Path>) {
        if self.name == DataName::Digits {
            self.dir = None;
            return;
        }
        let dir = given.map(Path::to_owned).or_else(|| self.dir.take());
        let dir = dir.or_else(|| std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from));
        self.dir = dir.map(|dir| std::path::absolute(&dir).unwrap_or(dir));
    }

    /// # Errors
    /// If the files are missing or not what they should be.
    pub(crate) fn load(&self, part: Part) -> Result<ImageSet> {
        let whole = match (self.name.family(), &self.dir) {
            (None, _) => digits(DIGITS_SEED, part),
            (Some(family), Some(dir)) => {
                let advice = format!(
                    "--data-dir names the folder; `digits` needs none: --data {}",
                    DataName::Digits.facts().name
                );
                mnist::load(family, dir, part).advise(advice)?
            }
            (Some(family), None) => {
                let error = Err(failed(format!("where are the files of {}?", family.name)));
                return error.advise(format!("give their folder with --data-dir or {DIRECTORY_VARIABLE}"));
            }
        };
        let limit = match part {
            Part::Train => self.train_examples,
            Part::Test => self.test_examples,
        };
        match limit {
            Some(n) if n < whole.len() => Ok(first(&whole, n, self.name.normalise())?),
            _ => Ok(whole),
        }
    }
}

/// The first `n` examples.
fn first(set: &ImageSet, n: usize, normalise: Normalise) -> candle_core::Result<ImageSet> {
    let pixels = (0..n).filter_map(|i| set.pixels(i)).flatten().copied().collect();
    let images = Images { pixels, size: set.size() };
    ImageSet::new(images, set.labels()[..n].to_vec(), set.classes().to_vec(), &[normalise])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_true() -> Result<()> {
        let plan = Plan::default();
        let facts = plan.name.facts();
        for (part, count) in [(Part::Train, facts.train), (Part::Test, facts.test)] {
            let set = plan.load(part)?;
            assert_eq!((set.len(), set.size(), set.classes().len()), (count, facts.size, facts.classes));
        }
        for name in DataName::ALL {
            assert_eq!(serde_json::to_value(name)?, name.facts().name);
            assert_eq!(name.classes().len(), name.facts().classes);
        }
        Ok(())
    }

    #[test]
    fn a_part_of_a_set_is_its_beginning() -> Result<()> {
        let whole = Plan::default().load(Part::Test)?;
        let part = Plan { test_examples: Some(3), ..Plan::default() }.load(Part::Test)?;
        assert_eq!(part.len(), 3);
        assert_eq!((part.labels(), part.pixels(2)), (&whole.labels()[..3], whole.pixels(2)));
        assert_eq!(
            Plan { test_examples: Some(usize::MAX), ..Plan::default() }.load(Part::Test)?.len(),
            whole.len()
        );
        Ok(())
    }

    #[test]
    fn missing_files_are_explained() {
        let mut plan = Plan { name: DataName::Mnist, ..Plan::default() };
        plan.locate(Some(Path::new("no/such/folder")));
        assert!(plan.dir.as_ref().is_some_and(|dir| dir.is_absolute()));
        let error = crate::failure::report(&plan.load(Part::Train).expect_err("no folder"));
        assert!(error.contains("no/such/folder") && error.contains("--data-dir"), "{error}");
    }
}
