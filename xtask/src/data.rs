//! Data sets by name: where they come from, what they hold, and how they are loaded.

mod photos;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use nn_train::augment::{Augment, Fit};
use nn_train::data::cifar::{self, CIFAR10, CIFAR100};
use nn_train::data::mnist::{self, FASHION_MNIST, MNIST};
use nn_train::data::{IMAGENET, Normalise, Part, Prepared, Resample, Source, Subset, digits};
use nn_vision::preprocess::{Interpolation, Preprocessing};
use serde::{Deserialize, Serialize};

use crate::failure::{Advise, failed};
use crate::output::dims;

pub(crate) use self::photos::{IGNORE, photo};

/// The environment's answer where `--data-dir` and the recipe give none.
pub(crate) const DIRECTORY_VARIABLE: &str = "NN_DATA_DIR";

/// The images of `digits` are always these, so that results compare.
const DIGITS_SEED: u64 = 0;

/// The share of a photo's shorter side that a network sees: 224 of 256 pixels.
const FRACTION: f64 = 0.875;

/// A data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DataName {
    #[default]
    Digits,
    Mnist,
    FashionMnist,
    Cifar10,
    Cifar100,
    Hymenoptera,
    Camvid,
    Folder,
}

/// What there is to say about a data set without loading it; nothing where its files decide.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    /// `[C, H, W]`
    pub(crate) size: Option<[usize; 3]>,
    pub(crate) classes: Option<usize>,
    pub(crate) train: Option<usize>,
    pub(crate) test: Option<usize>,
    pub(crate) source: &'static str,
}

/// Where a data set is read from and how much of it is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) name: DataName,
    /// The folder of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    /// Only the first so many training images; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train_examples: Option<usize>,
    /// Only the first so many test images; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_examples: Option<usize>,
    /// Mean of each channel; the data set's, or that of ImageNet's photos, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mean: Option<Vec<f32>>,
    /// Deviation of each channel; with `mean` or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) std: Option<Vec<f32>>,
    /// Height and width of photos in the network; the model's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<[usize; 2]>,
    /// The share of a photo's shorter side that is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<f64>,
    /// How photos are resized; bilinear where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interpolation: Option<Resample>,
    /// The share of the pictures that is tested on, where a folder is not divided in `train` and `val`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_out: Option<f64>,
    /// Tables of paths and classes in the folder: one that is divided, or one to train and one to test on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lists: Option<Vec<String>>,
    /// The columns of paths and of classes in `lists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<[String; 2]>,
}

impl DataName {
    pub(crate) const ALL: [Self; 8] = [
        Self::Digits,
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::Hymenoptera,
        Self::Camvid,
        Self::Folder,
    ];

    pub(crate) fn facts(self) -> Facts {
        let facts = |name, size, classes, train, test, source| Facts {
            name,
            size,
            classes: Some(classes),
            train: Some(train),
            test: Some(test),
            source,
        };
        let (grey, tiny) = (Some([1, 28, 28]), Some([3, 32, 32]));
        match self {
            Self::Digits => {
                facts("digits", grey, 10, 10_000, 2_000, "drawn by this program: no files, no download")
            }
            Self::Mnist => {
                facts(MNIST.name, grey, 10, 60_000, 10_000, "LeCun et al. 1998; IDX files in --data-dir")
            }
            Self::FashionMnist => {
                let source = "Xiao et al. 2017; IDX files in --data-dir";
                facts(FASHION_MNIST.name, grey, 10, 60_000, 10_000, source)
            }
            Self::Cifar10 => {
                let source = "Krizhevsky 2009; binary files in --data-dir, or some of them";
                facts(CIFAR10.name, tiny, 10, 50_000, 10_000, source)
            }
            Self::Cifar100 => {
                facts(CIFAR100.name, tiny, 100, 50_000, 10_000, "Krizhevsky 2009; binary files in --data-dir")
            }
            Self::Hymenoptera => {
                facts("hymenoptera", None, 2, 244, 153, "ants and bees of ImageNet; folders in --data-dir")
            }
            Self::Camvid => {
                let source = "Brostow et al. 2008; SegNet's lists of pictures and masks in --data-dir";
                facts("camvid", None, photos::CAMVID.len(), 367, 233, source)
            }
            Self::Folder => Facts {
                name: "folder",
                size: None,
                classes: None,
                train: None,
                test: None,
                source: "your own: a folder a class, in --data-dir or its folders train and val",
            },
        }
    }

