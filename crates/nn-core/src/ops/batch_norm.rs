//! Batch normalisation: every channel gets mean 0 and variance 1 over the batch, then a scale and a shift of its own.
//!
//! Source: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.
//!
//! Why not Candle's: it writes ten tensors, puts NaN into the running variance when a channel has one number, and
//! refuses half precision in evaluation (docs/candle-gaps.md).

use candle_core::{DType, Device, Result, Tensor, Var};

use super::activation::Activation;
use super::fused::Fused;
use super::norm::{Sets, Statistics, normalise};
use super::precision::{half_precision, widen};
use super::scale_shift::scale_shift;
use crate::{Ctx, Mode, ensure};

/// Options of [`batch_norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance, so that a constant channel is not divided by 0.
    pub eps: f64,
    /// The part of a batch's statistics that enters the running ones; `None` makes those the average over all batches.
    pub momentum: Option<f64>,
    /// Applied to the result, in the same pass over memory.
    pub activation: Option<Activation>,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: Some(0.1), activation: None }
    }
}

/// What evaluation uses in place of a batch's mean and variance; [`batch_norm`] writes it in training.
#[derive(Clone, Debug)]
pub struct RunningStatistics {
    /// `[C]`
    pub mean: Var,
    /// `[C]`, without bias: of `n` numbers, the sum of squared distances from their mean over `n − 1`.
    pub variance: Var,
    /// How many batches came in: a scalar of any type.
    pub batches: Var,
}

impl RunningStatistics {
    /// Those before the first batch: mean 0, variance 1.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(channels: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self {
            mean: Var::zeros(channels, dtype, device)?,
            variance: Var::ones(channels, dtype, device)?,
            batches: Var::zeros((), dtype, device)?,
        })
    }

    /// Scale and shift of each channel that evaluation amounts to: `y = x · scale + shift`.
    ///
    /// A convolution takes them into its weight and bias. They are differentiable by the weight and the bias of `affine`.
    ///
    /// # Errors
    /// If the four tensors are not all of one length.
    pub fn scale_and_shift(&self, affine: Option<[&Tensor; 2]>, eps: f64) -> Result<[Tensor; 2]> {
        let (mean, variance) = (self.mean.as_detached_tensor(), self.variance.as_detached_tensor());
        let inverse = (variance + eps)?.sqrt()?.recip()?;
        let Some([weight, bias]) = affine else {
            let shift = (mean * &inverse)?.neg()?;
            return Ok([inverse, shift]);
        };
        let scale = weight.mul(&inverse.to_dtype(weight.dtype())?)?;
        let shift = (bias - mean.to_dtype(weight.dtype())?.mul(&scale)?)?;
        Ok([scale, shift])
    }

    /// Takes in the statistics of a batch.
    fn update(&self, batch: &Statistics, momentum: Option<f64>) -> Result<()> {
        let batches = self.batches.as_detached_tensor();
        let next = (batches.to_dtype(DType::F64)? + 1.0)?;
        let part = match momentum {
            Some(momentum) => momentum,
            None => 1.0 / next.to_scalar::<f64>()?,
        };
        self.batches.set(&next.to_dtype(batches.dtype())?)?;
        let unbiased = (&batch.variance * (batch.count / (batch.count - 1.0)))?;
        for (running, batch) in [(&self.mean, &batch.mean), (&self.variance, &unbiased)] {
            let old = (running.as_detached_tensor() * (1.0 - part))?;
            running.set(&(old + (batch * part)?.to_dtype(running.dtype())?)?)?;
        }
        Ok(())
    }
}

/// `f((x − mean) / √(variance + eps) · weight + bias)`, mean and variance taken of each channel. Also half precision.
///
/// `[B, C, …]` → `[B, C, …]`; `affine` is weight and bias, `[C]` each, 1 and 0 if it is `None`; `f` is the activation.
///
/// In training mean and variance (the sum of squared distances over their number) are those of the batch, and `running`
/// takes them in: that is the one thing this function writes. In evaluation they are those of `running`; without it, again
/// those of the batch. An empty batch stays one, and changes nothing. Where the context names [`Peers`](crate::Peers), the batch
/// of a training step is that of all processes together, on the CPU; none of them may then have an empty part.
///
/// # Errors
/// If `x` has no channels; if weight, bias or `running` are not of length `C`; if statistics are to be taken of one
/// number a channel; if types differ or are no float types.
pub fn batch_norm(
    x: &Tensor,
    affine: Option<[&Tensor; 2]>,
    running: Option<&RunningStatistics>,
    options: BatchNorm,
    ctx: &Ctx,
) -> Result<Tensor> {
    ensure!(x.rank() >= 2, "batch_norm: the input must be [B, C, …], got {:?}", x.dims());
    let channels = x.dims()[1];
    if let Some(running) = running {
        for (name, var) in [("mean", &running.mean), ("variance", &running.variance)] {
            let dims = var.dims();
            ensure!(dims == [channels], "batch_norm: the running {name} must be [{channels}], got {dims:?}");
        }
    }
    let [weight, bias] = Affine { op: "batch_norm", x }.parts(affine)?;
    if let Some(half) = half_precision("batch_norm", &[x, &weight, &bias])? {
        let affine = Some([&widen(&weight)?, &widen(&bias)?]);
        return batch_norm(&widen(x)?, affine, running, options, ctx)?.to_dtype(half);
    }
    if let (Mode::Eval, Some(running)) = (ctx.mode(), running) {
        let [scale, shift] = running.scale_and_shift(Some([&weight, &bias]), options.eps)?;
        return scale_shift(x, [&scale, &shift], options.activation);
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let sets = Sets::of_batch(x.dims());
    let peers = ctx.peers().filter(|_| ctx.mode() == Mode::Train);
    let checked = |count: f64| {
        ensure!(
            count > 1.0,
            "batch_norm: statistics need more than one number a channel, got the shape {:?}",
            x.dims()
        );
        Ok(())
    };
    if peers.is_none() {
        checked(sets.numbers() as f64)?;
    }
    let (y, batch) = normalise([x, &weight, &bias], sets, options.eps, Fused(options.activation), peers)?;
    checked(batch.count)?;
    if let (Mode::Train, Some(running)) = (ctx.mode(), running) {
        running.update(&batch, options.momentum)?;
    }
    Ok(y)
}

/// The weight and bias of a norm over channels of `x`.
pub(super) struct Affine<'a> {
    pub(super) op: &'static str,
    pub(super) x: &'a Tensor,
}

impl Affine<'_> {
    /// What was given, checked, or ones and zeros.
    pub(super) fn parts(self, given: Option<[&Tensor; 2]>) -> Result<[Tensor; 2]> {
        let Self { op, x } = self;
        let channels = x.dims()[1];
        let Some([weight, bias]) = given else {
            let ones = Tensor::ones(channels, x.dtype(), x.device())?;
            return Ok([ones.clone(), ones.zeros_like()?]);
        };
        for (name, t) in [("weight", weight), ("bias", bias)] {
            ensure!(t.dims() == [channels], "{op}: the {name} must be [{channels}], got {:?}", t.dims());
        }
        Ok([weight.clone(), bias.clone()])
    }
}

#[cfg(test)]
mod tests;
