//! What every test needs: the program, a folder of its own, a small recipe, a trained run, files to feed it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use nn_train::data::{ImageSet, Part, digits};
use serde_json::Value;
use tempfile::TempDir;

/// The program, in `dir`, with nothing inherited that could change what it does.
pub(crate) fn xtask(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(dir).env_remove("NN_DATA_DIR").env_remove("RAYON_NUM_THREADS");
    // Whoever debugs sees backtraces elsewhere; here they must never show.
    command.env("RUST_BACKTRACE", "1");
    command
}

/// What a finished call came to.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Calls the program with words split at blanks.
pub(crate) fn call(dir: &Path, words: &str) -> Ended {
    ended(xtask(dir).args(words.split_whitespace()).output().expect("the program starts"))
}

impl Ended {
    /// Demands success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Demands failure with exit code 1, one `error:` line that holds each part somewhere below it, no backtrace.
    #[track_caller]
    pub(crate) fn fails(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.stderr.matches("error: ").count(), 1, "{}", self.stderr);
        for noise in ["panicked", "   0: ", "stack backtrace"] {
            assert!(!self.stderr.contains(noise), "{}", self.stderr);
        }
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
        self
    }

    /// Standard output as the one JSON document it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A run of `digits` that takes a second and learns enough; shared by the tests that only look at it.
pub(crate) fn trained() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let dir = folder();
        let words =
            "train mlp --epochs 3 --set data.train_examples=4000 --set data.test_examples=500 --out run";
        call(dir.path(), words).ok();
        let path = dir.path().join("run");
        (dir, path)
    });
    path
}

/// The words of a training call of about `epochs` × 30 steps with many checkpoints.
pub(crate) fn small(epochs: u32) -> String {
    format!(
        "train lenet5 --epochs {epochs} --batch-size 32 --set data.train_examples=960 \
         --set data.test_examples=64 --set train.checkpoint={{steps=2}}"
    )
}

pub(crate) fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors")).expect("a finished run has weights")
}

/// A digit as the data set draws it, `[28, 28]`, white on black; none of those the models are trained on.
pub(crate) fn digit(class: usize) -> Vec<u8> {
    static SET: OnceLock<ImageSet> = OnceLock::new();
    let set = SET.get_or_init(|| digits(77, Part::Test));
    let index = set.labels().iter().position(|&label| label as usize == class);
    index.and_then(|index| set.pixels(index)).expect("every class has images").to_vec()
}

/// Writes a grey PNG, `scale` times as large, turned over where `on_paper`.
pub(crate) fn png(path: &Path, pixels: &[u8], scale: usize, on_paper: impl Fn(u8) -> u8) {
    let side = 28 * scale;
    let pixels =
        (0..side * side).map(|i| on_paper(pixels[i / side / scale * 28 + i % side / scale])).collect();
    let image =
        image::GrayImage::from_raw(side as u32, side as u32, pixels).expect("as many pixels as given");
    image.save(path).expect("a writable folder");
}

/// An IDX file: magic number, sizes, data.
pub(crate) fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let words = [&[magic], sizes].concat();
    words.iter().flat_map(|n| n.to_be_bytes()).chain(data.iter().copied()).collect()
}

/// A folder with the four files of MNIST, forty images each.
pub(crate) fn mnist(dir: &Path) {
    let pixels: Vec<u8> = (0..40).flat_map(|i| digit(i % 10)).collect();
    let labels: Vec<u8> = (0..40).map(|i| i % 10).collect();
    for part in ["train", "t10k"] {
        let write =
            |name: String, bytes: Vec<u8>| fs::write(dir.join(name), bytes).expect("a writable folder");
        write(format!("{part}-images-idx3-ubyte"), idx(0x803, &[40, 28, 28], &pixels));
        write(format!("{part}-labels-idx1-ubyte"), idx(0x801, &[40], &labels));
    }
}
