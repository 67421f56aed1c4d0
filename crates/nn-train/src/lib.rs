//! A training toolkit that knows no model: data, optimisers, schedules, the loop, checkpoints, reports.
//!
//! | module | holds |
//! | --- | --- |
//! | [`augment`] | more pictures of those that there are: crops, flips, maps, colours, mixtures |
//! | [`data`] | data sets and how they become batches |
//! | [`optim`] | [`Optimizer`], its [`Rule`]s with PyTorch's numbers, groups of parameters by [`Scale`] |
//! | [`schedule`] | [`Schedule`]: warm-up, then a [`Decay`]: the learning rate of each step |
//! | [`clip`] | clipping of gradients, by their norm or one by one |
//! | [`without_gradient`] | what the loss does not depend on; the first step is audited by it |
//! | [`metrics`] | [`Outcome`] of a batch, [`Metrics`] over many, [`Evaluation`] of a data set, and what it is judged by |
//! | [`fit`](mod@fit) | [`fit()`](fn@fit), the loop, and [`evaluate`] |
//! | [`config`] | [`FitConfig`]: what a run is told, [`Stop`]: what ends it early |
//! | [`trainer`] | [`Trainer`]: everything a run consists of; creating and resuming runs |
//! | [`fn@test`] | what the best weights make of data that had no say in choosing them |
//! | [`fn@lr_find`] | which learning rate to begin with |
//! | [`fn@overfit`] | whether a model can learn one batch by heart |
//! | [`Ema`] | a running mean of the weights |
//! | [`Anomaly`] | where a forward pass ceased to be finite |
//! | [`summary`] | [`Summary`]: what a run came to |
//! | [`event`] | what the loop tells while it runs, and what `log.jsonl` consists of |
//! | [`run`] | the folder a run lives in |
//! | [`ranks`] | [`Ranks`]: processes that train one model together |
//! | [`report`] | `report.html` of a run |

mod anomaly;
mod audit;
pub mod augment;
mod checkpoint;
pub mod clip;
pub mod config;
pub mod data;
mod ema;
mod error;
pub mod event;
pub mod fit;
mod gradients;
mod journal;
mod judge;
mod kept;
mod lr_find;
pub mod metrics;
pub mod optim;
mod overfit;
pub mod ranks;
pub mod report;
pub mod run;
pub mod schedule;
pub mod summary;
mod tensorboard;
mod test;
pub mod trainer;

pub use anomaly::Anomaly;
pub use audit::without_gradient;
pub use config::{Cadence, FitConfig, Norms, Stop, Viewer};
pub use ema::Ema;
pub use error::TrainError;
pub use event::Event;
pub use fit::{evaluate, fit};
pub use lr_find::{LrCurve, LrPoint, LrRange, LrSuggestion, lr_find};
pub use metrics::{Counts, Evaluation, Figures, Measure, Metrics, Outcome};
pub use optim::{
    Adadelta, Adagrad, Adam, AdamW, Lamb, Lion, NAdam, Optimizer, Pace, RAdam, RmsProp, Rule, Scale, Sgd,
};
pub use overfit::{Overfit, overfit};
#[cfg(feature = "mpi")]
pub use ranks::Mpi;
pub use ranks::{Alone, Ranks};
pub use schedule::{Decay, OneCycle, Plateau, Schedule};
pub use summary::{Ended, Score, Summary};
pub use test::test;
pub use trainer::Trainer;

/// The example in the README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
