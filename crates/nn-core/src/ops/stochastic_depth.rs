//! Stochastic depth: residual branches are left out at random.
//!
//! Source: Huang et al. 2016, arXiv:1603.09382, §3.
//! Differs: the branch is scaled up in training instead of down in evaluation, as in torchvision.
//! Why not Candle's: it has none.

use candle_core::{Result, Tensor};

use super::dropout::dropout_whole;
use crate::{Ctx, ensure};

/// What [`stochastic_depth`] decides on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StochasticDepth {
    /// The whole batch.
    Batch,
    /// Each example for itself.
    Row,
}

/// In training a residual branch becomes 0 with probability `p` and `x / (1 − p)` otherwise; in evaluation, `x`. Also half
/// precision. Any shape that starts with the batch; repeatable as [`dropout`](super::dropout()) is.
///
/// # Errors
/// If `x` is a scalar or not of a float type, or `p` is not in [0, 1].
pub fn stochastic_depth(x: &Tensor, p: f64, mode: StochasticDepth, ctx: &Ctx) -> Result<Tensor> {
    ensure!(x.rank() > 0, "stochastic_depth: the input must be [B, …], got a scalar");
    let stretches = match mode {
        StochasticDepth::Batch => 1,
        StochasticDepth::Row => x.dims()[0],
    };
    dropout_whole("stochastic_depth", x, stretches, p, ctx)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::testing::{gradcheck, randn};

    #[test]
    fn examples_or_batches_are_dropped_as_a_whole() -> Result<()> {
        let x = Tensor::ones((1000, 6), DType::F32, &Device::Cpu)?;
        let sums = |mode, step| {
            stochastic_depth(&x, 0.25, mode, &Ctx::train(2).step(step))?.sum(1)?.to_vec1::<f32>()
        };
        let rows = sums(StochasticDepth::Row, 0)?;
        let kept = rows.iter().filter(|&&sum| sum == 8.0).count();
        assert_eq!(rows.iter().filter(|&&sum| sum == 0.0).count(), 1000 - kept);
        assert!((700..800).contains(&kept), "{kept} of 1000 examples were kept");
        let mut kept = 0;
        for step in 0..100 {
            let batch = sums(StochasticDepth::Batch, step)?;
            assert!(batch.iter().all(|&sum| sum == batch[0]) && [0.0, 8.0].contains(&batch[0]));
            kept += usize::from(batch[0] > 0.0);
        }
        assert!((60..90).contains(&kept), "{kept} of 100 batches were kept");
        gradcheck(
            |x| stochastic_depth(&x[0], 0.5, StochasticDepth::Row, &Ctx::train(1)),
            &[randn(1, (3, 2, 2))?],
        )
    }

    #[test]
    fn a_scalar_and_a_wrong_probability_are_errors() -> Result<()> {
        let of = |x: &Tensor, p| stochastic_depth(x, p, StochasticDepth::Row, &Ctx::train(0));
        let error = of(&randn(1, ())?, 0.5).expect_err("a scalar").to_string();
        assert!(error.contains("stochastic_depth: the input must be [B, …], got a scalar"), "{error}");
        let error = of(&randn(1, 3)?, -0.5).expect_err("negative").to_string();
        assert!(error.contains("stochastic_depth: the probability must be in [0, 1], got -0.5"), "{error}");
        Ok(())
    }
}
