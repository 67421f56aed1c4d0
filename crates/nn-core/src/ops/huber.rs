//! Huber's loss: squared near 0, absolute beyond.
//!
//! Source: Huber 1964, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, §4.
//!
//! Why not Candle's: one pass over memory instead of ten, and other reductions than the mean.

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;
use crate::ensure;

/// Options of [`huber`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Huber {
    /// The size of an error from which on it counts linearly, with this slope; positive.
    pub delta: f64,
    /// What is made of the terms.
    pub reduction: Reduction,
}

impl Default for Huber {
    fn default() -> Self {
        Self { delta: 1.0, reduction: Reduction::Mean }
    }
}

/// `e² / 2` where `e = |x − target| ≤ δ`, else `δ (e − δ / 2)`, reduced; both arguments get gradients.
///
/// `x` and `target` of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// # Errors
/// If the two differ in shape or type, are of no float type, or δ is not positive.
pub fn huber(x: &Tensor, target: &Tensor, options: Huber) -> Result<Tensor> {
    let Huber { delta, reduction } = options;
    ensure!(delta > 0.0, "huber: delta must be positive, got {delta}");
    apply(Clamped { delta }, x, target, reduction)
}

/// With the error clamped to `±δ`, `c`: the loss is `c (e − c / 2)` and its derivative `c`.
#[derive(Clone, Copy)]
struct Clamped {
    delta: f64,
}

/// `x` between `-limit` and `limit`; NaN stays.
#[inline(always)]
pub(super) fn clamp<T: Element>(x: T, limit: T) -> T {
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
}

impl Elementwise for Clamped {
    const NAME: &'static str = "huber";
    const COST: usize = 4;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let error = x - target;
        let clamped = clamp(error, T::of(self.delta));
        clamped * T::of(-0.5).mul_add(clamped, error)
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let clamped = clamp(x - target, T::of(self.delta));
        [clamped, -clamped]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let error = (x - target)?;
        let clamped = error.detach().clamp(-self.delta, self.delta)?;
        (&error * &clamped)? - clamped.sqr()?.affine(0.5, 0.0)?
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
        let y = huber(&x, &target, Huber { delta: 2.0, reduction: Reduction::None })?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0, 0.5, 2.0, 8.0]);
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        assert_eq!(get(&x)?, [0.0, 1.0, -2.0, 2.0]);
        assert_eq!(get(&target)?, [0.0, -1.0, 2.0, -2.0]);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(Clamped { delta: 0.7 }, |shape| Ok([randn(1, shape)?, randn(2, shape)?]))
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let (inputs, options) = ([randn(3, (3, 4))?, randn(4, (3, 4))?], Huber { delta: 0.7, reduction });
            gradcheck(|x| huber(&x[0], &x[1], options), &inputs)?;
            gradcheck(|x| huber(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, options), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn delta_must_be_positive() -> Result<()> {
        let x = randn(1, 3)?;
        for delta in [0.0, -1.0, f64::NAN] {
            let error = huber(&x, &x, Huber { delta, ..Huber::default() }).expect_err("no size").to_string();
            assert!(error.contains("huber: delta must be positive, got"), "{error}");
        }
        Ok(())
    }
}
