//! A loss of pairs of vectors that should point the same way, or not.
//!
//! Why not Candle's: it has none.

use candle_core::{DType, Result, Tensor};

use super::activation::relu;
use super::cosine_similarity::{Norms, cosine_of_rows};
use super::labels::index_of;
use super::precision::{half_precision, widen};
use super::reduction::Reduction;
use crate::ensure;

const NAME: &str = "cosine_embedding_loss";

/// Options of [`cosine_embedding_loss`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosineEmbeddingLoss {
    /// The cosine that vectors of a pair that should differ may have for nothing; from −1 to 1.
    pub margin: f64,
    /// What is made of the terms.
    pub reduction: Reduction,
}

/// `1 − cos(a, b)` of pairs with the target 1, `max(cos(a, b) − margin, 0)` of those with −1, reduced; `a` and `b` get
/// gradients.
///
/// `a` and `b` `[B, D]` and targets `[B]`, or `[D]` and a scalar, targets of any type → a scalar, or the targets' shape
/// with [`Reduction::None`]. In the cosine `√(‖x‖² + 10⁻¹²)` stands for a norm, as in PyTorch.
///
/// # Errors
/// If `a` and `b` differ in shape or type or are of no float type, the targets' shape is not theirs without the last
/// axis, or a target is neither 1 nor −1.
pub fn cosine_embedding_loss(
    a: &Tensor,
    b: &Tensor,
    targets: &Tensor,
    options: CosineEmbeddingLoss,
) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[a, b])? {
        return cosine_embedding_loss(&widen(a)?, &widen(b)?, targets, options)?.to_dtype(half);
    }
    let (first, second, places) = (a.dims(), b.dims(), targets.dims());
    ensure!(first == second, "{NAME}: both inputs must have one shape, got {first:?} and {second:?}");
    ensure!(
        matches!(first.len(), 1 | 2) && places == &first[..first.len() - 1],
        "{NAME}: inputs [B, D] or [D] need targets [B] or [], got shapes {first:?} and {places:?}"
    );
    let CosineEmbeddingLoss { margin, reduction } = options;
    let signs = targets.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(at) = signs.iter().position(|sign| sign.abs() != 1.0) {
        let place = index_of(at, places);
        candle_core::bail!("{NAME}: targets must be 1 or -1, got {} at {place:?}", signs[at]);
    }
    let only = |sign: f64| -> Result<Tensor> {
        let mask = signs.iter().map(|&s| if s == sign { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
        Tensor::from_vec(mask, places, a.device())?.to_dtype(a.dtype())
    };
    let cosine = cosine_of_rows(a, b, Norms::Shifted)?;
    let alike = (cosine.affine(-1.0, 1.0)? * only(1.0)?)?;
    let unlike = (relu(&cosine.affine(1.0, -margin)?)? * only(-1.0)?)?;
    reduction.of(&(alike + unlike)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::oracle::assert_types;
    use crate::testing::{gradcheck, randn};

    const REDUCTIONS: [Reduction; 4] =
        [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

    #[test]
    fn worked_example() -> Result<()> {
        let a = Tensor::new(&[[3.0, 4.0], [3.0, 4.0], [1.0, 0.0]], &Device::Cpu)?;
        let b = Tensor::new(&[[4.0, 3.0], [4.0, 3.0], [0.0, 1.0]], &Device::Cpu)?;
        let options = CosineEmbeddingLoss { margin: 0.5, reduction: Reduction::None };
        for targets in
            [Tensor::new(&[1i64, -1, -1], &Device::Cpu)?, Tensor::new(&[1f32, -1.0, -1.0], &Device::Cpu)?]
        {
            let y = cosine_embedding_loss(&a, &b, &targets, options)?.to_vec1::<f64>()?;
            for (y, truth) in y.iter().zip([0.04, 0.46, 0.0]) {
                assert!((y - truth).abs() < 1e-12, "{y} is not {truth}");
            }
        }
        let one = Tensor::new(1u8, &Device::Cpu)?;
        let y = cosine_embedding_loss(&a.get(0)?, &b.get(0)?, &one, options)?;
        assert_eq!(y.dims().len(), 0);
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        let targets = Tensor::new(&[1i64, -1, -1, 1, -1], &Device::Cpu)?;
        for reduction in REDUCTIONS {
            let options = CosineEmbeddingLoss { margin: 0.1, reduction };
            let inputs = [randn(1, (5, 3))?, randn(2, (3, 5))?];
            gradcheck(|x| cosine_embedding_loss(&x[0], &x[1].t()?, &targets, options), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        let targets = Tensor::new(&[1i64, 1], &Device::Cpu)?;
        let op = |x: &[Tensor]| cosine_embedding_loss(&x[0], &x[1], &targets, CosineEmbeddingLoss::default());
        assert_types(NAME, op, &[randn(3, (2, 5))?, randn(4, (2, 5))?])
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let x = randn(1, (2, 3))?;
        let signs = |x: &[i64]| Tensor::new(x, &Device::Cpu);
        for (b, targets, message) in [
            (randn(1, (1, 3))?, signs(&[1, 1])?, "one shape, got [2, 3] and [1, 3]"),
            (x.clone(), signs(&[1])?, "got shapes [2, 3] and [1]"),
            (x.clone(), signs(&[1, 0])?, "targets must be 1 or -1, got 0 at [1]"),
        ] {
            let error = cosine_embedding_loss(&x, &b, &targets, CosineEmbeddingLoss::default());
            let error = error.expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
