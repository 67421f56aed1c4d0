//! Global max pooling: the largest pixel of each channel.
//!
//! Why not Candle's: equal maxima each take the whole gradient, and NaN is lost.

use candle_core::{Result, Tensor};

use super::adaptive_max_pool2d::{Maxima, portable};
use super::bins::Binned;
use super::kernel::{apply1, on_cpu};
use super::pooling::Reshaped;
use super::precision::{half_precision, widen};

/// `y[b, c] = max over all pixels of x[b, c, …]`
///
/// `[B, C, …]` → `[B, C]`, over any number of axes after the second.
///
/// # Errors
/// If `x` has less than three axes, or a size other than its batch is zero.
pub fn global_max_pool(x: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_precision("global_max_pool", &[x])? {
        return global_max_pool(&widen(x)?)?.to_dtype(half);
    }
    let binned = Binned::global("global_max_pool", x)?;
    if on_cpu(&[x]) {
        let kernel = Maxima::new(binned, x);
        apply1(Reshaped { kernel, image: binned.input().into(), shape: binned.channels().into() }, x)
    } else {
        portable(&x.reshape(binned.input())?, binned)?.reshape(binned.channels())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::oracle::{assert_same, assert_types};
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Var::new(&[[[[1f32, 6.0], [3.0, 6.0]], [[-1.0, -2.0], [-3.0, -4.0]]]], &Device::Cpu)?;
        let y = global_max_pool(&x)?;
        assert_eq!(y.to_vec2::<f32>()?, [[6.0, -1.0]]);
        let dx = y.backward()?.remove(&x).map(|dx| dx.flatten_all()?.to_vec1::<f32>()).transpose()?;
        assert_eq!(dx, Some(vec![0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
        Ok(())
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for shape in [&[2, 3, 7][..], &[1, 2, 5, 9], &[2, 1, 3, 4, 5], &[3, 2, 1], &[0, 2, 5, 5]] {
            let x = [randn(1, shape)?];
            let oracle = |x: &[Tensor]| {
                let binned = Binned::global("test", &x[0])?;
                portable(&x[0].reshape(binned.input())?, binned)?.reshape(binned.channels())
            };
            assert_same(|x| global_max_pool(&x[0]), oracle, &x, 1e-14)?;
            gradcheck(|x| global_max_pool(&x[0]), &x)?;
        }
        // Worth a thread.
        let x = randn(2, (0x20, 0x30, 7, 7))?.to_dtype(DType::F32)?;
        let expected =
            portable(&x.reshape(Binned::global("test", &x)?.input())?, Binned::global("test", &x)?)?;
        assert_close(&global_max_pool(&x)?, &expected.flatten_from(1)?, 1e-6, 1e-6)
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let view = |x: &Tensor| x.transpose(1, 3)?.narrow(2, 1, 3);
        let x = randn(3, (2, 4, 5, 3))?;
        gradcheck(|x| global_max_pool(&view(&x[0])?), std::slice::from_ref(&x))?;
        assert_close(&global_max_pool(&view(&x)?)?, &global_max_pool(&view(&x)?.copy()?)?, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("global_max_pool", |x| global_max_pool(&x[0]), &[randn(6, (2, 2, 3, 5))?])
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, rule) in [
            (
                vec![5, 5],
                "global_max_pool: x must have channels and, after them, an axis that is not empty, got [5, 5]",
            ),
            (vec![5], "global_max_pool: x must be [B, C, …], got [5]"),
            (vec![1, 2, 0, 3], "an axis that is not empty, got [1, 2, 0, 3]"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = global_max_pool(&x).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
