//! Batch normalisation as a layer.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{Activation, BatchNorm, RunningStatistics, batch_norm};
use nn_core::store::buffer;
use nn_core::{Ctx, Layer};

/// `(x − mean) / √(variance + eps) · weight + bias`, a channel at a time; see [`batch_norm`].
///
/// Parameters: `weight [C]`, 1 at the start, `bias [C]`, 0. Buffers, written by training passes alone:
/// `running_mean [C]`, `running_var [C]`, `num_batches_tracked []`.
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running: RunningStatistics,
    cfg: BatchNorm,
}

impl BatchNorm2d {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(channels: usize, cfg: BatchNorm, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints(channels, "weight", Init::Const(1.0))?,
            bias: vb.get_with_hints(channels, "bias", Init::Const(0.0))?,
            running: RunningStatistics {
                mean: buffer(&vb, channels, "running_mean", 0.0)?,
                variance: buffer(&vb, channels, "running_var", 1.0)?,
                batches: buffer(&vb.to_dtype(DType::I64), (), "num_batches_tracked", 0.0)?,
            },
            cfg,
        })
    }

    /// The scale and shift of each channel that evaluation amounts to, before [`Self::activation`].
    pub(crate) fn line(&self) -> Result<[Tensor; 2]> {
        self.running.scale_and_shift(Some([&self.weight, &self.bias]), self.cfg.eps)
    }
}

impl BatchNorm2d {
    pub(crate) fn activation(&self) -> Option<Activation> {
        self.cfg.activation
    }
}

impl Layer for BatchNorm2d {
    /// `[B, C, …]` → `[B, C, …]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        batch_norm(x, Some([&self.weight, &self.bias]), Some(&self.running), self.cfg, ctx)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use nn_core::ParamStore;
    use nn_core::testing::{assert_close, randn};

    use super::*;

    #[test]
    fn training_writes_the_running_statistics_and_evaluation_reads_them() -> Result<()> {
        let store = ParamStore::new(0);
        let norm = BatchNorm2d::new(2, BatchNorm::default(), store.vb(DType::F64, &Device::Cpu))?;
        let x = randn(1, (3, 2, 4, 4))?;
        assert_close(&norm.call(&x, &Ctx::eval())?, &x, 1e-4, 0.0)?;
        norm.call(&x, &Ctx::train(0))?;
        let buffers: Vec<_> = store.buffers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(buffers, ["num_batches_tracked", "running_mean", "running_var"]);
        let tensors = store.tensors();
        assert_eq!(tensors["num_batches_tracked"].to_scalar::<i64>()?, 1);
        let mean = x.transpose(0, 1)?.flatten_from(1)?.mean(1)?;
        assert_close(&tensors["running_mean"], &(mean * 0.1)?, 1e-12, 1e-12)
    }
}
