//! Two axes of a tensor exchanged.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())), whose cost is far above that of the copy this one makes of what is trained.

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, Strided, View, apply1, on_cpu, wants_gradient};
use crate::cpu::Element;
use crate::ensure;
use crate::graph::Operation;

/// Axes `a` and `b` in each other's place: `[…, n, …, m, …]` → `[…, m, …, n, …]`. Any type.
///
/// # Errors
/// If `x` has not both axes.
pub fn transpose(x: &Tensor, a: usize, b: usize) -> Result<Tensor> {
    ensure!(a.max(b) < x.rank(), "transpose: there must be axes {a} and {b}, got {:?}", x.dims());
    if a != b && wants_gradient(x) && on_cpu(&[x]) { apply1(Transpose(a, b), x) } else { x.transpose(a, b) }
}

#[derive(Clone, Copy)]
struct Transpose(usize, usize);

impl Kernel<1> for Transpose {
    const NAME: &'static str = "transpose";

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        unreachable!("reads its argument where it lies")
    }

    fn forward_strided<T: Element>(&self, [x]: [Strided<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        x.seen_by(|x| x.transpose(self.0, self.1))
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(dy.transpose(self.0, self.1)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Transpose(self.0, self.1)]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
        for x in [x.clone(), Var::from_tensor(&x)?.into_inner()] {
            assert_eq!(transpose(&x, 0, 1)?.to_vec2::<f32>()?, [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]);
        }
        assert_eq!(transpose(&x.to_dtype(DType::U8)?, 1, 0)?.dims(), [3, 2]);
        Ok(())
    }

    #[test]
    fn it_is_candles_and_its_gradients_check() -> Result<()> {
        for [a, b] in [[0, 1], [1, 2], [2, 0], [1, 1]] {
            let x = Var::from_tensor(&randn(1, (3, 40, 50))?)?;
            assert_close(&transpose(&x, a, b)?, &x.transpose(a, b)?, 0.0, 0.0)?;
            gradcheck(|x| transpose(&x[0].narrow(1, 1, 2)?, a, b)?.sqr(), &[randn(2, (2, 3, 2))?])?;
        }
        let x = Var::from_tensor(&randn(3, (2, 3))?)?;
        let grads = crate::backward(&transpose(&x, 0, 1)?)?;
        assert_close(grads.get(&x).expect("trained"), &x.ones_like()?, 0.0, 0.0)
    }

    #[test]
    fn an_axis_that_is_not_there_is_named() -> Result<()> {
        let error = transpose(&randn(1, (2, 3))?, 0, 2).expect_err("no such axis").to_string();
        assert!(error.contains("axes 0 and 2, got [2, 3]"), "{error}");
        Ok(())
    }
}
