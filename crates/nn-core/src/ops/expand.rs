//! A tensor repeated along axes of one place, and along new ones.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())).

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, Strided, View, apply1, on_cpu, wants_gradient};
use crate::cpu::Element;
use crate::ensure;
use crate::graph::Operation;

/// `x` in a larger shape: axes are aligned at the end, and those of size 1, or missing in front, are repeated. Any type.
///
/// # Errors
/// If an axis is neither 1 nor what `shape` has there, or `shape` has fewer axes.
pub fn expand(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let (from, to) = (x.dims(), shape.dims());
    let fits =
        from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&n, &m)| n == 1 || n == m);
    ensure!(fits, "expand: axes must be 1 or as in the larger shape, got {from:?} and {to:?}");
    if from == to {
        return Ok(x.clone());
    }
    if wants_gradient(x) && on_cpu(&[x]) { apply1(Expand(shape), x) } else { x.broadcast_as(shape) }
}

#[derive(Clone)]
struct Expand(Shape);

impl Kernel<1> for Expand {
    const NAME: &'static str = "expand";

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        unreachable!("reads its argument where it lies")
    }

    fn forward_strided<T: Element>(&self, [x]: [Strided<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        x.seen_by(|x| x.broadcast_as(self.0.clone()))
    }

    /// The sum of what all copies got.
    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let new = dy.rank() - x.rank();
        let repeated = |&axis: &usize| axis < new || x.dims()[axis - new] != dy.dims()[axis];
        let axes: Vec<usize> = (0..dy.rank()).filter(repeated).collect();
        Ok([Some(dy.detach().sum_keepdim(axes)?.reshape(x.shape())?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Expand(self.0.dims().to_vec())]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?;
        for x in [x.clone(), Var::from_tensor(&x)?.into_inner()] {
            assert_eq!(expand(&x, (2, 2))?.to_vec2::<f32>()?, [[1.0, 1.0], [2.0, 2.0]]);
            assert_eq!(expand(&x, (2, 2, 1))?.flatten_all()?.to_vec1::<f32>()?, [1.0, 2.0, 1.0, 2.0]);
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for (from, to) in [
            (vec![1, 3], vec![4, 3]),
            (vec![3, 1], vec![2, 3, 4]),
            (vec![1, 1], vec![2, 3]),
            (vec![3], vec![2, 3]),
        ] {
            gradcheck(|x| expand(&x[0], to.as_slice())?.sqr(), &[randn(1, from.as_slice())?])?;
        }
        let x = Var::from_tensor(&randn(2, (1, 3))?)?;
        let grads = crate::backward(&expand(&x, (5, 3))?)?;
        assert_close(grads.get(&x).expect("trained"), &(x.ones_like()? * 5.0)?, 0.0, 0.0)
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        for (x, shape) in [(randn(1, (2, 3))?, vec![4, 3]), (randn(2, (2, 3))?, vec![3])] {
            let error = expand(&x, shape.as_slice()).expect_err("not larger").to_string();
            assert!(error.contains("got [2, 3] and ["), "{error}");
        }
        Ok(())
    }
}
