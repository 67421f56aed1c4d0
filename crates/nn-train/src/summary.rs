//! What a run came to.

use serde::{Deserialize, Serialize};

use crate::metrics::Figures;

/// Why the loop returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All epochs are over.
    Finished,
    /// It no longer got better: [`Stop::patience`](crate::Stop::patience).
    Patience,
    /// [`Stop::steps`](crate::Stop::steps) were taken.
    Steps,
    /// [`Stop::seconds`](crate::Stop::seconds) are over.
    Seconds,
    /// It was told to stop, and saved where it is.
    Interrupted,
}

/// Figures of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// In which epoch, counted from 1.
    pub epoch: u64,
    /// After how many steps.
    #[serde(default)]
    pub step: u64,
    /// Over the epoch's training examples, while it was trained on them.
    pub train: Figures,
    /// Over the evaluation set.
    pub eval: Figures,
}

/// What a run came to; `metrics.json` of a finished one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Why the loop returned.
    pub ended: Ended,
    /// Epochs that are over.
    pub epochs: u64,
    /// Steps taken.
    pub steps: u64,
    /// The evaluation whose weights are in `model.safetensors`.
    pub best: Option<Score>,
    /// The evaluation whose running mean of the weights is in `ema.safetensors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_ema: Option<Score>,
    /// The last evaluation.
    pub last: Option<Score>,
    /// What the best weights make of data that had no say in choosing them; see [`test`](fn@crate::test).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Figures>,
    /// The same of the best running mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_ema: Option<Figures>,
    /// Trainable numbers.
    pub parameters: u64,
    /// What everything random was drawn from.
    pub seed: u64,
    /// Time the loop ran, over all resumptions.
    pub seconds: f64,
    /// Training speed, without evaluation; in examples per second.
    pub examples_per_second: f64,
}
