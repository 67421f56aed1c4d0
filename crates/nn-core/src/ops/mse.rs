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
/// If the two differ in shape or type.
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
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::assert_same;
    use crate::testing::{gradcheck, randn};

    const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

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
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for shape in [vec![], vec![0], vec![1], vec![3, 5], vec![40_000]] {
            let inputs = [randn(1, shape.as_slice())?, randn(2, shape.as_slice())?];
            for reduction in REDUCTIONS {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    if shape == [0] && reduction == Reduction::Mean {
                        continue;
                    }
                    let inputs = [inputs[0].to_dtype(dtype)?, inputs[1].to_dtype(dtype)?];
                    assert_same(
                        |x| mse(&x[0], &x[1], reduction),
                        |x| reduction.of(&Mse.portable(&x[0], &x[1])?),
                        &inputs,
                        tolerance,
                    )?;
                }
            }
        }
        Ok(())
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

    #[test]
    fn no_terms() -> Result<()> {
        let x = Tensor::zeros((0, 2), DType::F32, &Device::Cpu)?;
        assert!(mse(&x, &x, Reduction::Mean)?.to_scalar::<f32>()?.is_nan());
        assert_eq!(mse(&x, &x, Reduction::Sum)?.to_scalar::<f32>()?, 0.0);
        assert_eq!(mse(&x, &x, Reduction::None)?.dims(), [0, 2]);
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let zeros = |n: usize, dtype| Tensor::zeros(n, dtype, &Device::Cpu);
        let x = zeros(2, DType::F32)?;
        for (target, message) in [
            (zeros(3, DType::F32)?, "mse: input and target must have one shape, got [2] and [3]"),
            (zeros(2, DType::F64)?, "mse: input and target must have one type, got F32 and F64"),
        ] {
            let error = mse(&x, &target, Reduction::Mean).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
