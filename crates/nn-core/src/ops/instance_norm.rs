//! Instance normalisation: each channel of each example gets mean 0 and variance 1.
//!
//! Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022, equation 5.
//! Differs: no running statistics, which PyTorch has as an option that no published model uses.
//! Why not Candle's: it has none.

use candle_core::{Result, Tensor};

use super::group_norm::by_examples;
use crate::ensure;

/// `(x − mean) / √(variance + eps) · weight + bias`, mean and variance taken of each channel of each example. Also half
/// precision.
///
/// `[B, C, …]` → `[B, C, …]`; `affine` is weight and bias, `[C]` each, 1 and 0 if it is `None`. PyTorch's `eps` is 1e-5.
///
/// # Errors
/// If `x` has one number a channel, or weight or bias is not of the number of channels; if types differ or are no float
/// types.
pub fn instance_norm(x: &Tensor, affine: Option<[&Tensor; 2]>, eps: f64) -> Result<Tensor> {
    ensure!(x.rank() >= 3, "instance_norm: the input must be [B, C, L, …], got {:?}", x.dims());
    let numbers: usize = x.dims()[2..].iter().product();
    ensure!(
        numbers != 1,
        "instance_norm: a channel must have more than one number, got the shape {:?}",
        x.dims()
    );
    by_examples("instance_norm", x, x.dims()[1].max(1), affine, eps)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::fused::Fused;
    use crate::ops::norm::{Sets, portable};
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    fn inputs(dtype: DType) -> Result<Vec<Tensor>> {
        [randn(1, (2, 3, 4, 5))?, randn(2, 3)?, randn(3, 3)?].iter().map(|x| x.to_dtype(dtype)).collect()
    }

    fn ours(x: &[Tensor]) -> Result<Tensor> {
        instance_norm(&x[0], Some([&x[1], &x[2]]), 1e-5)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f64, 3.0], [10.0, 4.0]]], &Device::Cpu)?;
        assert_eq!(instance_norm(&x, None, 0.0)?.to_vec3::<f64>()?, [[[-1.0, 1.0], [1.0, -1.0]]]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin_and_its_gradients_are_derivatives() -> Result<()> {
        let sets = Sets::of_examples(&[2, 3, 4, 5], 3);
        let twin = |x: &[Tensor]| Ok(portable([&x[0], &x[1], &x[2]], sets, 1e-5, Fused(None))?.0);
        assert_same(ours, twin, &inputs(DType::F64)?, 1e-11)?;
        gradcheck(ours, &inputs(DType::F64)?)?;
        gradcheck(
            |x| instance_norm(&x[0].transpose(2, 3)?.narrow(2, 1, 3)?, None, 1e-3),
            &[randn(4, (2, 3, 4, 5))?],
        )
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("instance_norm", ours, &inputs(DType::F64)?)
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let b = randn(1, 5)?;
        for (result, message) in [
            (instance_norm(&randn(2, (2, 6))?, None, 1e-5), "must be [B, C, L, …], got [2, 6]"),
            (
                instance_norm(&randn(2, (2, 6, 1))?, None, 1e-5),
                "more than one number, got the shape [2, 6, 1]",
            ),
            (instance_norm(&randn(2, (2, 6, 2))?, Some([&b, &b]), 1e-5), "the weight must be [6], got [5]"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
