//! Against what PyTorch did, kept in `tests/golden`.

mod optim;
mod schedule;

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

type Golden = BTreeMap<String, Tensor>;

/// The tensors of a golden file, and what its metadata say they are.
fn golden<A: DeserializeOwned>(name: &str) -> (Golden, A) {
    let path = format!("{}/../../tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let path = PathBuf::from(path);
    let bytes = std::fs::read(&path).expect("the golden file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let about = &header.metadata().as_ref().expect("metadata")["about"];
    let tensors = nn_core::weights::safetensors::read(&path).expect("tensors");
    (tensors, serde_json::from_str(about).expect("settings as recipes have them"))
}
