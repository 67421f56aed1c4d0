//! Average pooling of sequences: that of images of one row.
//!
//! Why not Candle's: it has none, and that of images knows no padding.

use candle_core::{Module, Result, Tensor};

use super::avg_pool2d::{Average, AvgPool, portable};
use super::kernel::{apply1, on_cpu};
use super::pooling::{Pooling, Reshaped};
use super::precision::{half_precision, widen};

/// The windows of [`avg_pool1d`].
pub type AvgPool1d = AvgPool<1>;

/// `y[b, c, i] = Σ over m of x[b, c, i·s + m − p] / divisor`
///
/// `[B, C, L]` → `[B, C, L']` with `L' = ⌊(L + 2p − k) / s⌋ + 1`, or rounded up, for kernel `k`, stride `s` and padding `p`.
///
/// # Errors
/// If `x` is not rank 3, or a size other than its batch is zero; if kernel, stride or divisor is zero, the
/// padding more than half the kernel, or no window fits.
pub fn avg_pool1d(x: &Tensor, options: AvgPool1d) -> Result<Tensor> {
    if let Some(half) = half_precision("avg_pool1d", &[x])? {
        return avg_pool1d(&widen(x)?, options)?.to_dtype(half);
    }
    let p = Pooling::of_rows("avg_pool1d", x, options.window(0))?;
    let kernel = Average::new("avg_pool1d", p, options.divisor)?;
    if on_cpu(&[x]) {
        apply1(Reshaped { kernel, image: p.input_shape(), shape: p.sequences() }, x)
    } else {
        portable(&x.unsqueeze(2)?, kernel)?.squeeze(2)
    }
}

impl Module for AvgPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        avg_pool1d(x, *self)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::avg_pool2d::Divisor;
    use super::super::oracle::{assert_same, assert_types};
    use super::super::window::Rounding;
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    const PLAIN: AvgPool1d = AvgPool1d::new([2]);
    const SAME: AvgPool1d = AvgPool1d { stride: [1], padding: [1], ..AvgPool1d::new([3]) };

    const CASES: &[([usize; 3], AvgPool1d)] = &[
        ([2, 3, 8], PLAIN),
        ([1, 2, 9], SAME),
        ([1, 2, 9], AvgPool1d { divisor: Divisor::Inside, ..SAME }),
        ([1, 2, 9], AvgPool1d { rounding: Rounding::Ceil, divisor: Divisor::Fixed(3), ..PLAIN }),
        ([3, 1, 14], AvgPool1d { stride: [3], ..AvgPool1d::new([5]) }),
        ([1, 1, 1], SAME),
        ([0, 2, 5], SAME),
    ];

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 3.0, 2.0, 6.0, 4.0]]], &Device::Cpu)?;
        assert_eq!(avg_pool1d(&x, PLAIN)?.to_vec3::<f32>()?, [[[2.0, 4.0]]]);
        let inside = AvgPool1d { stride: [4], divisor: Divisor::Inside, ..SAME };
        assert_eq!(inside.forward(&x)?.to_vec3::<f32>()?, [[[2.0, 5.0]]]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for &(shape, options) in CASES {
            let x = [randn(1, &shape)?];
            let oracle = |x: &[Tensor]| {
                let p = Pooling::of_rows("test", &x[0], options.window(0))?;
                portable(&x[0].unsqueeze(2)?, Average::new("test", p, options.divisor)?)?.squeeze(2)
            };
            assert_same(|x| avg_pool1d(&x[0], options), oracle, &x, 1e-14)?;
            gradcheck(|x| avg_pool1d(&x[0], options), &x)?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let view = |x: &Tensor| x.transpose(1, 2)?.narrow(2, 1, 7);
        let x = randn(3, (2, 9, 3))?;
        gradcheck(|x| avg_pool1d(&view(&x[0])?, SAME), std::slice::from_ref(&x))?;
        assert_close(&avg_pool1d(&view(&x)?, SAME)?, &avg_pool1d(&view(&x)?.copy()?, SAME)?, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("avg_pool1d", |x| avg_pool1d(&x[0], SAME), &[randn(6, (1, 2, 9))?])
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, options, rule) in [
            (vec![5, 5], PLAIN, "avg_pool1d: x must be [B, C, L], got [5, 5]"),
            (vec![1, 0, 5], PLAIN, "must have channels and a length, got [1, 0, 5]"),
            (vec![1, 1, 5], AvgPool1d { stride: [0], ..PLAIN }, "stride must be at least 1 along the length"),
            (vec![1, 1, 5], AvgPool1d::new([0]), "kernel must be at least 1"),
            (
                vec![1, 1, 5],
                AvgPool1d { padding: [2], ..SAME },
                "half the kernel of 3 along the length, got 2",
            ),
            (vec![1, 1, 1], PLAIN, "a window of 2 and 1 pixels along the length"),
            (vec![1, 1, 5], AvgPool1d { divisor: Divisor::Fixed(0), ..PLAIN }, "divisor must not be zero"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = avg_pool1d(&x, options).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
