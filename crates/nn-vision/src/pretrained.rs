//! Trained weights that others published: where they lie, and what pictures their networks were shown.
//!
//! Source: torchvision's `WeightsEnum`s, timm's `default_cfgs`, and the repositories the rows name.
//!
//! Weights without the preparation of their pictures are half a network: the same MobileNet v2 wants its colours
//! normalised one way by torchvision and another by TensorFlow, whose convolutions pad otherwise too. A row knows all of it:
//!
//! ```no_run
//! use nn_vision::preprocess::{Channels, Picture};
//! use nn_vision::Pretrained;
//!
//! # fn main() -> candle_core::Result<()> {
//! let weights = std::path::Path::new("resnet18-f37072fd.pth");
//! let source = Pretrained::identify("resnet18", weights)?.expect("torchvision's");
//! let image = source.preprocessing.apply(&Picture::open("dog.jpg", Channels::Rgb)?)?; // [3, 224, 224]
//! # Ok(())
//! # }
//! ```

mod rows;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::{DType, Device, Error, Result};
use candle_nn::VarBuilder;
use nn_core::weights::WeightFile;
use nn_core::{ParamStore, ensure};
use sha2::{Digest, Sha256};

use crate::preprocess::{IMAGENET, Interpolation, Normalise, Preprocessing};
use crate::{Entry, Network};

/// Trained weights that somebody published.
#[derive(Clone, Copy, Debug)]
pub struct Pretrained {
    /// What the published file is called without its ending, or on a hub the repository.
    pub name: &'static str,
    /// The entry of the zoo they are for.
    pub model: &'static str,
    /// Where they were published.
    pub origin: Origin,
    /// The same as `model.safetensors`, in this repository of the Hugging Face hub.
    pub hub: Option<&'static str>,
    /// Of the published file: the SHA-256 in hexadecimal digits, or as many of its first digits as are known.
    pub sha256: &'static str,
    /// The same of the file's conversion to a format this workspace reads, where it needs one.
    pub converted_sha256: Option<&'static str>,
    /// SPDX's name.
    pub licence: &'static str,
    /// What was done to the pictures.
    pub preprocessing: Preprocessing,
    /// The names of the classes, in order.
    pub labels: &'static [&'static str],
    /// Published top-1 accuracy, in percent.
    pub accuracy: Option<f64>,
    /// Builds the network for a number of classes, where the entry's differs from the one that was trained.
    pub build: Option<fn(VarBuilder<'static>, usize) -> Result<Network>>,
}

/// Where weights were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of torchvision: the name and `.pth`.
    Torchvision,
    /// The Hugging Face hub, in the repository that the row's `hub` names.
    Hub,
    /// A file of a repository on GitHub.
    GitHub {
        /// `owner/name`
        repository: &'static str,
        /// The commit at which it was seen.
        commit: &'static str,
        /// Of the file.
        path: &'static str,
    },
}

impl Pretrained {
    /// Every row, those of a model one after another.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        rows::ROWS.iter()
    }

    /// The row of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|row| row.name == name)
    }

    /// The rows of a model of the zoo.
    pub fn of(model: &str) -> impl Iterator<Item = &'static Self> {
        Self::all().filter(move |row| row.model == model)
    }

    /// The row a file of weights for `model` comes from, told by the file's name or else by its SHA-256.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identify(model: &str, weights: &Path) -> Result<Option<&'static Self>> {
        Self::identify_among(|| Self::of(model), weights)
    }

    /// The same where any row may be meant: the file is for a network built on top of the model.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identify_any(weights: &Path) -> Result<Option<&'static Self>> {
        Self::identify_among(Self::all, weights)
    }

    fn identify_among<I: Iterator<Item = &'static Self>>(
        rows: impl Fn() -> I,
        weights: &Path,
    ) -> Result<Option<&'static Self>> {
        let file = weights.file_name().unwrap_or_default().to_string_lossy();
        let named = |row: &&Self| file.strip_prefix(row.name).is_some_and(|rest| rest.starts_with('.'));
        if let Some(row) = rows().find(named) {
            return Ok(Some(row));
        }
        if rows().next().is_none() {
            return Ok(None);
        }
        let digest = sha256(weights)?;
        Ok(rows().find(|row| row.has(&digest)))
    }

    /// Where it can be had.
    pub fn url(&self) -> String {
        match (self.origin, self.hub) {
            (Origin::Torchvision, _) => format!("https://download.pytorch.org/models/{}.pth", self.name),
            (Origin::GitHub { repository, commit, path }, _) => {
                format!("https://github.com/{repository}/raw/{commit}/{path}")
            }
            (Origin::Hub, hub) => format!("https://huggingface.co/{}", hub.unwrap_or(self.name)),
        }
    }

    /// The network with these weights, read from a file of any format and in any known names, and its parameters.
    ///
    /// # Errors
    /// If the file cannot be read, or does not fit the network.
    pub fn load(&self, weights: &Path, device: &Device) -> Result<(ParamStore, Network)> {
        let Some(entry) = crate::find(self.model) else {
            candle_core::bail!("{}: no such model", self.model)
        };
        let store = ParamStore::blank();
        let network = self.build.unwrap_or(entry.build)(store.vb(DType::F32, device), self.labels.len())?;
        let mut file = WeightFile::open(weights)?;
        if !store.compare_with(&file).fits() {
            crate::native(&mut file);
        }
        store.load_file(&file)?;
        Ok((store, network))
    }

    /// Whether a file of this SHA-256 holds these weights.
    pub fn has(&self, digest: &str) -> bool {
        let known = [Some(self.sha256), self.converted_sha256];
        known.into_iter().flatten().any(|digits| !digits.is_empty() && digest.starts_with(digits))
    }
}

