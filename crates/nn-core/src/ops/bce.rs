//! Binary cross-entropy of probabilities. Of logits it is [`bce_with_logits`](super::bce_with_logits()), which keeps
//! its precision where a probability rounds to 0 or 1: prefer it.
//!
//! Why not Candle's: its logarithm of a probability of 0 is infinite, and the loss NaN (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;

/// `−target · ln x − (1 − target) · ln(1 − x)`, reduced, where no logarithm is below −100; both arguments get gradients.
///
/// Probabilities `x` and `target` of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// The gradient of `x` is `(x − target) / max(x (1 − x), 10⁻¹²)` and that of `target` is `ln(1 − x) − ln x`, as in
/// PyTorch: the bound of the logarithm is not differentiated.
///
/// # Errors
/// If the two differ in shape or type or are of no float type, or one has a number outside [0, 1] on the CPU; elsewhere
/// such a number gives NaN.
pub fn bce(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply(Bce, x, target, reduction)
}

/// No logarithm is below this.
const LEAST: f64 = -100.0;

/// `x (1 − x)` is no less in a denominator.
const EPSILON: f64 = 1e-12;

#[derive(Clone, Copy)]
struct Bce;

/// `x`, or `least` if it is below that; NaN stays.
#[inline(always)]
fn at_least<T: Element>(x: T, least: T) -> T {
    if x < least { least } else { x }
}

impl Elementwise for Bce {
    const NAME: &'static str = "bce";
    const COST: usize = 32;
    const PROBABILITIES: bool = true;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let [yes, no] = [x, T::ONE - x].map(
            #[inline(always)]
            |p| at_least(p.ln(), T::of(LEAST)),
        );
        (target - T::ONE) * no - target * yes
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let no = T::ONE - x;
        [(x - target) / at_least(no * x, T::of(EPSILON)), no.ln() - x.ln()]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        // The value without a graph, and beside it terms that are 0 and have the gradients.
        let (p, t) = (x.detach(), target.detach());
        let [yes, no] = [p.log()?, p.affine(-1.0, 1.0)?.log()?];
        let [yes_bounded, no_bounded] = [yes.maximum(LEAST)?, no.maximum(LEAST)?];
        let value = (t.affine(1.0, -1.0)?.mul(&no_bounded)? - t.mul(&yes_bounded)?)?;
        let slope = (&p - &t)?.div(&(&p - p.sqr()?)?.maximum(EPSILON)?)?;
        let by_x = (x - &p)?.mul(&slope)?;
        // 0 times an infinite slope would be NaN.
        let bound = f64::from(f32::MAX);
        let by_target = (target - &t)?.mul(&(no - yes)?.clamp(-bound, bound)?)?;
        (value + by_x)? + by_target
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::loss::checks::{REDUCTIONS, assert_elementwise};
    use crate::ops::{bce_with_logits, sigmoid};
    use crate::testing::{assert_close, gradcheck, randn};

    fn probabilities(seed: u64, shape: &[usize]) -> Result<Tensor> {
        randn(seed, shape)?.tanh()?.affine(0.49, 0.5)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Var::new(&[0.5, 0.25, 0.25], &Device::Cpu)?;
        let target = Var::new(&[0.25, 1.0, 0.0], &Device::Cpu)?;
        let y = bce(&x, &target, Reduction::None)?;
        let truth = Tensor::new(&[2f64.ln(), 4f64.ln(), (4.0 / 3f64).ln()], &Device::Cpu)?;
        assert_close(&y, &truth, 1e-15, 0.0)?;
        let grads = y.sum_all()?.backward()?;
        let dx = Tensor::new(&[1.0, -4.0, 4.0 / 3.0], &Device::Cpu)?;
        let dt = Tensor::new(&[0.0, 3f64.ln(), 3f64.ln()], &Device::Cpu)?;
        assert_close(grads.get(&x).expect("a variable"), &dx, 1e-15, 0.0)?;
        assert_close(grads.get(&target).expect("a variable"), &dt, 1e-15, 1e-15)
    }

    #[test]
    fn certainty_is_that_of_pytorch() -> Result<()> {
        let x = Var::new(&[0f64, 1.0, 0.0, 1.0, 1e-30], &Device::Cpu)?;
        let target = Var::new(&[0f64, 1.0, 1.0, 0.0, 1.0], &Device::Cpu)?;
        let y = bce(&x, &target, Reduction::None)?;
        assert_eq!(y.to_vec1::<f64>()?, [0.0, 0.0, 100.0, 100.0, -(1e-30f64.ln())]);
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f64>();
        assert_eq!(get(&x)?, [0.0, 0.0, -1e12, 1e12, -1e12]);
        let inf = f64::INFINITY;
        assert_eq!(get(&target)?, [inf, -inf, inf, -inf, -(1e-30f64.ln())]);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(Bce, |shape| Ok([probabilities(1, shape)?, probabilities(2, shape)?]))?;
        let logits = randn(3, 50)?;
        let target = probabilities(4, &[50])?;
        let by_logits = bce_with_logits(&logits, &target, Reduction::None)?;
        assert_close(&bce(&sigmoid(&logits)?, &target, Reduction::None)?, &by_logits, 1e-13, 0.0)
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let inputs = [probabilities(3, &[3, 4])?, probabilities(4, &[3, 4])?];
            gradcheck(|x| bce(&x[0], &x[1], reduction), &inputs)?;
            gradcheck(|x| bce(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, reduction), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn numbers_that_are_no_probabilities_are_named() -> Result<()> {
        let t = |x: [[f32; 2]; 2]| Tensor::new(&x, &Device::Cpu);
        let right = t([[0.0, 0.5], [0.5, 1.0]])?;
        for (x, target, message) in [
            (t([[0.0, 0.5], [1.5, 1.0]])?, right.clone(), "bce: input must be in [0, 1], got 1.5 at [1, 0]"),
            (right, t([[0.0, f32::NAN], [0.5, 1.0]])?, "bce: target must be in [0, 1], got NaN at [0, 1]"),
        ] {
            let error = bce(&x, &target, Reduction::Mean).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
