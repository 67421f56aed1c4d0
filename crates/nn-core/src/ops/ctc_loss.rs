//! Connectionist temporal classification: the loss of sequences whose labels have no given times.
//!
//! Source: Graves et al. 2006, "Connectionist temporal classification: labelling unsegmented sequence data with
//! recurrent neural networks", ICML, §4.1 (forward–backward algorithm; here in logarithms).
//!
//! Differs: PyTorch's gradient of a logarithm `x` is this one plus `e^x`, which a log-softmax before it cancels.
//!
//! Why not Candle's: it has none.

mod lattice;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor};

use self::lattice::{Lattice, Sample};
use self::portable::portable;
use super::kernel::{Kernel, Reads, View, apply1, detached3, on_cpu};
use super::labels::{index_of, integers};
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::blank::by_columns;
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::simd::vectorised;
use crate::ensure;

const NAME: &str = "ctc_loss";

/// Options of [`ctc_loss`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtcLoss {
    /// The class that says nothing.
    pub blank: usize,
    /// Whether a sequence too short for its targets counts 0, and so does its gradient, instead of ∞ and NaN.
    pub zero_infinity: bool,
    /// What is made of the sequences' losses. The mean is of each over the number of its targets, at least 1.
    pub reduction: Reduction,
}

/// `−ln Σ Π_t e^x[t, π_t]`, reduced: the sum is over all paths π that give the targets once repeated classes are merged
/// and then blanks left out.
///
/// Logarithms of probabilities `x` `[T, B, C]`, the number of frames of each sequence `[B]` and of its targets `[B]`, and
/// targets either padded `[B, S]` or one after the other `[S₁ + … + S_B]`; all but `x` of type `u8`, `u32` or `i64` → a
/// scalar, or `[B]` with [`Reduction::None`].
///
/// # Errors
/// If a shape or type is another; there are no classes; the blank is none of them; a target is none or the blank; or a
/// length is more than there is.
pub fn ctc_loss(
    x: &Tensor,
    targets: &Tensor,
    frames: &Tensor,
    target_lengths: &Tensor,
    options: CtcLoss,
) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[x])? {
        return ctc_loss(&widen(x)?, targets, frames, target_lengths, options)?.to_dtype(half);
    }
    let samples = samples(x, targets, [frames, target_lengths], options)?;
    if on_cpu(&[x]) {
        let states = samples.iter().map(Sample::states).max().unwrap_or(1);
        apply1(Ctc { samples: samples.into(), states, options, ahead: Saved::for_gradients_of(&[x]) }, x)
    } else {
        portable(x, &samples, options)
    }
}

/// The sequences of a batch, checked.
fn samples(x: &Tensor, targets: &Tensor, lengths: [&Tensor; 2], options: CtcLoss) -> Result<Vec<Sample>> {
    let dims = x.dims();
    let &[steps, batch, classes] = dims else {
        candle_core::bail!("{NAME}: log-probabilities must be [T, B, C], got shape {dims:?}")
    };
    let blank = options.blank;
    ensure!(blank < classes, "{NAME}: the blank must be a class in 0..{classes}, got {blank}");
    let shape = targets.dims();
    ensure!(
        shape.len() == 1 || shape.len() == 2 && shape[0] == batch,
        "{NAME}: targets must be [B, S] or one after the other, [S₁ + … + S_B], with B = {batch}, got shape {shape:?}"
    );
    let (room, padded) = (shape[shape.len() - 1], shape.len() == 2);
    let frames = read_lengths("frames", lengths[0], batch, steps)?;
    let counts = read_lengths("target lengths", lengths[1], batch, room)?;
    let total: usize = counts.iter().sum();
    ensure!(
        padded || total == room,
        "{NAME}: target lengths must sum to the number of targets, {room}, got {total}"
    );
    let labels = integers(NAME, "targets", targets)?;
    let mut samples = Vec::with_capacity(batch);
    let mut start = 0;
    for (b, (&frames, &count)) in frames.iter().zip(&counts).enumerate() {
        if padded {
            start = b * room;
        }
        let labels = &labels[start..start + count];
        let fits = |label: i64| (0..classes as i64).contains(&label) && label != blank as i64;
        if let Some(at) = labels.iter().position(|&label| !fits(label)) {
            let place = index_of(start + at, shape);
            candle_core::bail!(
                "{NAME}: targets must be classes in 0..{classes} but not the blank, {blank}, got {} at {place:?}",
                labels[at]
            );
        }
        samples.push(Sample::new(frames, labels.iter().map(|&label| label as usize), blank));
        start += count;
    }
    Ok(samples)
}