impl Entry {
    /// How a classifier's first pretrained source prepares pictures; without one as is usual for pictures of its size.
    /// Nothing for models of grey pictures, whose data sets decide, and for those that name pixels.
    pub fn preprocessing(&self) -> Option<Preprocessing> {
        let [channels, side, _] = self.input;
        let usual = if side == IMAGENET.crop { IMAGENET } else { whole(side) };
        let of_photos = channels == 3 && crate::classifiers().any(|entry| entry.name == self.name);
        of_photos.then(|| Pretrained::of(self.name).next().map_or(usual, |row| row.preprocessing))
    }
}

/// The whole picture, not only its middle.
const fn whole(side: usize) -> Preprocessing {
    Preprocessing { shorter_side: side, crop: side, ..IMAGENET }
}

/// The SHA-256 of a file of weights, in hexadecimal digits.
///
/// # Errors
/// If it is no file, or cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let bad =
        |e: &dyn std::fmt::Display| Error::Msg(format!("cannot read weights from {}: {e}", path.display()));
    let mut file = File::open(path).map_err(|e| bad(&e))?;
    ensure!(file.metadata().map_err(|e| bad(&e))?.is_file(), "{}: not a file", path.display());
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| bad(&e))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_of_models_there_are_and_fit_their_pictures() {
        for row in Pretrained::all() {
            let entry = crate::find(row.model).unwrap_or_else(|| panic!("{} is of no model", row.name));
            // TensorFlow's models have a class for the background.
            let background = usize::from(row.labels[0] == "background");
            assert_eq!(row.labels.len(), entry.num_classes + background, "{}", row.name);
            assert_eq!(row.preprocessing.crop, entry.input[1], "{}", row.name);
            assert!(row.preprocessing.shorter_side >= row.preprocessing.crop, "{}", row.name);
            assert!(
                row.sha256.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)),
                "{}",
                row.name
            );
            assert_eq!(row.origin == Origin::Hub, row.sha256.is_empty(), "{}", row.name);
            assert!(row.origin != Origin::Hub || row.hub.is_some(), "{}", row.name);
        }
        let names: BTreeSet<&str> = Pretrained::all().map(|row| row.name).collect();
        assert_eq!(names.len(), Pretrained::all().count());
    }

    #[test]
    fn entries_prepare_pictures_as_their_first_source_does() {
        let of = |name: &str| crate::find(name).and_then(Entry::preprocessing);
        assert_eq!(of("resnet50"), Some(IMAGENET));
        assert_eq!(of("nin"), Some(IMAGENET));
        assert_eq!(of("inception_v3").map(|p| (p.shorter_side, p.crop)), Some((342, 299)));
        assert_eq!(of("nin_cifar"), of("cifar_resnet20"));
        assert_eq!((of("lenet5"), of("fcn_resnet50")), (None, None));
        for entry in crate::classifiers().filter(|entry| entry.input[0] == 3) {
            assert_eq!(of(entry.name).map(|p| p.crop), Some(entry.input[1]), "{}", entry.name);
        }
    }

    #[test]
    fn files_are_told_by_name_and_by_content() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let identify = |model: &str, file: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(file), bytes)?;
            let row = Pretrained::identify(model, &dir.path().join(file))?;
            Ok::<_, Error>(row.map(|row| row.name))
        };
        for file in ["resnet50-11ad3fa6.pth", "resnet50-11ad3fa6.safetensors"] {
            assert_eq!(identify("resnet50", file, b"")?, Some("resnet50-11ad3fa6"));
            let any = Pretrained::identify_any(&dir.path().join(file))?;
            assert_eq!(any.map(|row| row.model), Some("resnet50"));
        }
        assert_eq!(identify("resnet18", "resnet50-11ad3fa6.pth", b"")?, None);
        assert_eq!(identify("resnet50", "resnet50-11ad3fa6-mine.pth", b"")?, None);
        assert_eq!(identify("lenet5", "model.safetensors", b"")?, None);
        // FIPS 180-2, appendix B.1.
        std::fs::write(dir.path().join("abc"), "abc")?;
        let digest = sha256(&dir.path().join("abc"))?;
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let row = Pretrained { sha256: "ba7816bf", ..*Pretrained::find("resnet50-11ad3fa6").expect("a row") };
        assert!(row.has(&digest) && !row.has("ba7816be"));
        let error =
            Pretrained::identify("resnet50", &dir.path().join("absent")).expect_err("absent").to_string();
        assert!(error.contains("absent"), "{error}");
        Ok(())
    }

    #[test]
    fn addresses_are_whole() {
        let url = |name| Pretrained::find(name).expect("a row").url();
        assert_eq!(url("resnet50-11ad3fa6"), "https://download.pytorch.org/models/resnet50-11ad3fa6.pth");
        assert!(url("resnet20-12fca82f").ends_with("/pretrained_models/resnet20-12fca82f.th"));
        assert_eq!(
            url("deit_tiny_distilled_patch16_224.fb_in1k"),
            "https://huggingface.co/timm/deit_tiny_distilled_patch16_224.fb_in1k"
        );
    }
}
