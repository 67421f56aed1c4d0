//! What the loop tells while it runs, and what the lines of `log.jsonl` are.

use serde::{Deserialize, Serialize};

use crate::metrics::{Confusion, Figures};
use crate::run::About;
use crate::summary::Ended;

/// Something that happened in a run. Epochs and steps are counted from 1.
///
/// In `log.jsonl` an event is a JSON object with its name in `event`; which events are logged is said at each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "events are handed on one at a time, not kept")]
pub enum Event {
    /// The folder came into being. Logged; its first line.
    Created(About),
    /// The loop begins at step 0. Logged.
    Started(Setting),
    /// An epoch begins, or goes on after a resumption. Not logged.
    EpochStarted {
        /// This epoch.
        epoch: u64,
        /// Batches of it that were trained on before a resumption.
        batches_done: u64,
        /// Batches in it.
        batches: u64,
    },
    /// A batch was trained on. The first is logged, and every `log_every`-th.
    Step(Step),
    /// A batch was evaluated. Not logged.
    Evaluating {
        /// Batches done.
        batch: u64,
        /// Batches there are.
        batches: u64,
    },
    /// The model was evaluated within an epoch. Logged.
    Evaluated(Evaluated),
    /// An epoch was trained on and evaluated. Logged.
    Epoch(Epoch),
    /// `last/checkpoint.safetensors` is up to date. Not logged.
    Checkpointed {
        /// Steps taken when it was written.
        step: u64,
    },
    /// The loss is no longer finite; the loop ends with [`TrainError::Diverged`](crate::TrainError::Diverged). Logged.
    Diverged {
        /// The step it happened at.
        step: u64,
        /// `NaN`, `inf` or `-inf`: JSON has no number for them.
        loss: String,
        /// Where it came from, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anomaly: Option<String>,
    },
    /// The run is over. Logged.
    Finished {
        /// Steps taken in all.
        steps: u64,
        /// Time the loop ran in all, in seconds, over all resumptions.
        seconds: f64,
        /// Why.
        #[serde(default = "finished")]
        ended: Ended,
    },
    /// The best weights met data that had no say in choosing them. Logged; the last line.
    Tested {
        /// Figures of the weights in `model.safetensors`.
        test: Figures,
        /// Figures of those in `ema.safetensors`, if there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ema: Option<Figures>,
    },
}

/// What logs say that were written before there was another end.
fn finished() -> Ended {
    Ended::Finished
}

/// The sizes a run starts with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Trainable numbers.
    pub parameters: u64,
    /// Epochs to train.
    pub epochs: u64,
    /// Steps in an epoch.
    pub batches: u64,
    /// Examples trained on in an epoch.
    pub train_examples: u64,
    /// Examples evaluated on.
    pub eval_examples: u64,
    /// What everything random is drawn from.
    pub seed: u64,
}

/// One optimisation step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Steps taken, this one included.
    pub step: u64,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Batches of the epoch done, this one included.
    pub batch: u64,
    /// Mean loss of this batch.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Momentum of this step, where the schedule moves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Norm of the gradients before clipping, where they are clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Figures over the epoch so far.
    pub so_far: Figures,
    /// Training speed in this epoch, since the process started; in examples per second.
    pub examples_per_second: f64,
}

/// An evaluation within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Steps taken so far.
    pub step: u64,
    /// Batches of the epoch done.
    pub batch: u64,
    /// Over the evaluation set.
    pub eval: Figures,
    /// The same of the running mean of the weights, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Figures>,
    /// Whether `model.safetensors` now holds these weights.
    pub best: bool,
    /// Time the loop ran so far, in seconds, over all resumptions.
    pub seconds: f64,
}

/// One epoch, trained and evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Which.
    pub epoch: u64,
    /// Steps taken so far.
    pub step: u64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Over the epoch's batches, each as the model was when it met it.
    pub train: Figures,
    /// Over the evaluation set, after the epoch.
    pub eval: Figures,
    /// The same of the running mean of the weights, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Figures>,
    /// Whether `model.safetensors` now holds this epoch's weights.
    pub best: bool,
    /// Time the loop ran so far, in seconds, over all resumptions.
    pub seconds: f64,
    /// Training speed over all epochs so far, without evaluation; in examples per second.
    pub examples_per_second: f64,
    /// Which classes were taken for which, where this is the best epoch so far and the classes are few enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}
