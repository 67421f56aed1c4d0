//! One file that holds everything a run needs to go on: tensors, and the loop's state as JSON in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use flate2::Crc;
use safetensors::{SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::error::{TrainError, bare};
use crate::metrics::{Figures, Metrics};
use crate::schedule::Watched;
use crate::summary::Score;

/// Where the loop is and what it has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) seed: u64,
    /// Epochs that are over.
    pub(crate) epoch: u64,
    /// Batches of the next epoch that are done.
    pub(crate) batch: u64,
    /// Steps taken.
    pub(crate) step: u64,
    /// Examples and batches of an epoch, once known: another data set cannot go on.
    pub(crate) examples_per_epoch: u64,
    pub(crate) batches_per_epoch: u64,
    /// Sums over the batches done of this epoch.
    pub(crate) train: Metrics,
    pub(crate) best: Option<Score>,
    #[serde(default)]
    pub(crate) best_ema: Option<Score>,
    pub(crate) last: Option<Score>,
    /// The step of the last evaluation.
    #[serde(default)]
    pub(crate) evaluated: u64,
    /// What an evaluation must surpass to be an improvement: of the weights, and of their running mean.
    #[serde(default)]
    pub(crate) marks: [Option<Figures>; 2],
    /// Evaluations since the last improvement.
    #[serde(default)]
    pub(crate) stale: u64,
    /// What the schedule has seen of them.
    #[serde(default)]
    pub(crate) watched: Watched,
    /// Learning rate of the last step.
    pub(crate) lr: f64,
    /// Time the loop ran.
    pub(crate) seconds: f64,
    /// The part of it that was training.
    pub(crate) train_seconds: f64,
    /// Examples trained on, over all epochs.
    pub(crate) examples: u64,
    /// The log's length.
    pub(crate) log_bytes: u64,
    /// That of the event file.
    #[serde(default)]
    pub(crate) board_bytes: u64,
}

/// The one key of the metadata: the library keeps them in a hash map, and the order of two would vary.
const KEY: &str = "nn-train";

/// What is under that key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    /// Of the state's JSON, and of names and bytes of the tensors.
    crc32: u32,
    state: String,
}

pub(crate) fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    state: &State,
) -> Result<(), TrainError> {
    let bytes = encode(tensors, state)?;
    nn_core::atomic_file::write(path, |w| w.write_all(&bytes)).map_err(TrainError::io(path))
}

/// The contents of the file.
pub(crate) fn encode(tensors: &BTreeMap<String, Tensor>, state: &State) -> Result<Vec<u8>, TrainError> {
    let tensors: BTreeMap<&String, Tensor> = tensors
        .iter()
        .map(|(name, t)| Ok((name, t.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<candle_core::Result<_>>()?;
    let state = json(state);
    let crc32 = checksum(&state, tensors.iter().map(|(name, t)| (name.as_str(), t.data())));
    let metadata = HashMap::from([(KEY.to_owned(), json(&Stamp { crc32, state }))]);
    Ok(safetensors::serialize(tensors, Some(metadata)).map_err(candle_core::Error::wrap)?)
}

pub(crate) fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, State), TrainError> {
    let bytes = fs::read(path).map_err(TrainError::io(path))?;
    parse(&bytes).map_err(|why| TrainError::Checkpoint { path: path.to_owned(), why, before: None })
}

/// What [`encode`] wrote, or why not.
pub(crate) fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, Tensor>, State), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("the file is damaged ({e})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let stamp = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or("the file is no checkpoint")?;
    let stamp: Stamp = serde_json::from_str(stamp).map_err(|e| damaged(&e))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let views: BTreeMap<String, _> = file.iter().map(|(name, view)| (name.to_owned(), view)).collect();
    let crc32 = checksum(&stamp.state, views.iter().map(|(name, view)| (name.as_str(), view.data().into())));
    if crc32 != stamp.crc32 {
        return Err(damaged(&"its checksum does not match"));
    }
    let state =
        serde_json::from_str(&stamp.state).map_err(|e| format!("its state is of another version ({e})"))?;
    let load = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        view.load(&Device::Cpu).map(|t| (name, t)).map_err(|e| damaged(&bare(&e)))
    };
    Ok((views.into_iter().map(load).collect::<Result<_, _>>()?, state))
}

fn checksum<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, std::borrow::Cow<'a, [u8]>)>) -> u32 {
    let mut crc = Crc::new();
    crc.update(state.as_bytes());
    for (name, data) in tensors {
        crc.update(name.as_bytes());
        crc.update(&data);
    }
    crc.sum()
}

fn json(value: &impl Serialize) -> String {
    let Ok(json) = serde_json::to_string(value) else { unreachable!("structs of numbers and strings") };
    json
}
