//! What reads files, and files to begin with: whatever the bytes, the answer is tensors or an error, never a panic.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use nn_core::candle_core::Result;
use nn_core::weights::{WeightFile, safetensors};
use nn_train::data::{Image, ImageFolder, Source, idx};
use nn_vision::preprocess::{Channels, Picture};
use tempfile::TempDir;

/// A reader of files.
pub struct Target {
    pub name: &'static str,
    read: fn(&[u8]),
    /// How the names of the golden files end that it starts from.
    seeds: &'static [&'static str],
}

pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", read: weights, seeds: &[".safetensors"] },
    Target { name: "pickle", read: weights, seeds: &["_old.pt", ".pth", ".tar"] },
    Target { name: "zip", read: weights, seeds: &["state.pt", "nested.pt", "young.pt", ".npz"] },
    Target { name: "numpy", read: weights, seeds: &[".npy"] },
    Target { name: "onnx", read: weights, seeds: &[".onnx"] },
    Target { name: "hdf5", read: weights, seeds: &[".h5", ".keras"] },
    Target { name: "index", read: index, seeds: &[".index.json"] },
    Target { name: "idx", read: read_idx, seeds: &[] },
    Target { name: "images", read: images, seeds: &[] },
];

/// # Panics
/// If there is none of that name.
pub fn find(name: &str) -> &'static Target {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there are {}", names.join(", ")))
}

impl Target {
    /// Reads a file of these bytes.
    pub fn run(&self, bytes: &[u8]) {
        (self.read)(bytes);
    }

    /// Whole files to begin with.
    ///
    /// # Errors
    /// If the golden files cannot be read.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        match self.name {
            "idx" => return Ok(idx_seeds()),
            "images" => return pictures(&golden.join("formats.safetensors")).map_err(io::Error::other),
            _ => {}
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in ["torch", "weights", "keras"] {
            for file in fs::read_dir(golden.join(folder))? {
                files.push(file?.path());
            }
        }
        files.sort();
        let wanted = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.seeds.iter().any(|seed| name.ends_with(seed))
        };
        files.into_iter().filter(wanted).map(fs::read).collect()
    }
}

/// No tensor may be larger than its file allows, and reading one twice gives the same.
fn weights(bytes: &[u8]) {
    let Ok(file) = WeightFile::new("fuzz", Cursor::new(bytes.to_vec())) else { return };
    let mut size = 0;
    for (name, info) in file.tensors() {
        size += info.shape.iter().product::<usize>() * info.element.size();
        let _ = file.tensor(name);
    }
    assert!(size <= 8 * (bytes.len() + (1 << 17)), "{size} bytes from {}", bytes.len());
}

/// An index beside shards that are whole.
fn index(bytes: &[u8]) {
    thread_local! {
        static FOLDER: TempDir = shards().expect("the golden files and a folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("model.safetensors.index.json");
        fs::write(&path, bytes).expect("a file in memory");
        if let Ok(file) = WeightFile::open(&path) {
            let _ = file.read();
        }
    });
}

fn shards() -> io::Result<TempDir> {
    let dir = tempfile::tempdir()?;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/weights"))? {
        let file = file?;
        fs::copy(file.path(), dir.path().join(file.file_name()))?;
    }
    Ok(dir)
}

fn read_idx(bytes: &[u8]) {
    with_file("images", bytes, |path| {
        let _ = (idx::read_images(path), idx::read_labels(path));
    });
}

/// Two images, plain, and the labels of three.
fn idx_seeds() -> Vec<Vec<u8>> {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[7; 12]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat();
    vec![images, labels]
}

/// A folder of one class that holds one picture.
fn images(bytes: &[u8]) {
    with_file("class/picture.png", bytes, |path| {
        let root = path.parent().and_then(Path::parent).expect("two folders above it");
        let decode = |path: &Path| {
            let picture = Picture::open(path, Channels::Rgb)?;
            Image::new(picture.planes(), [3, picture.size()[0], picture.size()[1]])
        };
        if let Ok(folder) = ImageFolder::new(root, decode) {
            let _ = folder.example(0);
        }
        let _ = Picture::open_mask(path);
    });
}

fn pictures(golden: &Path) -> Result<Vec<Vec<u8>>> {
    let files = safetensors::read(golden)?.into_iter().filter(|(name, _)| name.ends_with(".file"));
    files.map(|(_, t)| t.flatten_all()?.to_vec1()).collect()
}

fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("the folder")).expect("a folder");
        fs::write(&path, bytes).expect("a file in memory");
        read(&path);
    });
}
