//! Pictures in folders: a folder a class, or as a table lists them.
//!
//! Source: the layout of torchvision's `ImageFolder`.
//! Differs: classes and files come in natural order, `10` after `9`; hidden files are no pictures; within a class a
//! folder that is a link is not entered; a picture of a kind that is not read is an error.

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Error, Result};
use nn_core::ensure;

use super::list::Listed;
use super::{Example, Image, ListColumns, Source, Target};

/// Makes a picture of a file.
pub type Decode = dyn Fn(&Path) -> Result<Image> + Send + Sync;

/// How the names of pictures end.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp"];

/// And those of pictures that are not read: a class without half its pictures is nothing to learn from unawares.
const OTHERS: [&str; 9] = ["tif", "tiff", "ppm", "pgm", "pbm", "heic", "heif", "avif", "jp2"];

/// Folders in folders beyond this are a mistake.
const MAX_DEPTH: usize = 16;

/// Pictures of a folder, read when they are asked for; each is of the class whose folder it lies in, or that a list
/// gives it.
pub struct ImageFolder {
    files: Vec<(PathBuf, u32)>,
    classes: Vec<String>,
    decode: Box<Decode>,
}

impl ImageFolder {
    /// Lists the pictures below the folders of `dir`, which are the classes. `decode` makes a picture of each file when
    /// it is asked for; it may be called from several threads at once.
    ///
    /// # Errors
    /// If `dir` cannot be read, has no folders, or one of them holds no picture, or one of a kind that is not read; the
    /// message names it.
    pub fn new(dir: &Path, decode: impl Fn(&Path) -> Result<Image> + Send + Sync + 'static) -> Result<Self> {
        let mut folders: Vec<PathBuf> = entries(dir)?.into_iter().filter(|path| path.is_dir()).collect();
        folders.sort_by(|a, b| natural(&name(a), &name(b)));
        ensure!(
            !folders.is_empty(),
            "ImageFolder: {} has no folders; a folder a class is expected there",
            dir.display()
        );
        let mut files = Vec::new();
        for (class, folder) in (0..).zip(&folders) {
            let before = files.len();
            walk(folder, MAX_DEPTH, &mut |file| files.push((file, class)))?;
            ensure!(
                files.len() > before,
                "ImageFolder: {} holds no pictures (names that end in {})",
                folder.display(),
                ENDINGS.join(", ")
            );
        }
        let classes = folders.iter().map(|folder| name(folder)).collect();
        Ok(Self { files, classes, decode: Box::new(decode) })
    }

    /// Takes the pictures of a list, a table of comma-separated values with a row a picture, in its order. Classes come in
    /// natural order. `decode` is as in [`ImageFolder::new`].
    ///
    /// # Errors
    /// If the list is no table, lacks a column or has no rows, a cell is empty, or a file is not there; the message
    /// gives the line.
    pub fn listed(
        list: &Path,
        columns: ListColumns<'_>,
        decode: impl Fn(&Path) -> Result<Image> + Send + Sync + 'static,
    ) -> Result<Self> {
        let Listed { files, classes } = Listed::read(list, columns)?;
        Ok(Self { files, classes, decode: Box::new(decode) })
    }

    /// The same pictures with the classes of another part, numbered as there.
    ///
    /// # Errors
    /// If a class is not among them.
    pub fn with_classes(self, classes: &[String]) -> Result<Self> {
        let place = |name: &String| {
            let place = classes.iter().position(|known| known == name);
            place.ok_or_else(|| {
                let known = classes.join(", ");
                Error::Msg(format!("ImageFolder: there is no class {name} among {known}"))
            })
        };
        let places: Vec<usize> = self.classes.iter().map(place).collect::<Result<_>>()?;
        let files = self.files.into_iter().map(|(file, class)| (file, places[class as usize] as u32));
        Ok(Self { files: files.collect(), classes: classes.to_vec(), decode: self.decode })
    }

