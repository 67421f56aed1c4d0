//! The `[train]` table of a recipe.

use std::path::PathBuf;

use nn_core::ops::CrossEntropy;
use nn_core::{Activations, Ctx, Mode};
use nn_train::{Cadence, FitConfig, Norms, Stop, Viewer};
use serde::{Deserialize, Serialize};

use super::groups::{Group, Pattern};
use super::is_default;
use crate::device::DeviceName;
use crate::transfer::Frozen;

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Train {
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
    pub(crate) seed: u64,
    pub(crate) device: DeviceName,
    /// The share of the training examples that the best epoch is chosen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<f64>,
    /// How that share is drawn.
    pub(crate) split: Split,
    /// How often each training example comes.
    pub(crate) sampling: Sampling,
    /// The part of each target that is spread over all classes, in training.
    pub(crate) label_smoothing: f64,
    pub(crate) accumulate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clip_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clip_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ema: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evaluate_every: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) stop: Stop,
    pub(crate) checkpoint: Cadence,
    pub(crate) keep: usize,
    pub(crate) log_every: u64,
    pub(crate) viewer: Viewer,
    /// The parameters to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<PathBuf>,
    /// Which of them stay as they are.
    pub(crate) freeze: Frozen,
    /// The learning rate of all but the head, as a factor.
    pub(crate) backbone_lr: f64,
    /// What the optimiser's weight decay is for.
    pub(crate) decay: Decay,
    pub(crate) norms: Norms,
    /// How small a forward pass keeps what the backward pass reads.
    pub(crate) activations: Activations,
    /// Parameters that may be without a gradient in the first step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unused: Vec<Pattern>,
    /// Groups of parameters with factors of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scale: Vec<Group>,
}

/// What weight decay pulls at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decay {
    /// Every parameter.
    #[default]
    All,
    /// Matrices and kernels: no biases, no norms.
    Weights,
}

/// How a share of the examples is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Split {
    /// Whatever their classes are.
    #[default]
    Random,
    /// The same share of every class.
    Stratified,
}

/// How often each training example comes in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sampling {
    /// Once, in an order of its own.
    #[default]
    Shuffled,
    /// As chance has it, every class as often as any other.
    Balanced,
}

impl Train {
    /// What a classifier learns from in this context: labels are smoothed in training only.
    pub(crate) fn cross_entropy(label_smoothing: f64, ctx: &Ctx<'_>) -> CrossEntropy<'static> {
        let label_smoothing = if ctx.mode() == Mode::Train { label_smoothing } else { 0.0 };
        CrossEntropy { label_smoothing, ..CrossEntropy::default() }
    }
}

impl Default for Train {
    fn default() -> Self {
        let fit = FitConfig::default();
        Self {
            epochs: fit.epochs,
            batch_size: 64,
            seed: fit.seed,
            device: DeviceName::Cpu,
            validation: None,
            split: Split::Random,
            sampling: Sampling::Shuffled,
            label_smoothing: 0.0,
            accumulate: fit.accumulate,
            clip_norm: fit.clip_norm,
            clip_value: fit.clip_value,
            ema: fit.ema,
            evaluate_every: fit.evaluate_every,
            stop: fit.stop,
            checkpoint: fit.checkpoint,
            keep: fit.keep,
            log_every: fit.log_every,
            viewer: fit.viewer,
            weights: None,
            freeze: Frozen::None,
            backbone_lr: 1.0,
            decay: Decay::All,
            norms: Norms::Batch,
            activations: Activations::Whole,
            unused: Vec::new(),
            scale: Vec::new(),
        }
    }
}