    /// Whether it needs no files.
    fn is_drawn(self) -> bool {
        self == Self::Digits
    }
}

impl Plan {
    /// Fills in the folder, where there is one.
    pub(crate) fn locate(&mut self, given: Option<&Path>) {
        if self.name.is_drawn() {
            self.dir = None;
        } else {
            locate(&mut self.dir, given);
        }
    }

    /// # Errors
    /// If a value is impossible; the message names its key.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, count) in [("train_examples", self.train_examples), ("test_examples", self.test_examples)] {
            if count == Some(0) {
                return Err(failed(format!("data.{key} must be at least 1, got 0")));
            }
        }
        for (key, share) in [("fraction", self.fraction), ("held_out", self.held_out)] {
            if let Some(share) = share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
                return Err(failed(format!("data.{key} must be in (0, 1], got {share}")));
            }
        }
        if self.lists.is_some() && self.name != DataName::Folder {
            let name = self.name.facts().name;
            return Err(failed(format!("data.lists is for data.name = \"folder\", not for {name}")));
        }
        if let Some(lists) = self.lists.as_ref().filter(|lists| !(1..=2).contains(&lists.len())) {
            let count = lists.len();
            return Err(failed(format!(
                "data.lists must name one table, or two to train and test on, got {count}"
            )));
        }
        if self.columns.is_some() && self.lists.is_none() {
            return Err(failed("data.columns are those of data.lists, and there are none"));
        }
        if self.size.is_some_and(|size| size.contains(&0)) {
            return Err(failed("data.size must be a height and a width of at least 1 pixel, got 0"));
        }
        match (&self.mean, &self.std) {
            (None, None) => Ok(()),
            (Some(mean), Some(std)) if mean.len() == std.len() => Ok(()),
            _ => Err(failed("data.mean and data.std belong together: a number each for every channel")),
        }
    }

    /// How intensities become inputs.
    pub(crate) fn normalise(&self) -> Vec<Normalise> {
        if let (Some(mean), Some(std)) = (&self.mean, &self.std) {
            return mean.iter().zip(std).map(|(&mean, &std)| Normalise { mean, std }).collect();
        }
        match self.name {
            DataName::Digits => vec![digits::NORMALISE],
            DataName::Mnist => vec![MNIST.normalise],
            DataName::FashionMnist => vec![FASHION_MNIST.normalise],
            DataName::Cifar10 => CIFAR10.normalise.to_vec(),
            DataName::Cifar100 => CIFAR100.normalise.to_vec(),
            DataName::Hymenoptera | DataName::Camvid | DataName::Folder => IMAGENET.to_vec(),
        }
    }

    /// Threads that decode and augment: one for images in memory.
    pub(crate) fn workers(&self) -> usize {
        if self.name.facts().size.is_some() { 1 } else { rayon::current_num_threads().max(1) }
    }

    /// A part of the set, prepared for a network that takes images `[C, H, W]`; by chance, if `augment` says so.
    ///
    /// # Errors
    /// If the files are missing or not what they should be, or the network takes other images.
    pub(crate) fn open(&self, part: Part, input: [usize; 3], augment: Option<Augment>) -> Result<Prepared> {
        let facts = self.name.facts();
        if let Some(size) = facts.size.filter(|size| *size != input) {
            let (takes, has) = (dims(&input), dims(&size));
            return Err(failed(format!(
                "the model takes images of {takes}, those of {} are {has}",
                facts.name
            )));
        }
        self.prepare(self.source(part)?, input, augment)
    }

    /// What the data set has for choosing the best epoch, prepared for a network that takes images `[C, H, W]`.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub(crate) fn validation(&self, input: [usize; 3]) -> Result<Option<Prepared>> {
        if self.name != DataName::Camvid {
            return Ok(None);
        }
        let scenes = photos::camvid_validation(self.folder()?)?;
        scenes.map(|scenes| self.prepare(Arc::new(scenes), input, None)).transpose()
    }

    fn prepare(
        &self,
        source: Arc<dyn Source>,
        input: [usize; 3],
        augment: Option<Augment>,
    ) -> Result<Prepared> {
        let fit = self.fit(input);
        let prepared = Prepared::new(source, &self.normalise(), move |example, random| match augment {
            Some(augment) => augment.apply(example, fit, random),
            None => fit.apply(example),
        })?;
        Ok(prepared.mixed(augment.map(|augment| augment.mix()).unwrap_or_default())?)
    }

    /// How a photo comes to the size of a network's input.
    pub(crate) fn fit(&self, [_, height, width]: [usize; 3]) -> Fit {
        let own = (self.name == DataName::Camvid).then_some(photos::CAMVID_SIZE);
        let fraction = if own.is_some() { 1.0 } else { FRACTION };
        Fit {
            size: self.size.or(own).unwrap_or([height, width]),
            fraction: self.fraction.unwrap_or(fraction),
            resample: self.interpolation.unwrap_or_default(),
        }
    }

    /// Fills in what weights expect of pictures, where the plan says nothing.
    pub(crate) fn adopt(&mut self, expected: &Preprocessing) {
        let Preprocessing { shorter_side, crop, interpolation, normalise } = *expected;
        if self.mean.is_none() {
            (self.mean, self.std) = (Some(normalise.mean.to_vec()), Some(normalise.deviation.to_vec()));
        }
        if self.name.facts().size.is_some() {
            return; // as large as the network's pictures
        }
        self.interpolation.get_or_insert(match interpolation {
            Interpolation::Bilinear => Resample::Bilinear,
            Interpolation::Bicubic => Resample::Bicubic,
        });
        if self.name != DataName::Camvid {
            self.fraction.get_or_insert(crop as f64 / shorter_side as f64);
        }
    }

    /// Whether pictures have a class for every pixel.
    pub(crate) fn has_masks(&self) -> bool {
        self.name == DataName::Camvid
    }

    /// The names of the classes, in order, if they are known without the files, else from them.
    ///
    /// # Errors
    /// If the files are needed, and missing or not what they should be.
    pub(crate) fn classes(&self) -> Result<Vec<String>> {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self.name {
            DataName::Digits | DataName::Mnist => Ok(names(MNIST.classes)),
            DataName::FashionMnist => Ok(names(FASHION_MNIST.classes)),
            DataName::Camvid => Ok(names(&photos::CAMVID)),
            DataName::Folder | DataName::Hymenoptera => Ok(self.source(Part::Train)?.classes().to_vec()),
            DataName::Cifar10 | DataName::Cifar100 => Ok(self.source(Part::Test)?.classes().to_vec()),
        }
    }

    /// Where the names of folders are the classes, they must be those that a model was trained for: another one among them
    /// gives all that follow another number.
    ///
    /// # Errors
    /// If they are others; the message names both.
    pub(crate) fn hold_against(&self, known: &[String], found: &[String]) -> Result<()> {
        if !matches!(self.name, DataName::Folder | DataName::Hymenoptera) || known == found {
            return Ok(());
        }
        let apart = |a: &[String], b: &[String]| {
            let names: Vec<&str> = a.iter().filter(|name| !b.contains(name)).map(String::as_str).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let (strange, missing) = (apart(found, known), apart(known, found));
        Err(failed(format!(
            "the classes of the data are not those of the model: it does not know {strange}, and misses {missing}"
        )))
        .advise("--data-dir must name a folder with the classes of the training, a folder each")
    }

    /// The pictures as they are.
    ///
    /// # Errors
    /// If the files are missing or not what they should be.
    pub(crate) fn source(&self, part: Part) -> Result<Arc<dyn Source>> {
        let whole: Arc<dyn Source> = match (self.name, self.folder()) {
            (DataName::Digits, _) => Arc::new(digits(DIGITS_SEED, part)),
            (name, dir) => {
                let dir = dir?;
                let advice = format!(
                    "--data-dir names the folder; `digits` needs none: --data {}",
                    DataName::Digits.facts().name
                );
                read(name, dir, part, self).advise(advice)?
            }
        };
        let limit = match part {
            Part::Train => self.train_examples,
            Part::Test => self.test_examples,
        };
        match limit {
            Some(n) if n < whole.len() => Ok(Arc::new(Subset::new(whole, (0..n).collect())?)),
            _ => Ok(whole),
        }
    }

    fn folder(&self) -> Result<&Path> {
        let Some(dir) = &self.dir else {
            return Err(failed(format!("where are the files of {}?", self.name.facts().name)))
                .advise(format!("give their folder with --data-dir or {DIRECTORY_VARIABLE}"));
        };
        Ok(dir)
    }
}

