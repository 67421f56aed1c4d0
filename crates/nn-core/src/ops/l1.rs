//! Absolute error, the loss of regression that outliers pull less.
//!
//! Why not Candle's: it has none, and its absolute value has derivative 1 at 0 (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;

/// `|x − target|`, reduced; both arguments get gradients, which are 0 where they are equal.
///
/// `x` and `target` of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// # Errors
/// If the two differ in shape or type, or are of no float type.
pub fn l1(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    apply(L1, x, target, reduction)
}

#[derive(Clone, Copy)]
struct L1;

impl Elementwise for L1 {
    const NAME: &'static str = "l1";
    const COST: usize = 2;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        (x - target).abs()
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let above = if x > target { T::ONE } else { T::ZERO };
        let below = if x < target { T::ONE } else { T::ZERO };
        [above - below, below - above]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        // Not `abs`, whose derivative at 0 is 1.
        let error = (x - target)?;
        error.sign()?.detach() * error
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
        let y = l1(&x, &target, Reduction::Mean)?;
        assert_eq!(y.to_scalar::<f32>()?, 1.5); // (0 + 2 + 3 + 1) / 4
        let grads = y.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        assert_eq!(get(&x)?, [0.0, 0.25, -0.25, 0.25]);
        assert_eq!(get(&target)?, [0.0, -0.25, 0.25, -0.25]);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(L1, |shape| Ok([randn(1, shape)?, randn(2, shape)?]))?;
        // Rounded, many are equal.
        assert_elementwise(L1, |shape| Ok([randn(1, shape)?.round()?, randn(2, shape)?.round()?]))
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let inputs = [randn(3, (3, 4))?, randn(4, (3, 4))?];
            gradcheck(|x| l1(&x[0], &x[1], reduction), &inputs)?;
            gradcheck(|x| l1(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, reduction), &inputs)?;
        }
        Ok(())
    }
}
