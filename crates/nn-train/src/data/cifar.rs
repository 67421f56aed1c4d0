//! CIFAR-10 and CIFAR-100 in their binary form: records of a label, or two, and 32×32 pixels of red, green, blue.
//!
//! Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; the layout is that of the data's
//! page, section "Binary version".
//! Differs: a file may hold any number of records, so that a part of the data is a data set too.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Error, Result};
use nn_core::ensure;

use super::{Encoding, ImageSet, Images, Normalise, Part};

/// A data set of the family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// As on command lines.
    pub name: &'static str,
    /// Mean and deviation of the channels over the training images.
    pub normalise: [Normalise; 3],
    /// How many classes there are.
    pub classes: usize,
    /// Bytes before the pixels; the last of them is the class.
    labels: usize,
    /// Names of the classes, a line each, in a file beside the records.
    names: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Folders below the one that a user names.
    folders: &'static [&'static str],
}

/// 50,000 and 10,000 images of ten classes.
pub const CIFAR10: Family = Family {
    name: "cifar10",
    normalise: [
        Normalise { mean: 0.4914, std: 0.2470 },
        Normalise { mean: 0.4822, std: 0.2435 },
        Normalise { mean: 0.4465, std: 0.2616 },
    ],
    classes: 10,
    labels: 1,
    names: "batches.meta.txt",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    folders: &["cifar10", "cifar-10-batches-bin"],
};

/// 50,000 and 10,000 images of a hundred classes.
pub const CIFAR100: Family = Family {
    name: "cifar100",
    normalise: [
        Normalise { mean: 0.5071, std: 0.2673 },
        Normalise { mean: 0.4865, std: 0.2564 },
        Normalise { mean: 0.4409, std: 0.2762 },
    ],
    classes: 100,
    labels: 2,
    names: "fine_label_names.txt",
    train: &["train.bin"],
    test: "test.bin",
    folders: &["cifar100", "cifar-100-binary"],
};

const SIZE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// The whole data set is 180 MB; a larger file is something else.
const MAX_BYTES: u64 = 1 << 30;

/// Reads one part of a data set from `dir`, or from the folder in it that is named like the data set. Of the five
/// training files of CIFAR-10 those that are there are read.
///
/// # Errors
/// If no file of the part is there (the message says which were looked for, and where), one cannot be read, ends
/// within a record or has a label without a class, or the names of the classes are too few.
pub fn load(family: &Family, dir: &Path, part: Part) -> Result<ImageSet> {
    ensure!(dir.is_dir(), "{}: there is no folder {}", family.name, dir.display());
    let folders: Vec<PathBuf> = family.folders.iter().map(|f| dir.join(f)).chain([dir.to_owned()]).collect();
    let names = match part {
        Part::Train => family.train,
        Part::Test => std::slice::from_ref(&family.test),
    };
    for folder in &folders {
        let files: Vec<PathBuf> =
            names.iter().map(|name| folder.join(name)).filter(|f| f.is_file()).collect();
        if !files.is_empty() {
            return read(family, &files, class_names(family, &folder.join(family.names))?);
        }
    }
    let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    candle_core::bail!(
        "{}: the {part} part is not there: looked for {} in {}; put the files there, or name the folder that has them",
        family.name,
        names.join(", "),
        folders.join(", ")
    )
}

/// The records of `files` one after the other.
///
/// # Errors
/// As [`load`].
pub fn read(family: &Family, files: &[PathBuf], classes: Vec<String>) -> Result<ImageSet> {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for file in files {
        let named = |e: &dyn std::fmt::Display| {
            Error::Msg(format!("cannot read {} from {}: {e}", family.name, file.display()))
        };
        let bytes = fs::metadata(file).map_err(|e| named(&e))?.len();
        if bytes > MAX_BYTES {
            return Err(named(&format_args!("{bytes} bytes are more than the {MAX_BYTES} a file may have")));
        }
        let bytes = fs::read(file).map_err(|e| named(&e))?;
        parse(family, &bytes, &mut pixels, &mut labels).map_err(|fault| named(&fault))?;
    }
    ImageSet::new(Images { pixels, size: SIZE }, labels, classes, &family.normalise)
}

