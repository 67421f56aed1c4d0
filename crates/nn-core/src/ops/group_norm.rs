//! Group normalisation: groups of channels of one example get mean 0 and variance 1, then each channel a scale and shift.
//!
//! Source: Wu & He 2018, arXiv:1803.08494, §3, equation 7.
//! Why not Candle's: it writes eight tensors (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::batch_norm::Affine;
use super::fused::Fused;
use super::norm::{Sets, normalise};
use super::precision::{half_precision, widen};
use crate::ensure;

/// `(x − mean) / √(variance + eps) · weight + bias`, mean and variance taken of each group of channels of each example.
/// Also half precision.
///
/// `[B, C, …]` → `[B, C, …]`, groups of `C / groups` neighbouring channels; `affine` is weight and bias, `[C]` each, 1
/// and 0 if it is `None`. PyTorch's `eps` is 1e-5.
///
/// # Errors
/// If `x` has no channels, `groups` does not divide their number, or weight or bias is not of it; if types differ or
/// are no float types.
pub fn group_norm(x: &Tensor, groups: usize, affine: Option<[&Tensor; 2]>, eps: f64) -> Result<Tensor> {
    ensure!(x.rank() >= 2, "group_norm: the input must be [B, C, …], got {:?}", x.dims());
    let channels = x.dims()[1];
    ensure!(
        groups > 0 && channels.is_multiple_of(groups),
        "group_norm: groups must divide the {channels} channels, got {groups}"
    );
    by_examples("group_norm", x, groups, affine, eps)
}

/// [`group_norm`] of a checked shape, in the name of `op`.
pub(super) fn by_examples(
    op: &'static str,
    x: &Tensor,
    groups: usize,
    affine: Option<[&Tensor; 2]>,
    eps: f64,
) -> Result<Tensor> {
    let [weight, bias] = Affine { op, x }.parts(affine)?;
    if let Some(half) = half_precision(op, &[x, &weight, &bias])? {
        let affine = Some([&widen(&weight)?, &widen(&bias)?]);
        return by_examples(op, &widen(x)?, groups, affine, eps)?.to_dtype(half);
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let sets = Sets::of_examples(x.dims(), groups);
    Ok(normalise([x, &weight, &bias], sets, eps, Fused(None), None)?.0)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::norm::portable;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    fn inputs(shape: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
        let x = randn(1, shape)?.to_dtype(dtype)?;
        let [w, b] = [2, 3].map(|seed| randn(seed, shape[1])?.to_dtype(dtype));
        Ok(vec![x, w?, b?])
    }

    fn ours(x: &[Tensor], groups: usize) -> Result<Tensor> {
        group_norm(&x[0], groups, Some([&x[1], &x[2]]), 1e-5)
    }

    #[test]
    fn worked_example() -> Result<()> {
        // Two groups of two channels with one number each: ±1 in both.
        let x = Tensor::new(&[[1f64, 3.0, 10.0, 4.0]], &Device::Cpu)?;
        assert_eq!(group_norm(&x, 2, None, 0.0)?.to_vec2::<f64>()?, [[-1.0, 1.0, 1.0, -1.0]]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for (shape, groups) in [
            (vec![3, 4], 2),
            (vec![2, 6, 5], 3),
            (vec![2, 6, 5], 6),
            (vec![2, 4, 7, 9], 1),
            (vec![1, 2, 90, 1000], 1), // few and large
            (vec![2, 2, 270, 300], 2),
            (vec![2, 4, 60, 50], 4),
        ] {
            for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
                let x = inputs(&shape, dtype)?;
                let sets = Sets::of_examples(&shape, groups);
                let twin = |x: &[Tensor]| Ok(portable([&x[0], &x[1], &x[2]], sets, 1e-5, Fused(None))?.0);
                assert_same(|x| ours(x, groups), twin, &x, tolerance)?;
            }
        }
        let x = inputs(&[0, 4, 3], DType::F32)?;
        assert_eq!(ours(&x, 2)?.dims(), [0, 4, 3]);
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        let x = inputs(&[2, 6, 2, 3], DType::F64)?;
        gradcheck(|x| ours(x, 3), &x)?;
        let view = |x: &Tensor| x.transpose(2, 3)?.narrow(2, 1, 2);
        gradcheck(|x| group_norm(&view(&x[0])?, 2, Some([&x[1], &x[2]]), 1e-2), &x)
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("group_norm", |x| ours(x, 2), &inputs(&[2, 4, 5], DType::F64)?)
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let (x, b) = (randn(1, (2, 6))?, randn(2, 5)?);
        for (result, message) in [
            (group_norm(&b, 1, None, 1e-5), "must be [B, C, …], got [5]"),
            (group_norm(&x, 4, None, 1e-5), "groups must divide the 6 channels, got 4"),
            (group_norm(&x, 0, None, 1e-5), "groups must divide the 6 channels, got 0"),
            (group_norm(&x, 2, Some([&b, &b]), 1e-5), "the weight must be [6], got [5]"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
