//! Dropout of whole channels: neighbouring pixels tell almost the same, so dropping single ones takes little away.
//!
//! Source: Tompson et al. 2014, arXiv:1411.4280, §3.2.
//! Why not Candle's: it has none.

use candle_core::{Result, Tensor};

use super::dropout::dropout_whole;
use crate::{Ctx, ensure};

/// In training each channel of each example becomes 0 with probability `p` and `x / (1 − p)` otherwise; in evaluation,
/// `x`. Also half precision. PyTorch's `dropout1d`, `dropout2d` and `dropout3d`.
///
/// `[B, C, …]` → `[B, C, …]`. Repeatable as [`dropout`](super::dropout()) is.
///
/// # Errors
/// If `x` has no channels or is not of a float type, or `p` is not in [0, 1].
pub fn dropout_channels(x: &Tensor, p: f64, ctx: &Ctx) -> Result<Tensor> {
    ensure!(x.rank() >= 2, "dropout_channels: the input must be [B, C, …], got {:?}", x.dims());
    dropout_whole("dropout_channels", x, x.dims()[0] * x.dims()[1], p, ctx)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::testing::{gradcheck, randn};

    #[test]
    fn channels_are_dropped_as_a_whole() -> Result<()> {
        let ctx = Ctx::train(1);
        let y = dropout_channels(&Tensor::ones((50, 20, 3, 3), DType::F32, &Device::Cpu)?, 0.25, &ctx)?;
        let y = y.reshape((1000, 9))?.to_vec2::<f32>()?;
        let kept = y.iter().filter(|row| row.iter().all(|&y| y == 4.0 / 3.0)).count();
        assert_eq!(y.iter().filter(|row| row.iter().all(|&y| y == 0.0)).count(), 1000 - kept);
        assert!((700..800).contains(&kept), "{kept} of 1000 channels were kept");
        let x = randn(1, (2, 3))?;
        assert_eq!(dropout_channels(&x, 0.9, &Ctx::eval())?.to_vec2::<f64>()?, x.to_vec2::<f64>()?);
        gradcheck(|x| dropout_channels(&x[0], 0.5, &ctx), &[randn(1, (3, 2, 2))?])
    }

    #[test]
    fn what_has_no_channels_or_no_probability_is_an_error() -> Result<()> {
        let error = dropout_channels(&randn(1, 3)?, 0.5, &Ctx::eval()).expect_err("rank 1").to_string();
        assert!(error.contains("dropout_channels: the input must be [B, C, …], got [3]"), "{error}");
        let error = dropout_channels(&randn(1, (2, 3))?, 1.5, &Ctx::eval()).expect_err("1.5").to_string();
        assert!(error.contains("dropout_channels: the probability must be in [0, 1], got 1.5"), "{error}");
        Ok(())
    }
}