fn read_lengths(what: &str, lengths: &Tensor, batch: usize, most: usize) -> Result<Vec<usize>> {
    let dims = lengths.dims();
    ensure!(dims == [batch], "{NAME}: {what} must be one number a sequence, [{batch}], got shape {dims:?}");
    let lengths = integers(NAME, what, lengths)?;
    if let Some(at) = lengths.iter().position(|length| !(0..=most as i64).contains(length)) {
        candle_core::bail!("{NAME}: {what} must be in 0..={most}, got {} at [{at}]", lengths[at]);
    }
    Ok(lengths.into_iter().map(|length| length as usize).collect())
}

impl CtcLoss {
    /// By what the loss of a sequence is multiplied in that of a batch.
    fn factor(self, sample: &Sample, batch: usize) -> f64 {
        let each = if self.reduction == Reduction::Mean { 1.0 / sample.targets().max(1) as f64 } else { 1.0 };
        each * self.reduction.factor(batch as f64, &[batch])
    }

    /// A sequence's loss from the logarithm of the sum of its paths.
    fn value(self, log_likelihood: f64) -> f64 {
        if self.zero_infinity && log_likelihood == f64::NEG_INFINITY { 0.0 } else { -log_likelihood }
    }
}

#[derive(Clone)]
struct Ctc {
    samples: Arc<[Sample]>,
    /// Of the longest sample.
    states: usize,
    options: CtcLoss,
    /// Of each sample at each time, the logarithms of the paths to each state, `[B, T, states]`, up to one constant.
    ahead: Saved<Tensor>,
}

impl Kernel<1> for Ctc {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (lattice, batch) = (Lattice::new(&x.data, x.dims), self.samples.len());
        // Without a backward pass the last time is enough.
        let times = if self.ahead.is_wanted() { x.dims[0] } else { x.dims[0].min(1) };
        let mut ahead = vec![T::NEG_INFINITY; batch * times * self.states];
        let mut tasks: Vec<(f64, &mut [T])> =
            ahead.chunks_mut((times * self.states).max(1)).map(|rows| (f64::NEG_INFINITY, rows)).collect();
        // A batch without a single time has no rows, but losses.
        tasks.resize_with(batch, || (f64::NEG_INFINITY, &mut []));
        for_each_chunk(&mut tasks, 1, lattice.work(self.states), |b, task| {
            let (total, rows) = &mut task[0];
            *total = vectorised(
                #[inline(always)]
                || lattice.ahead(&self.samples[b], b, rows, self.states),
            );
        });
        let losses: Vec<f64> = tasks.iter().map(|task| self.options.value(task.0)).collect();
        drop(tasks);
        if self.ahead.is_wanted() {
            self.ahead.keep(Tensor::from_vec(ahead, (batch, times, self.states), &Device::Cpu)?);
        }
        if self.options.reduction == Reduction::None {
            return Ok((losses.into_iter().map(T::of).collect(), batch.into()));
        }
        let weighted =
            losses.iter().zip(&*self.samples).map(|(l, sample)| l * self.options.factor(sample, batch));
        Ok(scalar(if batch == 0 && self.options.reduction != Reduction::Sum {
            f64::NAN
        } else {
            weighted.sum()
        }))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let Some(ahead) = self.ahead.get() else { unreachable!("the forward pass kept it") };
        Ok([Some(detached3(Gradient(self.clone()), x, ahead, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// `dx[t, b, c] = −P(the path is in class c at time t | targets) · dy`
#[derive(Clone)]
struct Gradient(Ctc);

impl Kernel<3> for Gradient {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, ahead, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let Ctc { samples, states, options, .. } = &self.0;
        let lattice = Lattice::new(&x.data, x.dims);
        let &[times, batch, classes] = x.dims else { unreachable!("checked by samples") };
        let rows_of = |b: usize| &ahead.data[b * times * states..][..times * states];
        let dx = by_columns([1, times, batch * classes], classes, lattice.work(*states), |at, dx| {
            let b = at.start / classes;
            let dy = if options.reduction == Reduction::None { dy.data[b] } else { dy.data[0] };
            let scale = T::of(options.factor(&samples[b], batch)) * dy;
            vectorised(
                #[inline(always)]
                || lattice.gradient(&samples[b], b, (rows_of(b), *states), dx, (scale, *options)),
            );
        });
        Ok((dx, x.dims.into()))
    }
}
