//! Zeros around a tensor along one axis.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())).

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, on_cpu, wants_gradient};
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::ensure;
use crate::graph::Operation;

/// `x` with `before` zeros in front of it and `after` behind it along `axis`:
/// `[…, n, …]` → `[…, before + n + after, …]`. Any type.
///
/// # Errors
/// If `x` has no axis `axis`.
pub fn pad(x: &Tensor, axis: usize, [before, after]: [usize; 2]) -> Result<Tensor> {
    ensure!(axis < x.rank(), "pad: there must be an axis {axis}, got {:?}", x.dims());
    if wants_gradient(x) && on_cpu(&[x]) {
        apply1(Pad { axis, before, after }, x)
    } else {
        x.pad_with_zeros(axis, before, after)
    }
}

#[derive(Clone, Copy)]
struct Pad {
    axis: usize,
    before: usize,
    after: usize,
}

impl Kernel<1> for Pad {
    const NAME: &'static str = "pad";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let mut dims = x.dims.to_vec();
        dims[self.axis] += self.before + self.after;
        let inner: usize = dims[self.axis + 1..].iter().product();
        let [before, after] = [self.before, self.after].map(|n| vec![T::ZERO; n * inner]);
        let row = x.dims[self.axis] * inner;
        let count = dims.iter().product();
        let y = by_chunks(count, before.len() + row + after.len(), count, |i, y| {
            y.join([&before, &x.data[i * row..][..row], &after].into_iter());
        });
        Ok((y, dims.into()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(dy.narrow(self.axis, self.before, x.dims()[self.axis])?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let Self { axis, before, after } = *self;
        vec![Operation::Pad { axis, before, after }]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let rows = [[0f32, 1.0, 2.0, 0.0, 0.0], [0.0, 3.0, 4.0, 0.0, 0.0]];
        for x in [x.clone(), Var::from_tensor(&x)?.into_inner()] {
            assert_eq!(pad(&x, 1, [1, 2])?.to_vec2::<f32>()?, rows);
        }
        Ok(())
    }

    #[test]
    fn it_is_candles_and_its_gradients_check() -> Result<()> {
        for axis in 0..3 {
            for around in [[0, 0], [2, 0], [1, 3]] {
                let x = Var::from_tensor(&randn(1, (2, 3, 4))?)?;
                let expected = x.pad_with_zeros(axis, around[0], around[1])?;
                assert_close(&pad(&x, axis, around)?, &expected, 0.0, 0.0)?;
                gradcheck(|x| pad(&x[0].transpose(0, 2)?, axis, around)?.sqr(), &[randn(2, (2, 3, 2))?])?;
            }
        }
        Ok(())
    }

    #[test]
    fn an_axis_that_is_not_there_is_named() -> Result<()> {
        let error = pad(&randn(1, (2, 3))?, 2, [1, 1]).expect_err("no such axis").to_string();
        assert!(error.contains("axis 2, got [2, 3]"), "{error}");
        Ok(())
    }
}
