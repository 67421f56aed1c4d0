//! Layer normalisation: the last axes of each example get mean 0 and variance 1, then each element a scale and a shift.
//!
//! Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, §3.
//! Why not Candle's: the fast one loses the gradient without a word, the slow one writes eight tensors (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::row_norm::{Centre, RowNorm};

/// `(x − mean) / √(variance + eps) · weight + bias` over the last `axes` axes. Any shape; also half precision.
///
/// Weight and bias have the shape of those axes; without them they are 1 and 0. PyTorch's `eps` is 1e-5, that of vision
/// transformers 1e-6.
///
/// # Errors
/// If `x` has fewer axes or `axes` is 0; if weight or bias has another shape; if types differ or are no float types.
pub fn layer_norm(
    x: &Tensor,
    axes: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    RowNorm { op: "layer_norm", axes, centre: Centre::Mean, eps }.of(x, weight, bias)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    fn inputs(shape: &[usize], axes: usize, dtype: DType) -> Result<Vec<Tensor>> {
        let row = &shape[shape.len() - axes..];
        [randn(1, shape)?, randn(2, row)?, randn(3, row)?].iter().map(|x| x.to_dtype(dtype)).collect()
    }

    fn ours(x: &[Tensor]) -> Result<Tensor> {
        layer_norm(&x[0], x[1].rank(), Some(&x[1]), Some(&x[2]), 1e-5)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[1f64, 3.0], [10.0, 4.0]], &Device::Cpu)?;
        let w = Tensor::new(&[2f64, 3.0], &Device::Cpu)?;
        assert_eq!(layer_norm(&x, 1, Some(&w), None, 0.0)?.to_vec2::<f64>()?, [[-2.0, 3.0], [2.0, -3.0]]);
        let b = Tensor::new(&[1f64, 1.0], &Device::Cpu)?;
        assert_eq!(layer_norm(&x, 1, None, Some(&b), 0.0)?.to_vec2::<f64>()?, [[0.0, 2.0], [2.0, 0.0]]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for (shape, axes) in [
            (vec![5], 1),
            (vec![3, 7], 1),
            (vec![2, 3, 5], 2),
            (vec![2, 3, 5], 3),
            (vec![3000, 7], 1),
            (vec![70, 769], 1),
            (vec![3, 20_001], 1),
        ] {
            for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
                let x = inputs(&shape, axes, dtype)?;
                let norm = RowNorm { op: "layer_norm", axes, centre: Centre::Mean, eps: 1e-5 };
                assert_same(ours, |x| norm.portable([&x[0], &x[1], &x[2]]), &x, tolerance)?;
            }
        }
        let x = inputs(&[0, 3], 1, DType::F32)?;
        assert_eq!(ours(&x)?.dims(), [0, 3]);
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        gradcheck(ours, &inputs(&[2, 3, 4], 1, DType::F64)?)?;
        gradcheck(ours, &inputs(&[2, 3, 4], 2, DType::F64)?)?;
        let x = randn(4, (4, 3, 5))?;
        gradcheck(|x| layer_norm(&x[0].transpose(0, 2)?.narrow(1, 1, 2)?, 1, None, None, 1e-3), &[x])
    }

    #[test]
    fn a_large_mean_costs_no_accuracy() -> Result<()> {
        let x = ((randn(1, (3, 768))? * 16.0)?.round()? + 1e4)?;
        let of = |dtype| layer_norm(&x.to_dtype(dtype)?, 1, None, None, 1e-5);
        assert_close(&of(DType::F32)?, &of(DType::F64)?, 1e-4, 1e-4)
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("layer_norm", ours, &inputs(&[3, 8], 1, DType::F64)?)
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let (x, b) = (randn(1, (2, 6))?, randn(2, 5)?);
        for (result, message) in [
            (
                layer_norm(&x, 0, None, None, 1e-5),
                "the number of axes must be from 1 to the rank, got 0 for [2, 6]",
            ),
            (layer_norm(&x, 3, None, None, 1e-5), "the number of axes must be from 1 to the rank, got 3"),
            (layer_norm(&x, 1, Some(&b), None, 1e-5), "the weight must be [6], got [5]"),
            (layer_norm(&x, 2, None, Some(&b), 1e-5), "the bias must be [2, 6], got [5]"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
