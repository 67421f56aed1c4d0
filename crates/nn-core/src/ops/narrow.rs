//! A part of a tensor along one axis.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())), whose cost is far above that of the copy this one makes of what is trained.

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, Strided, View, apply1, on_cpu, wants_gradient};
use super::pad::pad;
use crate::cpu::Element;
use crate::ensure;
use crate::graph::Operation;

/// The `len` places of `axis` from `start` on: `[…, n, …]` → `[…, len, …]`. Any type.
///
/// # Errors
/// If `x` has no axis `axis`, or that has not so many places.
pub fn narrow(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let dims = x.dims();
    ensure!(axis < dims.len(), "narrow: there must be an axis {axis}, got {dims:?}");
    let whole = dims[axis];
    ensure!(
        start.checked_add(len).is_some_and(|end| end <= whole),
        "narrow: {len} places from {start} on must lie within axis {axis}, got {dims:?}"
    );
    if len < whole && wants_gradient(x) && on_cpu(&[x]) {
        apply1(Narrow { axis, start, len }, x)
    } else {
        x.narrow(axis, start, len)
    }
}

/// The place `index` of `axis`, which goes: `[…, n, …]` → `[…, …]`. Any type.
///
/// # Errors
/// As [`narrow`].
pub fn select(x: &Tensor, axis: usize, index: usize) -> Result<Tensor> {
    let part = narrow(x, axis, index, 1)?;
    let mut dims = part.dims().to_vec();
    dims.remove(axis);
    super::reshape(&part, dims)
}

#[derive(Clone, Copy)]
struct Narrow {
    axis: usize,
    start: usize,
    len: usize,
}

impl Kernel<1> for Narrow {
    const NAME: &'static str = "narrow";

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        unreachable!("reads its argument where it lies")
    }

    fn forward_strided<T: Element>(&self, [x]: [Strided<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        x.seen_by(|x| x.narrow(self.axis, self.start, self.len))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let after = x.dims()[self.axis] - self.start - self.len;
        Ok([Some(pad(&dy.detach(), self.axis, [self.start, after])?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let Self { axis, start, len } = *self;
        vec![Operation::Narrow { axis, start, len }]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((2, 2, 3))?;
        for x in [x.clone(), Var::from_tensor(&x)?.into_inner()] {
            assert_eq!(
                narrow(&x, 2, 1, 2)?.flatten_to(1)?.to_vec2::<f32>()?,
                [[1.0, 2.0], [4.0, 5.0], [7.0, 8.0], [10.0, 11.0]]
            );
            assert_eq!(select(&x, 1, 1)?.to_vec2::<f32>()?, [[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]]);
        }
        assert_eq!(narrow(&x.to_dtype(DType::U8)?, 0, 0, 1)?.dims(), [1, 2, 3]);
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for axis in 0..3 {
            gradcheck(|x| narrow(&x[0].transpose(0, 1)?, axis, 1, 2)?.sqr(), &[randn(1, (3, 4, 3))?])?;
        }
        gradcheck(|x| select(&x[0], 1, 2)?.sqr(), &[randn(2, (2, 3, 2))?])?;
        let x = Var::from_tensor(&randn(3, (2, 3))?)?;
        let grads = crate::backward(&narrow(&x, 1, 2, 1)?)?;
        let expected = Tensor::new(&[[0f64, 0.0, 1.0], [0.0, 0.0, 1.0]], &Device::Cpu)?;
        assert_close(grads.get(&x).expect("trained"), &expected, 0.0, 0.0)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let x = randn(1, (2, 3))?;
        for (result, message) in [
            (narrow(&x, 2, 0, 1), "an axis 2, got [2, 3]"),
            (narrow(&x, 1, 2, 2), "2 places from 2 on must lie within axis 1, got [2, 3]"),
            (narrow(&x, 1, 2, usize::MAX), "must lie within axis 1"),
            (select(&x, 0, 2), "must lie within axis 0"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
