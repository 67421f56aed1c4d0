//! Root-mean-square normalisation: layer norm without a mean.
//!
//! Source: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
//! Why not Candle's: the fast one loses the gradient without a word (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::row_norm::{Centre, RowNorm};

/// `x / √(mean of x² + eps) · weight` over the last `axes` axes. Any shape; also half precision.
///
/// The weight has the shape of those axes; without it, it is 1.
///
/// # Errors
/// If `x` has fewer axes or `axes` is 0; if the weight has another shape; if types differ or are no float types.
pub fn rms_norm(x: &Tensor, axes: usize, weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    RowNorm { op: "rms_norm", axes, centre: Centre::Zero, eps }.of(x, weight, None)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    fn ours(x: &[Tensor]) -> Result<Tensor> {
        rms_norm(&x[0], x[1].rank(), Some(&x[1]), 1e-5)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[2f64, 14.0]], &Device::Cpu)?; // mean square 100
        let w = Tensor::new(&[10f64, 5.0], &Device::Cpu)?;
        assert_close(
            &rms_norm(&x, 1, Some(&w), 0.0)?,
            &Tensor::new(&[[2f64, 7.0]], &Device::Cpu)?,
            1e-15,
            0.0,
        )?;
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for (shape, axes) in [(vec![3, 7], 1), (vec![2, 3, 5], 2), (vec![70, 769], 1)] {
            for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
                let x = [randn(1, shape.as_slice())?, randn(2, &shape[shape.len() - axes..])?];
                let x = x.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
                let norm = RowNorm { op: "rms_norm", axes, centre: Centre::Zero, eps: 1e-5 };
                assert_same(ours, |x| norm.portable([&x[0], &x[1], &x[1].zeros_like()?]), &x, tolerance)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        gradcheck(ours, &[randn(1, (2, 3, 4))?, randn(2, 4)?])?;
        gradcheck(|x| rms_norm(&x[0].t()?.narrow(1, 1, 2)?, 1, None, 1e-3), &[randn(1, (4, 3))?])
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("rms_norm", ours, &[randn(1, (3, 8))?, randn(2, 8)?])
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let (x, w) = (randn(1, (2, 6))?, randn(2, 5)?);
        for (result, message) in [
            (rms_norm(&x, 3, None, 1e-5), "rms_norm: the number of axes must be from 1 to the rank, got 3"),
            (rms_norm(&x, 1, Some(&w), 1e-5), "rms_norm: the weight must be [6], got [5]"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
