//! Cross-entropy of logits against class labels or class probabilities, the loss of classifiers.
//!
//! Source: Szegedy et al. 2016, "Rethinking the inception architecture for computer vision", arXiv:1512.00567, §7
//! (label smoothing).
//!
//! Why not Candle's: softmax, logarithm and choice of the label are one pass here instead of eight tensors; logits
//! of any rank, weights, ignored labels, smoothing and soft targets are taken, and a label that is no class is named
//! (docs/candle-gaps.md).

mod labelled;
mod soft;
#[cfg(test)]
mod tests;

use candle_core::{Result, Shape, Tensor};

use self::labelled::Labelled;
use self::soft::Soft;
use super::kernel::{apply1, apply2, on_cpu};
use super::labels::{IGNORE_INDEX, Labels, class_weight, places};
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use super::softmax::portable_log_softmax;
use crate::cpu::axis::Axis;
use crate::cpu::{Element, vector};
use crate::ensure;

const NAME: &str = "cross_entropy";

/// Elementary operations per logit, roughly.
const COST: usize = 16;

/// Options of [`cross_entropy`]; a [`Reduction`] alone will do.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// What each class counts, `[C]`, of the logits' type; 1 if there is nothing. Gets no gradient.
    pub weight: Option<&'a Tensor>,
    /// The label whose places count nothing; −100 unless another is chosen.
    pub ignore_index: i64,
    /// The part ε of each target that is taken away and spread evenly over all classes. In [0, 1].
    pub label_smoothing: f64,
    /// The mean is over what the labels count: the sum of their classes' weights. Over soft targets it is over their
    /// number, whatever the weights, as in PyTorch.
    pub reduction: Reduction,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        Self { weight: None, ignore_index: IGNORE_INDEX, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl From<Reduction> for CrossEntropy<'_> {
    fn from(reduction: Reduction) -> Self {
        Self { reduction, ..Self::default() }
    }
}

/// `−Σ_c w_c q_c ln softmax(logits)_c`, reduced, where `q = (1 − ε) · target + ε / C`; sum and softmax are along axis 1.
///
/// Logits `[B, C]` or `[B, C, d₁, …]` and targets of one of two kinds → a scalar, or `[B, d₁, …]` with
/// [`Reduction::None`]. *Labels* `[B, d₁, …]` are classes in `0..C`, of type `u8`, `u32` or `i64`, and mean a
/// probability of 1. *Probabilities* have the logits' shape and type, and get a gradient too.
///
/// Ignored labels add 0. If nothing counts, the mean is NaN, as in PyTorch.
///
/// # Errors
/// If logits are of no float type or have no classes; the shapes or types of logits, targets and weight do not belong
/// together; a label is no class and not ignored; the smoothing is not in [0, 1]; or a class is ignored though targets
/// are probabilities.
pub fn cross_entropy<'a>(
    logits: &Tensor,
    targets: &Tensor,
    options: impl Into<CrossEntropy<'a>>,
) -> Result<Tensor> {
    let options = options.into();
    let smoothing = options.label_smoothing;
    ensure!((0.0..=1.0).contains(&smoothing), "{NAME}: label smoothing must be in [0, 1], got {smoothing}");
    let soft = targets.dtype().is_float();
    let half = if soft { half_precision(NAME, &[logits, targets]) } else { half_precision(NAME, &[logits]) };
    let Some(half) = half? else {
        return if soft { of_soft(logits, targets, options) } else { of_labels(logits, targets, options) };
    };
    let weight = options.weight.map(widen).transpose()?;
    let wide = CrossEntropy { weight: weight.as_ref(), ..options };
    let logits = widen(logits)?;
    let y = if soft { of_soft(&logits, &widen(targets)?, wide) } else { of_labels(&logits, targets, wide) };
    y?.to_dtype(half)
}

fn of_labels(x: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<Tensor> {
    let CrossEntropy { weight, ignore_index, label_smoothing, reduction } = options;
    let labels = Labels::read(NAME, x, targets, weight, ignore_index)?;
    if on_cpu(&[x]) {
        apply1(Labelled::new(labels, label_smoothing, reduction, x), x)
    } else {
        portable_of_labels(x, &labels, options)
    }
}

fn of_soft(x: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<Tensor> {
    let CrossEntropy { weight, ignore_index, label_smoothing, reduction } = options;
    let (a, b) = (x.dims(), targets.dims());
    ensure!(
        a == b && a.len() >= 2,
        "{NAME}: logits [B, C, …] need targets of their shape, or labels [B, …], got shapes {a:?} and {b:?}"
    );
    ensure!(a[1] > 0, "{NAME}: input must have at least one class on axis 1, got shape {a:?}");
    ensure!(
        ignore_index < 0,
        "{NAME}: probabilities have no label to ignore, got an ignore_index of {ignore_index}"
    );
    let class_weight = class_weight(NAME, x, weight)?;
    if on_cpu(&[x, targets]) {
        apply2(Soft::new(class_weight, label_smoothing, reduction, [x, targets]), x, targets)
    } else {
        portable_of_soft(x, targets, options)
    }
}

/// The loss from `N` rows of facts about the fibres of logits of shape `dims`, of which the first are the terms.
fn reduced<T: Element, const N: usize>(
    facts: &[T],
    dims: &[usize],
    reduction: Reduction,
    factor: f64,
) -> (Vec<T>, Shape) {
    let [_, columns] = Axis::new(dims, 1).grid();
    let terms = facts.chunks((N * columns).max(1)).map(|slab| &slab[..columns]);
    if reduction == Reduction::None {
        return (terms.flatten().copied().collect(), places(dims).into());
    }
    scalar(factor * terms.map(|terms| vector::total2(terms, terms, 1, |y, _| y)).sum::<f64>())
}

/// The loss of labels from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable_of_labels(x: &Tensor, labels: &Labels, options: CrossEntropy<'_>) -> Result<Tensor> {
    let CrossEntropy { weight, label_smoothing, reduction, .. } = options;
    let shape = places(x.dims());
    if x.elem_count() == 0 {
        return reduction.of_weighted(&x.sum(1)?, 0.0); // no number, in the right shape
    }
    let log = portable_log_softmax(x, 1)?;
    let hit = log.contiguous()?.gather(&labels.classes(x)?.unsqueeze(1)?, 1)?.reshape(shape)?;
    let hit = (hit * labels.weights(x, |w| (label_smoothing - 1.0) * w)?)?;
    let spread = match weight {
        Some(weight) => log.broadcast_mul(&along_classes(weight, x)?)?,
        None => log,
    };
    let share = labels.weights(x, |_| -label_smoothing / x.dims()[1] as f64)?;
    reduction.of_weighted(&(hit + (spread.sum(1)? * share)?)?, labels.total())
}

/// The loss of probabilities from differentiable Candle operations.
fn portable_of_soft(x: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<Tensor> {
    let CrossEntropy { weight, label_smoothing, reduction, .. } = options;
    if x.elem_count() == 0 {
        return reduction.of(&(x.sum(1)? + targets.sum(1)?)?);
    }
    let q = targets.affine(1.0 - label_smoothing, label_smoothing / x.dims()[1] as f64)?;
    let q = match weight {
        Some(weight) => q.broadcast_mul(&along_classes(weight, x)?)?,
        None => q,
    };
    reduction.of(&(portable_log_softmax(x, 1)? * q)?.sum(1)?.neg()?)
}

/// Weights of classes, `[C]`, in a shape that spreads over `x` `[B, C, …]`.
fn along_classes(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[1] = weight.elem_count();
    weight.detach().to_device(x.device())?.reshape(shape)
}
