//! Adaptive average pooling of sequences: that of images of one row.
//!
//! Why not Candle's: it has none.

use candle_core::{Module, Result, Tensor};

use super::adaptive_avg_pool2d::{AdaptiveAvgPool, Means, portable};
use super::bins::Binned;
use super::kernel::{apply1, on_cpu};
use super::pooling::Reshaped;
use super::precision::{half_precision, widen};

/// The bins of [`adaptive_avg_pool1d`].
pub type AdaptiveAvgPool1d = AdaptiveAvgPool<1>;

/// The mean over bins: bin `i` of `n` holds the pixels from `⌊i·L / n⌋` to below `⌈(i + 1)·L / n⌉`.
///
/// `[B, C, L]` → `[B, C, n]`
///
/// # Errors
/// If `x` is not rank 3, or a size other than its batch is zero; if there are to be no bins.
pub fn adaptive_avg_pool1d(x: &Tensor, options: AdaptiveAvgPool1d) -> Result<Tensor> {
    if let Some(half) = half_precision("adaptive_avg_pool1d", &[x])? {
        return adaptive_avg_pool1d(&widen(x)?, options)?.to_dtype(half);
    }
    let binned = Binned::of_rows("adaptive_avg_pool1d", x, options.output)?;
    if on_cpu(&[x]) {
        let kernel = Means(binned);
        apply1(Reshaped { kernel, image: binned.input().into(), shape: binned.sequences() }, x)
    } else {
        portable(&x.unsqueeze(2)?, binned)?.squeeze(2)
    }
}

impl Module for AdaptiveAvgPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        adaptive_avg_pool1d(x, *self)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::oracle::{assert_same, assert_types};
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    const THREE: AdaptiveAvgPool1d = AdaptiveAvgPool1d { output: [3] };

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 2.0, 3.0, 4.0, 5.0]]], &Device::Cpu)?;
        // Bins 0..2, 1..4, 3..5.
        assert_eq!(THREE.forward(&x)?.to_vec3::<f32>()?, [[[1.5, 3.0, 4.5]]]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for (shape, bins) in
            [([2, 3, 7], 1), ([1, 2, 12], 4), ([2, 1, 13], 5), ([1, 2, 3], 7), ([0, 2, 5], 2)]
        {
            let (x, options) = ([randn(1, &shape)?], AdaptiveAvgPool1d { output: [bins] });
            let oracle = |x: &[Tensor]| {
                portable(&x[0].unsqueeze(2)?, Binned::of_rows("test", &x[0], [bins])?)?.squeeze(2)
            };
            assert_same(|x| adaptive_avg_pool1d(&x[0], options), oracle, &x, 1e-14)?;
            gradcheck(|x| adaptive_avg_pool1d(&x[0], options), &x)?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let view = |x: &Tensor| x.transpose(1, 2)?.narrow(2, 1, 7);
        let x = randn(3, (2, 9, 3))?;
        gradcheck(|x| THREE.forward(&view(&x[0])?), std::slice::from_ref(&x))?;
        assert_close(&THREE.forward(&view(&x)?)?, &THREE.forward(&view(&x)?.copy()?)?, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("adaptive_avg_pool1d", |x| adaptive_avg_pool1d(&x[0], THREE), &[randn(6, (1, 2, 9))?])
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, bins, rule) in [
            (vec![5, 5], 1, "adaptive_avg_pool1d: x must be [B, C, L], got [5, 5]"),
            (vec![1, 1, 0], 1, "must have channels and a length, got [1, 1, 0]"),
            (vec![1, 1, 5], 0, "output must be at least 1, got 0"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = adaptive_avg_pool1d(&x, AdaptiveAvgPool1d { output: [bins] }).expect_err(rule);
            assert!(error.to_string().contains(rule), "{error}");
        }
        Ok(())
    }
}