/// Fills in the folder of files: the one given, else a recipe's own, else the environment's. In absolute form, so that a
/// run finds it again from anywhere.
pub(crate) fn locate(dir: &mut Option<PathBuf>, given: Option<&Path>) {
    let found = given.map(Path::to_owned).or_else(|| dir.take());
    let found = found.or_else(|| std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from));
    *dir = found.map(|dir| std::path::absolute(&dir).unwrap_or(dir));
}

/// What to do where files of `name` are not found.
pub(crate) fn advice(name: &str) -> String {
    format!("--data-dir or {DIRECTORY_VARIABLE} names the folder of {name}")
}

/// The folder of the files of `name`: the one called so in `dir`, or `dir` itself.
///
/// # Errors
/// If no folder is given.
pub(crate) fn folder_of(dir: Option<&Path>, name: &str) -> Result<PathBuf> {
    let Some(dir) = dir else {
        return Err(failed(format!("where are the files of {name}?")))
            .advise(format!("give their folder with --data-dir or {DIRECTORY_VARIABLE}"));
    };
    let inner = dir.join(name);
    Ok(if inner.is_dir() { inner } else { dir.to_owned() })
}

fn read(name: DataName, dir: &Path, part: Part, plan: &Plan) -> candle_core::Result<Arc<dyn Source>> {
    Ok(match name {
        DataName::Digits => Arc::new(digits(DIGITS_SEED, part)),
        DataName::Mnist => Arc::new(mnist::load(&MNIST, dir, part)?),
        DataName::FashionMnist => Arc::new(mnist::load(&FASHION_MNIST, dir, part)?),
        DataName::Cifar10 => Arc::new(cifar::load(&CIFAR10, dir, part)?),
        DataName::Cifar100 => Arc::new(cifar::load(&CIFAR100, dir, part)?),
        DataName::Camvid => Arc::new(photos::camvid(dir, part)?),
        DataName::Hymenoptera | DataName::Folder => {
            let held_out = plan.held_out.unwrap_or(photos::HELD_OUT);
            match &plan.lists {
                Some(lists) => photos::listed(dir, lists, plan.columns.as_ref(), part, held_out)?,
                None => photos::folder(dir, name.facts().name, part, held_out)?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use nn_train::data::{Dataset, Target};

    use super::*;

    #[test]
    fn facts_are_true() -> Result<()> {
        let plan = Plan::default();
        let facts = plan.name.facts();
        for (part, count) in [(Part::Train, facts.train), (Part::Test, facts.test)] {
            let set = plan.open(part, [1, 28, 28], None)?;
            assert_eq!((Some(set.len()), Some(set.source().classes().len())), (count, facts.classes));
            assert_eq!(Some(set.source().example(0)?.image.size()), facts.size);
        }
        for name in DataName::ALL {
            assert_eq!(serde_json::to_value(name)?, name.facts().name);
        }
        Ok(())
    }

    #[test]
    fn a_part_of_a_set_is_its_beginning() -> Result<()> {
        let whole = Plan::default().source(Part::Test)?;
        let part = Plan { test_examples: Some(3), ..Plan::default() }.source(Part::Test)?;
        assert_eq!((part.len(), part.example(2)?), (3, whole.example(2)?));
        let more = Plan { test_examples: Some(usize::MAX), ..Plan::default() };
        assert_eq!(more.source(Part::Test)?.len(), whole.len());
        Ok(())
    }

    #[test]
    fn missing_files_are_explained() {
        let mut plan = Plan { name: DataName::Mnist, ..Plan::default() };
        plan.locate(Some(Path::new("no/such/folder")));
        assert!(plan.dir.as_ref().is_some_and(|dir| dir.is_absolute()));
        let error = plan.open(Part::Train, [1, 28, 28], None).expect_err("no folder");
        let error = crate::failure::report(&error);
        assert!(error.contains("no/such/folder") && error.contains("--data-dir"), "{error}");
        let error = plan.open(Part::Train, [3, 32, 32], None).expect_err("other images").to_string();
        assert!(error.contains("takes images of 3×32×32, those of mnist are 1×28×28"), "{error}");
    }

    #[test]
    fn plans_take_from_weights_what_they_leave_open() {
        let expected = Preprocessing {
            shorter_side: 232,
            interpolation: Interpolation::Bicubic,
            normalise: nn_vision::preprocess::Normalise::HALF,
            ..nn_vision::preprocess::IMAGENET
        };
        let adopted = |plan: Plan| {
            let mut plan = plan;
            plan.adopt(&expected);
            plan
        };
        let photos = adopted(Plan { name: DataName::Hymenoptera, ..Plan::default() });
        assert_eq!(photos.normalise(), [Normalise { mean: 0.5, std: 0.5 }; 3]);
        let fit = Fit { size: [224, 224], fraction: 224.0 / 232.0, resample: Resample::Bicubic };
        assert_eq!(photos.fit([3, 224, 224]), fit);
        let own = Plan { mean: Some(vec![0.1]), std: Some(vec![0.2]), fraction: Some(1.0), ..photos.clone() };
        assert_eq!(adopted(own.clone()), own);
        let scenes = adopted(Plan { name: DataName::Camvid, ..Plan::default() });
        assert_eq!((scenes.fraction, scenes.mean), (None, photos.mean));
        let tiny = adopted(Plan { name: DataName::Cifar10, ..Plan::default() });
        assert_eq!((tiny.interpolation, tiny.std), (None, photos.std));
    }

    #[test]
    fn impossible_plans_are_named() {
        for (plan, says) in [
            (Plan { mean: Some(vec![0.5]), ..Plan::default() }, "belong together"),
            (Plan { mean: Some(vec![0.5]), std: Some(vec![]), ..Plan::default() }, "belong together"),
            (Plan { fraction: Some(0.0), ..Plan::default() }, "data.fraction must be in (0, 1], got 0"),
            (Plan { held_out: Some(1.5), ..Plan::default() }, "data.held_out"),
            (Plan { size: Some([0, 3]), ..Plan::default() }, "data.size"),
            (Plan { lists: Some(vec!["a.csv".into()]), ..Plan::default() }, "is for data.name = \"folder\""),
            (
                Plan { name: DataName::Folder, lists: Some(Vec::new()), ..Plan::default() },
                "one table, or two to train and test on, got 0",
            ),
            (
                Plan { columns: Some(["a", "b"].map(str::to_owned)), ..Plan::default() },
                "data.columns are those of data.lists",
            ),
        ] {
            let error = plan.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }

    #[test]
    fn tables_say_what_pictures_are() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut all = String::from("image,class\n");
        for n in 0..10u8 {
            image::RgbImage::from_pixel(4, 3, image::Rgb([n, 2, 3]))
                .save(dir.path().join(format!("{n}.png")))?;
            all += &format!("{n}.png,{}\n", ["bee", "ant", "bee", "wasp", "bee"][usize::from(n) % 5]);
        }
        std::fs::write(dir.path().join("all.csv"), &all)?;
        std::fs::write(dir.path().join("val.csv"), "image,class\n3.png,wasp\n0.png,bee\n")?;
        let plan = |lists: &[&str]| Plan {
            name: DataName::Folder,
            dir: Some(dir.path().to_owned()),
            lists: Some(lists.iter().map(|&list| list.to_owned()).collect()),
            columns: Some(["image", "class"].map(str::to_owned)),
            held_out: Some(0.5),
            ..Plan::default()
        };
        let classes = |source: &Arc<dyn Source>| -> Vec<Option<u32>> {
            let mut classes: Vec<_> = (0..source.len()).map(|index| source.class(index)).collect();
            classes.sort_unstable();
            classes
        };
        for part in [Part::Train, Part::Test] {
            let half = plan(&["all.csv"]).source(part)?;
            assert_eq!(half.classes(), ["ant", "bee", "wasp"]);
            assert_eq!(classes(&half), [0, 1, 1, 1, 2].map(Some));
        }
        let two = plan(&["all.csv", "val.csv"]);
        assert_eq!(two.source(Part::Train)?.len(), 10);
        let test = two.source(Part::Test)?;
        assert_eq!((test.class(0), test.class(1), test.len()), (Some(2), Some(1), 2));
        assert_eq!(test.example(0)?.target, Target::Class(2));
        let error = plan(&["val.csv", "all.csv"]).source(Part::Test).err().expect("no ants");
        let error = crate::failure::report(&error);
        assert!(error.contains("there is no class ant among bee, wasp"), "{error}");
        Ok(())
    }

    #[test]
    fn folders_of_photos_are_divided_or_are_divided_here() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut plan = Plan { name: DataName::Folder, ..Plan::default() };
        plan.locate(Some(dir.path()));
        for class in ["bees", "ants"] {
            let folder = dir.path().join(class);
            std::fs::create_dir(&folder)?;
            for n in 0..10 {
                image::RgbImage::from_pixel(40, 30, image::Rgb([n, 2, 3]))
                    .save(folder.join(format!("{n}.png")))?;
            }
        }
        let [train, test] = [Part::Train, Part::Test].map(|part| plan.open(part, [3, 16, 16], None));
        let (train, test) = (train?, test?);
        assert_eq!(
            (train.len(), test.len(), train.source().classes()),
            (16, 4, &["ants", "bees"].map(str::to_owned)[..])
        );
        let example = test.example(3, nn_core::Random::new(0))?;
        assert_eq!((example.image.size(), example.target), ([3, 16, 16], Target::Class(1)));
        for (part, count) in [("train", 7), ("val", 2)] {
            for class in ["ants", "bees"] {
                let folder = dir.path().join(part).join(class);
                std::fs::create_dir_all(&folder)?;
                for n in 0..count {
                    std::fs::copy(
                        dir.path().join(class).join(format!("{n}.png")),
                        folder.join(format!("{n}.png")),
                    )?;
                }
            }
        }
        for (part, count) in [(Part::Train, 14), (Part::Test, 4)] {
            let set = plan.open(part, [3, 16, 16], None)?;
            assert_eq!(set.len(), count);
            assert_eq!(set.batch(&[0, 3], nn_core::Random::new(0))?.inputs.dims(), [2, 3, 16, 16]);
        }
        // Without ants to test on bees are still the second class.
        std::fs::remove_dir_all(dir.path().join("val/ants"))?;
        let test = plan.source(Part::Test)?;
        assert_eq!((test.len(), test.class(0), test.classes().len()), (2, Some(1), 2));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        plan.hold_against(&names(&["ants", "bees"]), test.classes())?;
        let error = plan.hold_against(&names(&["ants", "bugs"]), test.classes()).expect_err("others");
        assert!(error.to_string().contains("it does not know bees, and misses bugs"), "{error}");
        Ok(())
    }
}
