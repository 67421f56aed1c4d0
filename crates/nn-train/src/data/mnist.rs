//! The data sets that come as four IDX files: MNIST, and those made to take its place.
//!
//! Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", §III (MNIST);
//! Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747 (Fashion-MNIST).

use std::path::{Path, PathBuf};
use std::slice;

use candle_core::{Error, Result};
use nn_core::ensure;

use super::idx::{read_images, read_labels};
use super::{ImageSet, Normalise, Part};

/// A data set of the family: what it is called, what its classes are, where its files may lie.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// As in file names and on command lines.
    pub name: &'static str,
    /// The name of each class, by its index.
    pub classes: &'static [&'static str],
    /// Mean and deviation of the training images.
    pub normalise: Normalise,
    /// Folders below the one that a user names, most telling first; its own place is looked at last.
    folders: &'static [&'static str],
}

/// Handwritten digits: 60,000 and 10,000 images of 28×28 pixels.
pub const MNIST: Family = Family {
    name: "mnist",
    classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    normalise: Normalise { mean: 0.1307, std: 0.3081 },
    folders: &["mnist", "MNIST/raw"],
};

/// Photographs of clothes: 60,000 and 10,000 images of 28×28 pixels.
pub const FASHION_MNIST: Family = Family {
    name: "fashion-mnist",
    classes: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    normalise: Normalise { mean: 0.2860, std: 0.3530 },
    folders: &["fashion-mnist", "FashionMNIST/raw"],
};

/// Reads one part of a data set from `dir`, or from the folder in it that is named like the data set, there as
/// `dir/mnist` or as torchvision's `dir/MNIST/raw`. Files may be gzipped.
///
/// # Errors
/// If a file is missing (the message says which names were looked for, and where), if one cannot be read, if there
/// are no images, or if images and labels do not fit together.
pub fn load(family: &Family, dir: &Path, part: Part) -> Result<ImageSet> {
    let (images, labels) = find(family, dir, part)?;
    load_pair(family, &images, &labels)
}

/// Reads images and labels from two files of any name.
///
/// # Errors
/// As [`load`].
pub fn load_pair(family: &Family, images: &Path, labels: &Path) -> Result<ImageSet> {
    let (pictures, classes) = (read_images(images)?, read_labels(labels)?);
    ensure!(!classes.is_empty(), "{}: no labels in {}", family.name, labels.display());
    let names = family.classes.iter().map(|&name| name.to_owned()).collect();
    ImageSet::new(pictures, classes, names, &[family.normalise]).map_err(|e| {
        Error::Msg(format!("{} does not go with {}: {}", images.display(), labels.display(), bare(e)))
    })
}

/// An error's message without the backtrace that debugging may have added.
fn bare(e: Error) -> Error {
    match e {
        Error::WithBacktrace { inner, .. } => bare(*inner),
        e => e,
    }
}

/// The files of a part: from the first folder that has any of them, because the images of one folder with the
/// labels of another would be a silent mistake.
fn find(family: &Family, dir: &Path, part: Part) -> Result<(PathBuf, PathBuf)> {
    ensure!(dir.is_dir(), "{}: there is no folder {}", family.name, dir.display());
    let folders: Vec<PathBuf> = family.folders.iter().map(|f| dir.join(f)).chain([dir.to_owned()]).collect();
    let (images, labels) = (names(part, "images", 3), names(part, "labels", 1));
    for folder in &folders {
        match (first(folder, &images), first(folder, &labels)) {
            (Some(images), Some(labels)) => return Ok((images, labels)),
            (Some(_), None) => return missing(family, part, &labels, slice::from_ref(folder)),
            (None, Some(_)) => return missing(family, part, &images, slice::from_ref(folder)),
            (None, None) => {}
        }
    }
    missing(family, part, &[images, labels].concat(), &folders)
}

/// The names a file has in the wild, with a hyphen as it was published, or with the dot that some tools made of it.
fn names(part: Part, what: &str, rank: usize) -> Vec<String> {
    let prefix = match part {
        Part::Train => "train",
        Part::Test => "t10k",
    };
    ['-', '.'].iter().map(|dash| format!("{prefix}-{what}{dash}idx{rank}-ubyte")).collect()
}

fn first(folder: &Path, names: &[String]) -> Option<PathBuf> {
    let paths = names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
    paths.into_iter().find(|path| path.is_file())
}

