//! The same numbers in another shape.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())), whose cost is far above that of the copy this one makes of what is trained.

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, on_cpu, wants_gradient};
use crate::cpu::Element;
use crate::ensure;
use crate::graph::Operation;

/// `x` in another shape of as many numbers, in row-major order. Any type.
///
/// # Errors
/// If the numbers of elements differ.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let (from, to) = (x.dims(), shape.dims());
    ensure!(
        x.elem_count() == shape.elem_count(),
        "reshape: the number of elements must stay, got {from:?} and {to:?}"
    );
    if wants_gradient(x) && on_cpu(&[x]) { apply1(Reshape(shape), x) } else { x.reshape(shape) }
}

/// `[B, …]` → `[B, …, N]`: the axes from `from` on become one, in row-major order. Any type.
///
/// # Errors
/// If `x` has no axis `from`.
pub fn flatten(x: &Tensor, from: usize) -> Result<Tensor> {
    ensure!(from < x.rank(), "flatten: there must be an axis {from}, got {:?}", x.dims());
    let (kept, joined) = x.dims().split_at(from);
    reshape(x, [kept, &[joined.iter().product()]].concat())
}

#[derive(Clone)]
struct Reshape(Shape);

impl Kernel<1> for Reshape {
    const NAME: &'static str = "reshape";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        Ok((x.data.into_owned(), self.0.clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(dy.reshape(x.shape())?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Reshape(self.0.dims().to_vec())]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn the_numbers_stay_in_their_order() -> Result<()> {
        let x = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((2, 2, 3))?;
        let rows = [[0f32, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]];
        assert_eq!(flatten(&x, 1)?.to_vec2::<f32>()?, rows);
        let trained = Var::from_tensor(&x)?;
        assert_eq!(flatten(&trained, 1)?.to_vec2::<f32>()?, rows);
        assert_eq!(reshape(&trained.transpose(0, 2)?, 12)?.to_vec1::<f32>()?[..3], [0.0, 6.0, 3.0]);
        assert_eq!(reshape(&x.to_dtype(DType::U8)?, (4, 3))?.dims(), [4, 3]);
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        gradcheck(|x| reshape(&x[0].transpose(0, 1)?, (3, 4))?.sqr(), &[randn(1, (2, 6))?])?;
        let x = Var::from_tensor(&randn(2, (2, 3, 2))?)?;
        let grads = crate::backward(&flatten(&x, 1)?)?;
        assert_close(grads.get(&x).expect("trained"), &x.ones_like()?, 0.0, 0.0)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let x = randn(1, (2, 3))?;
        let error = reshape(&x, (4, 2)).expect_err("eight of six").to_string();
        assert!(error.contains("[2, 3]") && error.contains("[4, 2]"), "{error}");
        let error = flatten(&x, 2).expect_err("no such axis").to_string();
        assert!(error.contains("axis 2"), "{error}");
        Ok(())
    }
}
