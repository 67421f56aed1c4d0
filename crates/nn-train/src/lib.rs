//! A training toolkit that knows no model: data, optimisers, schedules, the loop, checkpoints, reports.
//!
//! | module | holds |
//! | --- | --- |
//! | [`augment`] | more pictures of those that there are: crops, flips, rotations, colours |
//! | [`data`] | data sets and how they become batches |
//! | [`optim`] | [`Optimizer`], its [`Rule`]s with PyTorch's numbers, groups of parameters by [`Scale`] |
//! | [`schedule`] | [`Schedule`]: the learning rate as a function of the step |
//! | [`clip`] | clipping of gradients by their norm |
//! | [`metrics`] | [`Outcome`] of a batch, [`Metrics`] over many, [`Evaluation`] of a data set, and what it is judged by |
//! | [`fit`](mod@fit) | [`fit()`](fn@fit), the loop, and [`evaluate`] |
//! | [`trainer`] | [`Trainer`]: everything a run consists of; creating and resuming runs |
//! | [`event`] | what the loop tells while it runs, and what `log.jsonl` consists of |
//! | [`run`] | the folder a run lives in |
//! | [`report`] | `report.html` of a run |

pub mod augment;
mod checkpoint;
pub mod clip;
pub mod data;
mod error;
pub mod event;
pub mod fit;
pub mod metrics;
pub mod optim;
pub mod report;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use error::TrainError;
pub use event::Event;
pub use fit::{evaluate, fit};
pub use metrics::{Counts, Evaluation, Figures, Measure, Metrics, Outcome};
pub use optim::{
    Adadelta, Adagrad, Adam, AdamW, Lamb, Lion, NAdam, Optimizer, RAdam, RmsProp, Rule, Scale, Sgd,
};
pub use schedule::{Decay, Schedule};
pub use trainer::{Cadence, Ended, FitConfig, Norms, Summary, Trainer};
