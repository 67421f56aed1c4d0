//! Max pooling of sequences: that of images of one row.
//!
//! Why not Candle's: it has none, and that of images cannot be trained.

use candle_core::{Module, Result, Tensor};

use super::kernel::{apply1, on_cpu};
use super::max_pool2d::{MaxPool, Maxima, check_sight, portable};
use super::pooling::{Pooling, Reshaped};
use super::precision::{half_precision, widen};

/// The windows of [`max_pool1d`].
pub type MaxPool1d = MaxPool<1>;

/// `y[b, c, i] = max over m of x[b, c, i·s + m·d − p]`
///
/// `[B, C, L]` → `[B, C, L']` with `L' = ⌊(L + 2p − d·(k − 1) − 1) / s⌋ + 1`, or rounded up, for kernel `k`, stride `s`,
/// padding `p` and dilation `d`.
///
/// # Errors
/// If `x` is not rank 3, or a size other than its batch is zero; if kernel, stride or dilation is zero, the
/// padding more than half the kernel, or no window fits; if a dilated window steps over the whole input.
pub fn max_pool1d(x: &Tensor, options: MaxPool1d) -> Result<Tensor> {
    if let Some(half) = half_precision("max_pool1d", &[x])? {
        return max_pool1d(&widen(x)?, options)?.to_dtype(half);
    }
    let p = Pooling::of_rows("max_pool1d", x, options.window(0))?;
    check_sight("max_pool1d", &p)?;
    if on_cpu(&[x]) {
        apply1(Reshaped { kernel: Maxima::new(p, x), image: p.input_shape(), shape: p.sequences() }, x)
    } else {
        portable(&x.unsqueeze(2)?, p)?.squeeze(2)
    }
}

impl Module for MaxPool1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        max_pool1d(x, *self)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::oracle::{assert_same, assert_types};
    use super::super::window::Rounding;
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    const PLAIN: MaxPool1d = MaxPool1d::new([2]);
    const STEM: MaxPool1d = MaxPool1d { stride: [2], padding: [1], ..MaxPool1d::new([3]) };

    const CASES: &[([usize; 3], MaxPool1d)] = &[
        ([2, 3, 8], PLAIN),
        ([1, 2, 9], STEM),
        ([1, 2, 9], MaxPool1d { rounding: Rounding::Ceil, ..PLAIN }),
        ([3, 1, 14], MaxPool1d { dilation: [3], stride: [1], ..STEM }),
        ([1, 1, 1], STEM),
        ([0, 2, 5], STEM),
    ];

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 3.0, 2.0, 5.0, 4.0]]], &Device::Cpu)?;
        assert_eq!(max_pool1d(&x, STEM)?.to_vec3::<f32>()?, [[[3.0, 5.0, 5.0]]]);
        assert_eq!(PLAIN.forward(&x)?.to_vec3::<f32>()?, [[[3.0, 5.0]]]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for &(shape, options) in CASES {
            let x = [randn(1, &shape)?];
            let oracle = |x: &[Tensor]| {
                portable(&x[0].unsqueeze(2)?, Pooling::of_rows("test", &x[0], options.window(0))?)?.squeeze(2)
            };
            assert_same(|x| max_pool1d(&x[0], options), oracle, &x, 1e-14)?;
            gradcheck(|x| max_pool1d(&x[0], options), &x)?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let view = |x: &Tensor| x.transpose(1, 2)?.narrow(2, 1, 7);
        let x = randn(3, (2, 9, 3))?;
        gradcheck(|x| max_pool1d(&view(&x[0])?, STEM), std::slice::from_ref(&x))?;
        assert_close(&max_pool1d(&view(&x)?, STEM)?, &max_pool1d(&view(&x)?.copy()?, STEM)?, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("max_pool1d", |x| max_pool1d(&x[0], STEM), &[randn(6, (1, 2, 9))?])
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, options, rule) in [
            (vec![5, 5], PLAIN, "max_pool1d: x must be [B, C, L], got [5, 5]"),
            (vec![1, 2, 0], PLAIN, "must have channels and a length, got [1, 2, 0]"),
            (vec![1, 1, 5], MaxPool1d { stride: [0], ..PLAIN }, "stride must be at least 1 along the length"),
            (vec![1, 1, 5], MaxPool1d::new([0]), "kernel must be at least 1"),
            (vec![1, 1, 5], MaxPool1d { dilation: [0], ..PLAIN }, "dilation must be at least 1"),
            (
                vec![1, 1, 5],
                MaxPool1d { padding: [2], ..STEM },
                "half the kernel of 3 along the length, got 2",
            ),
            (vec![1, 1, 1], PLAIN, "a window of 2 and 1 pixels along the length"),
            (
                vec![1, 1, 1],
                MaxPool1d { padding: [1], dilation: [2], ..PLAIN },
                "every window must see a pixel, got dilation 2 on 1 pixels",
            ),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = max_pool1d(&x, options).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