/// Appends the records of a file.
fn parse(
    family: &Family,
    bytes: &[u8],
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u32>,
) -> std::result::Result<(), String> {
    let record = family.labels + PIXELS;
    let (count, rest) = (bytes.len() / record, bytes.len() % record);
    if count == 0 || rest > 0 {
        return Err(format!(
            "{} bytes are no whole number of records of {record} bytes: {count} are whole, {rest} bytes are left",
            bytes.len()
        ));
    }
    pixels.reserve(count * PIXELS);
    for (number, record) in bytes.chunks_exact(record).enumerate() {
        let (label, image) = record.split_at(family.labels);
        let label = label[family.labels - 1];
        if usize::from(label) >= family.classes {
            return Err(format!("record {number} has label {label}, there are {} classes", family.classes));
        }
        labels.push(u32::from(label));
        pixels.extend_from_slice(image);
    }
    Ok(())
}

/// The lines of the file, or numbers if there is none.
fn class_names(family: &Family, file: &Path) -> Result<Vec<String>> {
    if !file.is_file() {
        return Ok((0..family.classes).map(|class| class.to_string()).collect());
    }
    let text = Encoding::default()
        .read(file)
        .map_err(|e| Error::Msg(format!("cannot read the classes of {} from {e}", family.name)))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    ensure!(
        names.len() == family.classes,
        "{}: {} must name {} classes, got {}",
        family.name,
        file.display(),
        family.classes,
        names.len()
    );
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte of record `n` is `n`, but for its labels.
    fn records(labels: &[&[u8]]) -> Vec<u8> {
        let record = |(n, labels): (usize, &&[u8])| [*labels, &[n as u8; PIXELS]].concat();
        labels.iter().enumerate().flat_map(record).collect()
    }

    #[test]
    fn the_count_of_records_is_the_files() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("cifar10");
        fs::create_dir(&folder)?;
        fs::write(folder.join("data_batch_1.bin"), records(&[&[3], &[9]]))?;
        fs::write(folder.join("data_batch_4.bin"), records(&[&[0]]))?;
        fs::write(folder.join("test_batch.bin"), records(&[&[7]]))?;
        for dir in [dir.path(), &folder] {
            let train = load(&CIFAR10, dir, Part::Train)?;
            assert_eq!((train.labels(), train.size()), (&[3, 9, 0][..], SIZE));
            assert_eq!(train.pixels(1), Some(&[1; PIXELS][..]));
            assert_eq!(train.classes()[3], "3");
            assert_eq!(load(&CIFAR10, dir, Part::Test)?.labels(), [7]);
        }
        let names = "\u{feff}airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
        fs::write(folder.join("batches.meta.txt"), names)?;
        let test = load(&CIFAR10, dir.path(), Part::Test)?;
        assert_eq!((test.classes()[0].as_str(), test.classes()[7].as_str()), ("airplane", "horse"));
        fs::write(folder.join("batches.meta.txt"), "airplane\n")?;
        let error = load(&CIFAR10, dir.path(), Part::Test).expect_err("too few").to_string();
        assert!(error.contains("must name 10 classes, got 1"), "{error}");
        Ok(())
    }

    #[test]
    fn of_two_labels_the_finer_counts() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("train.bin"), records(&[&[19, 99], &[0, 42]]))?;
        assert_eq!(load(&CIFAR100, dir.path(), Part::Train)?.labels(), [99, 42]);
        let error = load(&CIFAR100, dir.path(), Part::Test).expect_err("not there").to_string();
        assert!(error.contains("the test part is not there: looked for test.bin in"), "{error}");
        let error = load(&CIFAR100, &dir.path().join("no"), Part::Test).expect_err("not there").to_string();
        assert!(error.contains("there is no folder"), "{error}");
        Ok(())
    }

    #[test]
    fn damaged_files_are_told_apart() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("test_batch.bin");
        let whole = records(&[&[1], &[2]]);
        for (bytes, says) in [
            (vec![], "0 bytes are no whole number of records of 3073 bytes"),
            (whole[..3072].to_vec(), "0 are whole, 3072 bytes are left"),
            (whole[..6145].to_vec(), "1 are whole, 3072 bytes are left"),
            ([&whole[..], &[0]].concat(), "2 are whole, 1 bytes are left"),
            (records(&[&[1], &[10]]), "record 1 has label 10, there are 10 classes"),
        ] {
            fs::write(&file, bytes)?;
            let error = load(&CIFAR10, dir.path(), Part::Test).expect_err(says).to_string();
            assert!(error.contains(says) && error.contains("test_batch.bin"), "{says:?} not in {error}");
        }
        Ok(())
    }
}
