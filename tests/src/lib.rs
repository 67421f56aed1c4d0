//! What the tests in `tests/tests` share: golden files, and ears for a model's inner outputs.

pub mod reference;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::{Result, Tensor};
use nn_core::ctx::{Event, Observer};
use nn_core::ops;
use nn_core::weights::safetensors;
use nn_layers::{Mlp, MlpConfig};
use nn_vision::{Entry, Network, Weighted, total_loss};
use serde_json::Value;

/// A perceptron with the width and depth of `tests/golden/zoo.py`'s.
const MLP: Entry = Entry {
    name: "mlp",
    paper: "Rumelhart et al. 1986",
    input: [1, 28, 28],
    least: [28, 28],
    num_classes: 10,
    parameters: 109_386,
    build: |vb, num_classes| {
        let cfg = MlpConfig { hidden: &[128, 64], ..MlpConfig::default() };
        Ok(Network::Other(Box::new(Mlp::new(28 * 28, num_classes, cfg, vb)?)))
    },
};

/// Every model there is: the zoo's and a perceptron.
pub fn models() -> impl Iterator<Item = &'static Entry> {
    nn_vision::entries().chain([&MLP])
}

/// Those for digits, which `tests/golden/zoo.py` follows in training; of the others `vision.py` has a sketch.
pub fn digits() -> impl Iterator<Item = &'static Entry> {
    models().filter(|entry| entry.input == MLP.input)
}

/// Those for photos.
pub fn large() -> impl Iterator<Item = &'static Entry> {
    nn_vision::classifiers().filter(|entry| entry.input != MLP.input)
}

/// A file of `tests/golden`: tensors by name, and what its maker says about it.
///
/// # Errors
/// If the file is missing or damaged.
pub fn golden(name: &str) -> Result<(BTreeMap<String, Tensor>, Value)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.safetensors"));
    let about = safetensors::metadata(&path)?.remove("about").unwrap_or_default();
    Ok((safetensors::read(&path)?, serde_json::from_str(&about).map_err(candle_core::Error::wrap)?))
}

/// A file or folder of the real data that is not part of the repository: in NN_DATA_DIR, or in `shared/data` beside the
/// workspace. Says so if it is absent.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = std::env::var_os("NN_DATA_DIR").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// The mean cross-entropy of every head's logits, or of a single logit that of its sigmoid, as many times as it counts.
///
/// # Errors
/// If there are no logits, or they do not suit the labels.
pub fn loss(heads: &[Weighted], labels: &Tensor) -> Result<Tensor> {
    total_loss(heads, |logits| match logits.dim(1)? {
        1 => ops::bce_with_logits(
            &ops::flatten(logits, 0)?,
            &labels.to_dtype(logits.dtype())?,
            ops::Reduction::Mean,
        ),
        _ => ops::cross_entropy(logits, labels, ops::Reduction::Mean),
    })
}

/// Keeps the output of every layer by its path.
#[derive(Default)]
pub struct Outputs(Mutex<BTreeMap<String, Tensor>>);

impl Outputs {
    /// What was heard.
    pub fn take(self) -> BTreeMap<String, Tensor> {
        self.0.into_inner().unwrap_or_default()
    }
}

impl Observer for Outputs {
    fn observe(&self, event: &Event<'_>) {
        if let Ok(mut outputs) = self.0.lock() {
            outputs.insert(event.path(), event.output.clone());
        }
    }
}

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
