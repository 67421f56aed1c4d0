//! Pictures with a class for every pixel: two files each, named by the lines of a list.
//!
//! Source: the lists of SegNet's CamVid tutorial (Badrinarayanan, Kendall & Cipolla 2015, arXiv:1511.00561).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Error, Result};
use nn_core::ensure;

use super::folder::Decode;
use super::{Encoding, Example, Image, Source, Target};

/// A longer list is no list.
const MAX_BYTES: u64 = 256 << 20;

/// Pictures and their masks, read when they are asked for.
pub struct MaskedImages {
    files: Vec<[PathBuf; 2]>,
    classes: Vec<String>,
    ignore: u8,
    image: Box<Decode>,
    mask: Box<Decode>,
}

/// The two files' readers: a picture's, and a mask's, whose bytes are classes.
pub struct Decoders<I, M> {
    /// `[C, H, W]`
    pub image: I,
    /// `[1, H, W]`
    pub mask: M,
}

impl MaskedImages {
    /// The pairs of the list: a picture's path and its mask's on each line, apart by blanks, relative to the list's
    /// folder. `ignore` is the value of pixels of no class.
    ///
    /// # Errors
    /// If the list cannot be read, is empty, or a line does not name two files below its folder; the message names it.
    pub fn new<I, M>(list: &Path, classes: Vec<String>, ignore: u8, decoders: Decoders<I, M>) -> Result<Self>
    where
        I: Fn(&Path) -> Result<Image> + Send + Sync + 'static,
        M: Fn(&Path) -> Result<Image> + Send + Sync + 'static,
    {
        let failed =
            |e: &dyn fmt::Display| Error::Msg(format!("cannot read the list {}: {e}", list.display()));
        let bytes = fs::metadata(list).map_err(|e| failed(&e))?.len();
        if bytes > MAX_BYTES {
            return Err(failed(&format_args!("{bytes} bytes are more than the {MAX_BYTES} a list may have")));
        }
        let text = Encoding::default().read(list)?;
        let folder = list.parent().unwrap_or(Path::new(""));
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let pairs = lines.map(|(number, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[image, mask] = words.as_slice() else {
                return Err(failed(&format_args!(
                    "line {} must be a picture and a mask, got {line:?}",
                    number + 1
                )));
            };
            let pair = [image, mask].map(|word| below(folder, word));
            match pair {
                [Some(image), Some(mask)] => Ok([image, mask]),
                _ => {
                    Err(failed(&format_args!("line {} leads out of the list's folder, {line:?}", number + 1)))
                }
            }
        });
        let files = pairs.collect::<Result<Vec<_>>>()?;
        ensure!(!files.is_empty(), "MaskedImages: the list {} is empty", list.display());
        let Decoders { image, mask } = decoders;
        Ok(Self { files, classes, ignore, image: Box::new(image), mask: Box::new(mask) })
    }

    /// Each picture's file and its mask's, in order.
    pub fn files(&self) -> &[[PathBuf; 2]] {
        &self.files
    }
}

/// The path, if it leads nowhere else. Lists are made where the data lie: a leading slash means their folder.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| folder.join(path))
}

impl Source for MaskedImages {
    fn len(&self) -> usize {
        self.files.len()
    }

    /// # Errors
    /// If one of the files cannot be read, the two differ in size, or the mask has a value that is neither a class nor
    /// the one to ignore.
    fn example(&self, index: usize) -> Result<Example> {
        let Some([image, mask]) = self.files.get(index) else {
            candle_core::bail!("MaskedImages: there are {} pairs, got index {index}", self.files.len())
        };
        let (picture, classes) = ((self.image)(image)?, (self.mask)(mask)?);
        let [_, h, w] = picture.size();
        ensure!(
            classes.size() == [1, h, w],
            "MaskedImages: a mask must have its picture's size, got {:?} of {} for {:?} of {}",
            classes.size(),
            mask.display(),
            [h, w],
            image.display()
        );
        let strange =
            classes.pixels().iter().find(|&&v| v != self.ignore && usize::from(v) >= self.classes.len());
        if let Some(value) = strange {
            let (mask, count) = (mask.display(), self.classes.len());
            candle_core::bail!("MaskedImages: {mask} has the value {value}, there are {count} classes");
        }
        Ok(Example { image: picture, target: Target::Mask { classes, ignore: self.ignore } })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl fmt::Debug for MaskedImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, classes) = (self.files.len(), &self.classes);
        f.debug_struct("MaskedImages")
            .field("files", &files)
            .field("classes", classes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files hold their pixels: a picture's are grey, one row.
    fn row(path: &Path) -> Result<Image> {
        let bytes = fs::read(path)?;
        let size = [1, 1, bytes.len()];
        Image::new(bytes, size)
    }

    fn open(dir: &Path, list: &str) -> Result<MaskedImages> {
        let path = dir.join("train.txt");
        fs::write(&path, list)?;
        let classes = vec!["road".to_owned(), "sky".to_owned()];
        MaskedImages::new(&path, classes, 11, Decoders { image: row, mask: row })
    }

    #[test]
    fn pairs_are_read_when_they_are_asked_for() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("train"))?;
        for (name, bytes) in
            [("a", &[9, 9, 9][..]), ("m", &[0, 1, 11]), ("short", &[0]), ("odd", &[0, 2, 11])]
        {
            fs::write(dir.path().join("train").join(name), bytes)?;
        }
        let list =
            "\u{feff}train/a train/m\n\n/train/a\t/train/short \ntrain/a train/odd\ntrain/a train/none\n";
        let set = open(dir.path(), list)?;
        assert_eq!((set.len(), set.classes().len()), (4, 2));
        let example = set.example(0)?;
        assert_eq!(example.image.pixels(), [9, 9, 9]);
        let Target::Mask { classes, ignore } = example.target else { panic!("a mask") };
        assert_eq!((classes.pixels(), ignore), (&[0, 1, 11][..], 11));
        for (index, says) in [
            (1, "got [1, 1, 1] of"),
            (2, "odd has the value 2, there are 2 classes"),
            (3, "os error"),
            (4, "there are 4 pairs, got index 4"),
        ] {
            let error = set.example(index).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        Ok(())
    }

    #[test]
    fn lines_that_are_no_pairs_are_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for (list, says) in [
            ("", "is empty"),
            ("a b\nc\n", "line 2 must be a picture and a mask, got \"c\""),
            ("a b c", "line 1 must be a picture and a mask"),
            ("a ../b", "line 1 leads out of the list's folder"),
        ] {
            let error = open(dir.path(), list).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        let decoders = Decoders { image: row, mask: row };
        let error = MaskedImages::new(Path::new("no/such.txt"), vec![], 0, decoders).expect_err("no list");
        assert!(error.to_string().contains("cannot read the list no/such.txt"), "{error}");
        Ok(())
    }
}
