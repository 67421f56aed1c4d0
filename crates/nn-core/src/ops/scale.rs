//! A tensor times a number.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())).

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::{Element, vector};
use crate::graph::Operation;

/// `factor · x`. Also half precision.
///
/// # Errors
/// If `x` is of no float type.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    if let Some(half) = half_precision("scale", &[x])? {
        return scale(&widen(x)?, factor)?.to_dtype(half);
    }
    if on_cpu(&[x]) { apply1(Scale(factor), x) } else { x * factor }
}

#[derive(Clone, Copy)]
struct Scale(f64);

impl Kernel<1> for Scale {
    const NAME: &'static str = "scale";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let factor = T::from_f64(self.0);
        Ok((
            vector::map(
                &x.data,
                1,
                #[inline(always)]
                move |x| factor * x,
            ),
            x.dims.into(),
        ))
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(*self, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Scale(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[1f32, -2.0], &Device::Cpu)?;
        assert_eq!(scale(&x, 0.5)?.to_vec1::<f32>()?, [0.5, -1.0]);
        Ok(())
    }

    #[test]
    fn it_is_candles_and_its_gradients_check() -> Result<()> {
        for dtype in [DType::F64, DType::F32] {
            let xs = [randn(1, (7, 5001))?.to_dtype(dtype)?];
            assert_same(|x| scale(&x[0], 0.3), |x| &x[0] * 0.3, &xs, 1e-15)?;
        }
        gradcheck(|x| scale(&x[0].t()?, -1.5)?.sqr(), &[randn(1, (2, 3))?])
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("scale", |x| scale(&x[0], 0.3), &[randn(1, (3, 4))?])
    }
}