    /// Each picture's file and class, in order.
    pub fn files(&self) -> &[(PathBuf, u32)] {
        &self.files
    }
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let Some((file, class)) = self.files.get(index) else {
            candle_core::bail!("ImageFolder: there are {} pictures, got index {index}", self.files.len())
        };
        Ok(Example { image: (self.decode)(file)?, target: Target::Class(*class) })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn class(&self, index: usize) -> Option<u32> {
        self.files.get(index).map(|(_, class)| *class)
    }
}

impl fmt::Debug for ImageFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, classes) = (self.files.len(), &self.classes);
        f.debug_struct("ImageFolder").field("files", &files).field("classes", classes).finish_non_exhaustive()
    }
}

/// Calls `found` with the pictures of `folder` and of the folders in it, in natural order.
fn walk(folder: &Path, depth: usize, found: &mut impl FnMut(PathBuf)) -> Result<()> {
    ensure!(depth > 0, "ImageFolder: {} lies more than {MAX_DEPTH} folders deep", folder.display());
    let mut paths = entries(folder)?;
    paths.sort_by(|a, b| natural(&name(a), &name(b)));
    for path in paths {
        if path.is_dir() {
            if !path.is_symlink() {
                walk(&path, depth - 1, found)?;
            }
            continue;
        }
        let ending =
            path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        ensure!(
            !OTHERS.contains(&ending.as_str()),
            "ImageFolder: {} is a picture of a kind that is not read; convert it, to PNG say, or take it away",
            path.display()
        );
        if ENDINGS.contains(&ending.as_str()) {
            found(path);
        }
    }
    Ok(())
}

/// What is in a folder and not hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::Msg(format!("cannot read the folder {}: {e}", folder.display()));
    let paths =
        fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let visible = |path: &PathBuf| !name(path).starts_with('.');
    Ok(paths.collect::<Result<Vec<_>>>()?.into_iter().filter(visible).collect())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Numbers in names compare as numbers; of names that differ in leading zeros only, the one with fewer comes first.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = (digits(left), digits(right));
        let order = if x.is_empty() || y.is_empty() {
            match (left.chars().next(), right.chars().next()) {
                (Some(x), Some(y)) if x == y => {
                    (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
                    continue;
                }
                (x, y) => x.cmp(&y).then(a.cmp(b)),
            }
        } else {
            let plain = |digits: &str| digits.trim_start_matches('0').to_owned();
            (left, right) = (&left[x.len()..], &right[y.len()..]);
            let (x, y) = (plain(x), plain(y));
            x.len().cmp(&y.len()).then(x.cmp(&y))
        };
        if order != Ordering::Equal || left.is_empty() && right.is_empty() {
            return order.then(a.len().cmp(&b.len())).then(a.cmp(b));
        }
    }
}

