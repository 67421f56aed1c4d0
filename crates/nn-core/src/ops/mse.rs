//! Squared error, the loss of regression.
//!
//! Why not Candle's: one pass over memory instead of four, and other reductions than the mean.

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;

/// `(x − target)²`, reduced; both arguments get gradients.
///
/// `x` and `target` of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// # Errors
/// If the two differ in shape or type, or are of no float type.
pub fn mse(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply(Mse, x, target, reduction)
}

#[derive(Clone, Copy)]
struct Mse;

impl Elementwise for Mse {
    const NAME: &'static str = "mse";
    const COST: usize = 2;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let error = x - target;
        error * error
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let error = x - target;
        [error + error, -(error + error)]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        (x - target)?.sqr()
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
        let x = Var::new(&[1f32, 2.0, 3.0, 4.0], &Device::Cpu)?;
        let target = Var::new(&[1f32, 0.0, 6.0, 3.0], &Device::Cpu)?;
        let y = mse(&x, &target, Reduction::Mean)?;
        assert_eq!(y.to_scalar::<f32>()?, 3.5); // (0 + 4 + 9 + 1) / 4
        let grads = y.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        assert_eq!(get(&x)?, [0.0, 1.0, -1.5, 0.5]);
        assert_eq!(get(&target)?, [0.0, -1.0, 1.5, -0.5]);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(Mse, |shape| Ok([randn(1, shape)?, randn(2, shape)?]))
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let inputs = [randn(3, (3, 4))?, randn(4, (3, 4))?];
            gradcheck(|x| mse(&x[0], &x[1], reduction), &inputs)?;
            gradcheck(|x| mse(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, reduction), &inputs)?;
        }
        Ok(())
    }
}