fn missing<T>(family: &Family, part: Part, names: &[String], folders: &[PathBuf]) -> Result<T> {
    let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    candle_core::bail!(
        "{}: the {part} part is not there: looked for {} (plain or with .gz) in {}; put the files there, or name \
         the folder that has them",
        family.name,
        names.join(", "),
        folders.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::Dataset;

    /// `data` after the magic number of its rank and its sizes.
    fn write(path: &Path, sizes: &[u32], data: &[u8]) {
        let magic = 0x800 + sizes.len() as u32;
        let bytes: Vec<u8> = [magic].iter().chain(sizes).flat_map(|w| w.to_be_bytes()).collect();
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, [&bytes[..], data].concat()).expect("writable");
    }

    fn message(family: &Family, dir: &Path, part: Part) -> String {
        load(family, dir, part).expect_err("refused").to_string()
    }

    #[test]
    fn files_are_found_under_the_names_people_have() -> Result<()> {
        let images_sizes = [2, 1, 2];
        for (family, folder, images, labels, part) in [
            (MNIST, ".", "train-images-idx3-ubyte", "train-labels-idx1-ubyte", Part::Train),
            (MNIST, ".", "t10k-images.idx3-ubyte", "t10k-labels-idx1-ubyte.gz", Part::Test),
            (MNIST, "mnist", "train-images.idx3-ubyte.gz", "train-labels.idx1-ubyte", Part::Train),
            (MNIST, "MNIST/raw", "t10k-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte.gz", Part::Test),
            (FASHION_MNIST, "fashion-mnist", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", Part::Test),
            (
                FASHION_MNIST,
                "FashionMNIST/raw",
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                Part::Train,
            ),
        ] {
            let dir = tempfile::tempdir()?;
            // Not by its name is a file known to be an archive.
            write(&dir.path().join(folder).join(images), &images_sizes, &[1, 2, 3, 4]);
            write(&dir.path().join(folder).join(labels), &[2], &[9, 0]);
            let set = load(&family, dir.path(), part)?;
            assert_eq!((set.len(), set.size(), set.labels()), (2, [1, 1, 2], &[9, 0][..]));
            assert_eq!((set.pixels(1), set.classes().len()), (Some(&[3, 4][..]), 10));
        }
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        let absent = root.join("absent");
        assert!(message(&MNIST, &absent, Part::Train).contains(&format!("no folder {}", absent.display())));
        let text = message(&MNIST, root, Part::Test);
        for name in
            ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "t10k-labels-idx1-ubyte", "t10k-labels.idx1"]
        {
            assert!(text.contains(name), "{name} not in {text}");
        }
        for folder in [root.to_owned(), root.join("mnist"), root.join("MNIST/raw")] {
            assert!(text.contains(&folder.display().to_string()), "{} not in {text}", folder.display());
        }
        // The images of one folder never go with the labels of another.
        write(&root.join("mnist/train-images-idx3-ubyte"), &[1, 1, 1], &[1]);
        write(&root.join("train-labels-idx1-ubyte"), &[1], &[1]);
        let text = message(&MNIST, root, Part::Train);
        assert!(text.contains("train-labels-idx1-ubyte") && !text.contains("images"), "{text}");
        fs::remove_file(root.join("mnist/train-images-idx3-ubyte"))?;
        let text = message(&MNIST, root, Part::Train);
        assert!(text.contains("train-images-idx3-ubyte") && !text.contains("labels"), "{text}");
        Ok(())
    }

    #[test]
    fn images_and_labels_have_to_fit_together() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (images, labels) = (dir.path().join("pictures"), dir.path().join("names"));
        for (count, classes, says) in [
            (2, &[1, 2, 3][..], "got 2 images and 3 labels"),
            (3, &[1, 10, 3], "below the 10 classes, got 10 at position 1"),
            (0, &[], "no labels in"),
        ] {
            write(&images, &[count, 1, 1], &vec![0; count as usize]);
            write(&labels, &[classes.len() as u32], classes);
            let text = load_pair(&MNIST, &images, &labels).expect_err(says).to_string();
            assert!(text.contains(says) && text.contains(&labels.display().to_string()), "{text}");
            // With `RUST_BACKTRACE` set, too: a message inside a message has lost its trace.
            assert!(count == 0 || text.lines().count() == 1, "{text}");
        }
        Ok(())
    }

    #[test]
    fn the_published_sets_are_what_their_authors_say() -> Result<()> {
        let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
        let dir = std::env::var_os("NN_DATA_DIR").map_or_else(|| PathBuf::from(shared), PathBuf::from);
        for (family, first_labels) in [(MNIST, [5, 7]), (FASHION_MNIST, [9, 9])] {
            if !dir.join(family.name).is_dir() {
                eprintln!("skipped: no {} in {}", family.name, dir.display());
                continue;
            }
            // From the folder of all data sets, and from its own.
            let train = load(&family, &dir, Part::Train)?;
            let test = load(&family, &dir.join(family.name), Part::Test)?;
            assert_eq!([train.len(), test.len()], [60_000, 10_000]);
            assert_eq!([train.labels()[0], test.labels()[0]], first_labels);
            assert_eq!([train.size(), test.size()], [[1, 28, 28]; 2]);
            let (mean, std) = moments(&train);
            assert!((mean - f64::from(family.normalise.mean)).abs() < 1e-4, "{}: mean {mean}", family.name);
            assert!((std - f64::from(family.normalise.std)).abs() < 1e-4, "{}: deviation {std}", family.name);
        }
        Ok(())
    }

    /// Mean and deviation over all pixels, where white is 1.
    fn moments(set: &ImageSet) -> (f64, f64) {
        let mut counts = [0u64; 256];
        (0..set.len()).filter_map(|i| set.pixels(i)).flatten().for_each(|&v| counts[usize::from(v)] += 1);
        let all = counts.iter().sum::<u64>() as f64;
        let moment = |power| -> f64 {
            counts.iter().enumerate().map(|(v, &n)| (v as f64 / 255.0).powi(power) * n as f64 / all).sum()
        };
        (moment(1), (moment(2) - moment(1).powi(2)).sqrt())
    }
}