/// The digits that `text` starts with.
fn digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder for tests");
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            fs::write(path, []).expect("writable");
        }
        dir
    }

    fn open(dir: &Path) -> Result<ImageFolder> {
        ImageFolder::new(dir, |path| match name(path).as_str() {
            "broken.png" => candle_core::bail!("{}: not a picture", path.display()),
            _ => Image::new(vec![1, 2, 3], [3, 1, 1]),
        })
    }

    #[test]
    fn classes_and_files_come_in_natural_order() -> Result<()> {
        let dir = tree(&[
            "10/b.JPG",
            "10/a.jpeg",
            "9/x10.png",
            "9/x9.png",
            "9/deep/er/x1.webp",
            "9/x11.JFIF",
            "9/notes.txt",
            "9/.hidden.png",
            "readme.md",
        ]);
        let folder = open(dir.path())?;
        assert_eq!(folder.classes(), ["9", "10"]);
        let files: Vec<String> = folder
            .files()
            .iter()
            .map(|(file, class)| {
                let file = file.strip_prefix(dir.path()).expect("below").display().to_string();
                format!("{} {class}", file.replace('\\', "/"))
            })
            .collect();
        assert_eq!(
            files,
            ["9/deep/er/x1.webp 0", "9/x9.png 0", "9/x10.png 0", "9/x11.JFIF 0", "10/a.jpeg 1", "10/b.JPG 1"]
        );
        let example = folder.example(4)?;
        assert_eq!((example.image.size(), example.target), ([3, 1, 1], Target::Class(1)));
        assert!(folder.example(6).expect_err("past the end").to_string().contains("6 pictures, got index 6"));
        Ok(())
    }

    fn listed(dir: &Path, list: &str) -> Result<ImageFolder> {
        fs::write(dir.join("list.csv"), list).expect("writable");
        let columns = ListColumns { path: "image", ..ListColumns::default() };
        ImageFolder::listed(&dir.join("list.csv"), columns, |_| Image::new(vec![1, 2, 3], [3, 1, 1]))
    }

    #[test]
    fn a_list_gives_pictures_their_classes() -> Result<()> {
        let dir = tree(&["x.png", "deep/y.png", "z.png"]);
        let list = "image,other,label\nx.png,1,10\ndeep/y.png,\"a,b\", 9\nz.png,,10\nx.png,,9\n";
        let folder = listed(dir.path(), list)?;
        assert_eq!(folder.classes(), ["9", "10"]);
        let classes: Vec<u32> = folder.files().iter().map(|(_, class)| *class).collect();
        assert_eq!(classes, [1, 0, 1, 0]);
        assert_eq!((folder.files()[1].0.clone(), folder.class(1)), (dir.path().join("deep/y.png"), Some(0)));
        assert_eq!(folder.example(2)?.target, Target::Class(1));
        let classes = ["8", "9", "10"].map(str::to_owned);
        let renumbered = folder.with_classes(&classes)?;
        assert_eq!((renumbered.class(0), renumbered.class(1), renumbered.class(4)), (Some(2), Some(1), None));
        assert_eq!(renumbered.classes(), classes);
        let error = renumbered.with_classes(&classes[1..]).expect_err("8 is gone").to_string();
        assert!(error.contains("there is no class 8 among 9, 10"), "{error}");
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named_with_its_line() {
        let dir = tree(&["x.png"]);
        for (list, says) in [
            ("image,label\n", "no pictures in the list"),
            ("image,class\nx.png,1\n", "no column \"label\"; there are image, class"),
            ("image,label\nx.png,1\nx.png, \n", "list.csv: line 3, column label: the cell is empty"),
            ("image,label\nx.png,1\ny.png,2\n", "line 3: there is no file"),
        ] {
            let error = listed(dir.path(), list).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }

    #[test]
    fn natural_order_is_an_order() {
        let sorted =
            ["", "0", "00", "1", "01", "1a", "2", "9", "10", "010", "a", "a1b", "a2", "a10", "é", "é1"];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn pictures_are_read_when_they_are_asked_for() -> Result<()> {
        let dir = tree(&["a/broken.png", "b/good.png"]);
        let folder = open(dir.path())?;
        assert!(folder.example(1).is_ok());
        let error = folder.example(0).expect_err("broken").to_string();
        assert!(error.contains("broken.png: not a picture"), "{error}");
        Ok(())
    }

    #[test]
    fn folders_without_pictures_are_named() {
        for (files, says) in [
            (&["a.png"][..], "has no folders; a folder a class"),
            (&["a/x.png", "b/notes.txt"], "b holds no pictures (names that end in jpg"),
            (&["a/x.png", "a/y.TIF"], "y.TIF is a picture of a kind that is not read"),
        ] {
            let dir = tree(files);
            let error = open(dir.path()).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        let error = open(Path::new("no/such")).expect_err("no folder").to_string();
        assert!(error.contains("cannot read the folder no/such"), "{error}");
    }
}
