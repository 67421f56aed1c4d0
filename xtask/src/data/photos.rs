//! Data sets of picture files: folders of classes, and pictures with masks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Result;
use nn_core::{Random, ensure};
use nn_train::data::{
    Decoders, Image, ImageFolder, ListColumns, MaskedImages, Part, Source, Subset, split_by_class,
};
use nn_vision::preprocess::{Channels, Picture};

/// CamVid's classes in SegNet's order.
pub(super) const CAMVID: [&str; 11] = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
];

/// The value of a mask's pixels that are of no class: the one after CamVid's last.
pub(crate) const IGNORE: u8 = 11;

/// Height and width of SegNet's pictures, halved.
pub(super) const CAMVID_SIZE: [usize; 2] = [180, 240];

/// The share of a folder that is tested on, where nothing else is said.
pub(super) const HELD_OUT: f64 = 0.2;

/// Which pictures of an undivided folder are held out is always the same.
const SPLIT_SEED: u64 = 0;

/// A part of the pictures in `dir`, or in the folder in it that is called `name`: those in `train`, and in `val` or
/// `test`, if there are such folders; else a share of all, the classes in proportion.
pub(super) fn folder(dir: &Path, name: &str, part: Part, held_out: f64) -> Result<Arc<dyn Source>> {
    let inner = dir.join(name);
    let dir = if inner.is_dir() { &inner } else { dir };
    ensure!(dir.is_dir(), "{name}: there is no folder {}", dir.display());
    if dir.join("train").is_dir() {
        let names: &[&str] = match part {
            Part::Train => &["train"],
            Part::Test => &["val", "test"],
        };
        let Some(path) = names.iter().map(|name| dir.join(name)).find(|path| path.is_dir()) else {
            candle_core::bail!("{name}: {} has a folder train, and none called val or test", dir.display())
        };
        let pictures = ImageFolder::new(&path, photo)?;
        return Ok(Arc::new(match part {
            Part::Train => pictures,
            // A class without pictures to test on has no folder there: the others keep their numbers.
            Part::Test => pictures.with_classes(ImageFolder::new(&dir.join("train"), photo)?.classes())?,
        }));
    }
    divided(ImageFolder::new(dir, photo)?, part, held_out)
}

/// A part of the pictures that tables in `dir` list: the first table to train and the second to test on, with the
/// classes of the first; of one alone a share, the classes in proportion.
pub(super) fn listed(
    dir: &Path,
    lists: &[String],
    columns: Option<&[String; 2]>,
    part: Part,
    held_out: f64,
) -> Result<Arc<dyn Source>> {
    let columns = columns.map_or(ListColumns::default(), |[path, label]| ListColumns { path, label });
    let read = |list: &String| ImageFolder::listed(&dir.join(list), columns, photo);
    match (lists, part) {
        ([train, _], Part::Train) => Ok(Arc::new(read(train)?)),
        ([train, test], Part::Test) => Ok(Arc::new(read(test)?.with_classes(read(train)?.classes())?)),
        ([all, ..], _) => divided(read(all)?, part, held_out),
        ([], _) => candle_core::bail!("folder: there must be a list"),
    }
}

/// The share that is held out, or the rest, the classes in proportion.
fn divided(all: ImageFolder, part: Part, held_out: f64) -> Result<Arc<dyn Source>> {
    let labels: Vec<u32> = all.files().iter().map(|(_, class)| *class).collect();
    let [train, test] = split_by_class(&labels, 1.0 - held_out, Random::new(SPLIT_SEED))?;
    let indices = match part {
        Part::Train => train,
        Part::Test => test,
    };
    Ok(Arc::new(Subset::new(Arc::new(all), indices)?))
}

/// A part of CamVid.
pub(super) fn camvid(dir: &Path, part: Part) -> Result<MaskedImages> {
    let list = match part {
        Part::Train => "train.txt",
        Part::Test => "test.txt",
    };
    scenes(&camvid_list(dir, list))
}

/// What CamVid has for validation, if it is there.
pub(super) fn camvid_validation(dir: &Path) -> Result<Option<MaskedImages>> {
    let list = camvid_list(dir, "val.txt");
    list.is_file().then(|| scenes(&list)).transpose()
}

/// A list in `dir`, or in the folder `camvid` there.
fn camvid_list(dir: &Path, list: &str) -> PathBuf {
    let inner = dir.join("camvid");
    if inner.is_dir() { inner.join(list) } else { dir.join(list) }
}

fn scenes(list: &Path) -> Result<MaskedImages> {
    let classes = CAMVID.map(str::to_owned).to_vec();
    MaskedImages::new(list, classes, IGNORE, Decoders { image: photo, mask })
}

/// A file's red, green and blue, upright.
pub(crate) fn photo(path: &Path) -> Result<Image> {
    image(&Picture::open(path, Channels::Rgb)?)
}

/// A file's numbers, which are classes.
fn mask(path: &Path) -> Result<Image> {
    image(&Picture::open_mask(path)?)
}

fn image(picture: &Picture) -> Result<Image> {
    let [height, width] = picture.size();
    Image::new(picture.planes(), [picture.channels().count(), height, width])
}
