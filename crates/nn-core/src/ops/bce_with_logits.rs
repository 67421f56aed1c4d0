//! Binary cross-entropy of logits, the loss of yes-or-no questions.
//!
//! Why not Candle's: it takes the logarithm of a sigmoid, which is NaN once the sigmoid rounds to 0 or 1
//! (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;

/// `−target · ln σ(x) − (1 − target) · ln(1 − σ(x)) = max(x, 0) − x · target + ln(1 + e^−|x|)`, reduced; both
/// arguments get gradients.
///
/// Logits `x` and probabilities `target` in [0, 1], of one shape → a scalar, or that shape with
/// [`Reduction::None`]. Finite for every finite logit.
///
/// # Errors
/// If the two differ in shape or type.
pub fn bce_with_logits(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply(BceWithLogits, x, target, reduction)
}

#[derive(Clone, Copy)]
struct BceWithLogits;

impl Elementwise for BceWithLogits {
    const NAME: &'static str = "bce_with_logits";
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let positive = if x < T::ZERO { T::ZERO } else { x };
        (-x).mul_add(target, positive) + (-x.abs()).exp().ln_1p()
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        [x.sigmoid() - target, -x]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        // (1 − target) · x + m + ln(e^−m + e^(−x−m)) holds for every m; this one keeps both powers from overflow.
        let m = x.neg()?.maximum(&x.zeros_like()?)?.detach();
        let softplus = ((x + &m)?.neg()?.exp()? + m.neg()?.exp()?)?.log()?;
        (x - (target * x)?)? + (softplus + m)?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::assert_same;
    use crate::testing::{gradcheck, randn};

    const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

    /// Terms and the gradients of logits and targets.
    fn at(x: &[f32], target: &[f32]) -> Result<[Vec<f32>; 3]> {
        let (x, target) = (Var::new(x, &Device::Cpu)?, Var::new(target, &Device::Cpu)?);
        let y = bce_with_logits(&x, &target, Reduction::None)?;
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        Ok([y.to_vec1()?, get(&x)?, get(&target)?])
    }

    #[test]
    fn worked_example() -> Result<()> {
        // σ(ln 3) = ¾
        let [y, dx, dt] = at(&[0.0, 3f32.ln(), 3f32.ln()], &[0.25, 1.0, 0.0])?;
        let truth =
            [[2f32.ln(), -0.75f32.ln(), 4f32.ln()], [0.25, -0.25, 0.75], [0.0, -3f32.ln(), -3f32.ln()]];
        for (got, truth) in [y, dx, dt].iter().zip(truth) {
            for (got, truth) in got.iter().zip(truth) {
                assert!((got - truth).abs() < 2e-7, "{got} is not {truth}");
            }
        }
        Ok(())
    }

    #[test]
    fn extreme_logits_are_those_of_pytorch() -> Result<()> {
        let [y, dx, dt] =
            at(&[1000.0, -1000.0, 1000.0, -1000.0, 100.0, -40.0], &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0])?;
        assert_eq!(y[..5], [1000.0, 1000.0, 0.0, 0.0, (-100f32).exp()]);
        assert_eq!(dx[..5], [1.0, -1.0, 0.0, 0.0, 0.0]);
        assert_eq!(dt, [-1000.0, 1000.0, -1000.0, 1000.0, -100.0, 40.0]);
        // Small terms keep their relative precision.
        assert!((y[5] / (-40f32).exp() - 1.0).abs() < 1e-6 && (dx[5] / (-40f32).exp() - 1.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for shape in [vec![], vec![0], vec![1], vec![3, 5], vec![40_000]] {
            let target = randn(2, shape.as_slice())?.tanh()?.affine(0.5, 0.5)?;
            let inputs = [(randn(1, shape.as_slice())? * 5.0)?, target];
            for reduction in REDUCTIONS {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    if shape == [0] && reduction == Reduction::Mean {
                        continue;
                    }
                    let inputs = [inputs[0].to_dtype(dtype)?, inputs[1].to_dtype(dtype)?];
                    assert_same(
                        |x| bce_with_logits(&x[0], &x[1], reduction),
                        |x| reduction.of(&BceWithLogits.portable(&x[0], &x[1])?),
                        &inputs,
                        tolerance,
                    )?;
                }
            }
        }
        // Both forms at the corner of |x| and where one power underflows.
        let x = Tensor::new(&[0.0, -0.0, 1000.0, -1000.0], &Device::Cpu)?;
        let target = Tensor::new(&[0.5, 1.0, 0.0, 1.0], &Device::Cpu)?;
        assert_same(
            |x| bce_with_logits(&x[0], &x[1], Reduction::None),
            |x| BceWithLogits.portable(&x[0], &x[1]),
            &[x, target],
            1e-12,
        )
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let inputs = [randn(3, (3, 4))?, randn(4, (3, 4))?];
            gradcheck(|x| bce_with_logits(&x[0], &x[1], reduction), &inputs)?;
            gradcheck(|x| bce_with_logits(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, reduction), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn no_terms() -> Result<()> {
        let x = Tensor::zeros((0, 2), DType::F32, &Device::Cpu)?;
        assert!(bce_with_logits(&x, &x, Reduction::Mean)?.to_scalar::<f32>()?.is_nan());
        assert_eq!(bce_with_logits(&x, &x, Reduction::Sum)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let zeros = |n: usize, dtype| Tensor::zeros(n, dtype, &Device::Cpu);
        let x = zeros(2, DType::F32)?;
        for (target, message) in [
            (zeros(3, DType::F32)?, "bce_with_logits: input and target must have one shape, got [2] and [3]"),
            (zeros(2, DType::U8)?, "bce_with_logits: input and target must have one type, got F32 and U8"),
        ] {
            let error = bce_with_logits(&x, &target, Reduction::Mean).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
