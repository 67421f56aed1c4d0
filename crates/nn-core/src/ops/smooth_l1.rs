//! Smooth absolute error: Huber's loss over its threshold, so that its slope is 1 beyond.
//!
//! Source: Girshick 2015, "Fast R-CNN", arXiv:1504.08083, equation 3 (β = 1).
//!
//! Why not Candle's: it has none.

use candle_core::{Result, Tensor};

use super::huber::clamp;
use super::l1::l1;
use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;
use crate::ensure;

/// Options of [`smooth_l1`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothL1 {
    /// The size of an error below which it counts by its square; 0 makes it the absolute error. Not negative.
    pub beta: f64,
    /// What is made of the terms.
    pub reduction: Reduction,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self { beta: 1.0, reduction: Reduction::Mean }
    }
}

/// `e² / 2β` where `e = |x − target| < β`, else `e − β / 2`, reduced; both arguments get gradients.
///
/// `x` and `target` of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// # Errors
/// If the two differ in shape or type, are of no float type, or β is negative.
pub fn smooth_l1(x: &Tensor, target: &Tensor, options: SmoothL1) -> Result<Tensor> {
    let SmoothL1 { beta, reduction } = options;
    ensure!(beta >= 0.0, "smooth_l1: beta must not be negative, got {beta}");
    if beta == 0.0 { l1(x, target, reduction) } else { apply(Smooth { beta }, x, target, reduction) }
}

/// With the error clamped to `±β`, `c`: the loss is `c (e − c / 2) / β` and its derivative `c / β`.
#[derive(Clone, Copy)]
struct Smooth {
    beta: f64,
}

impl Elementwise for Smooth {
    const NAME: &'static str = "smooth_l1";
    const COST: usize = 4;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let error = x - target;
        let clamped = clamp(error, T::of(self.beta));
        clamped * T::of(-0.5).mul_add(clamped, error) * T::of(1.0 / self.beta)
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let slope = clamp(x - target, T::of(self.beta)) * T::of(1.0 / self.beta);
        [slope, -slope]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let error = (x - target)?;
        let clamped = error.detach().clamp(-self.beta, self.beta)?;
        ((&error * &clamped)? - clamped.sqr()?.affine(0.5, 0.0)?)?.affine(1.0 / self.beta, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::loss::checks::{REDUCTIONS, assert_elementwise};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Var::new(&[0f32, 1.0, -2.0, 5.0], &Device::Cpu)?;
        let target = Var::new(&[0f32; 4], &Device::Cpu)?;
        let y = smooth_l1(&x, &target, SmoothL1 { beta: 2.0, reduction: Reduction::None })?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0, 0.25, 1.0, 4.0]);
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        assert_eq!(get(&x)?, [0.0, 0.5, -1.0, 1.0]);
        assert_eq!(get(&target)?, [0.0, -0.5, 1.0, -1.0]);
        let y = smooth_l1(&x, &target, SmoothL1 { beta: 0.0, reduction: Reduction::Sum })?;
        assert_eq!(y.to_scalar::<f32>()?, 8.0);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(Smooth { beta: 0.7 }, |shape| Ok([randn(1, shape)?, randn(2, shape)?]))
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let inputs = [randn(3, (3, 4))?, randn(4, (3, 4))?];
            let options = SmoothL1 { beta: 0.7, reduction };
            gradcheck(|x| smooth_l1(&x[0], &x[1], options), &inputs)?;
            gradcheck(|x| smooth_l1(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, options), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn beta_must_not_be_negative() -> Result<()> {
        let x = randn(1, 3)?;
        let options = SmoothL1 { beta: -0.5, ..SmoothL1::default() };
        let error = smooth_l1(&x, &x, options).expect_err("no size").to_string();
        assert!(error.contains("smooth_l1: beta must not be negative, got -0.5"), "{error}");
        Ok(())
    }
}
