//! The end of a residual block: what it computed plus what it was given, and an activation.
//!
//! Source: He et al. 2015, arXiv:1512.03385, §3.2.
//! Why not Candle's: the sum is written to memory and read again.

use candle_core::{Result, Shape, Tensor};

use super::activation::Activation;
use super::fused::{BLOCK, Fused};
use super::kernel::{Kernel, Reads, View, apply2, detached2, detached3, on_cpu, wants_gradient};
use super::pointwise::Seen;
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::ensure;
use crate::graph::Operation;

/// `f(a + b)` for tensors of one shape, `f` being the activation. Also half precision.
///
/// # Errors
/// If the shapes differ; if types differ or are no float types.
pub fn add_activate(a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
    let (dims, others) = (a.dims(), b.dims());
    ensure!(dims == others, "add_activate: both must have one shape, got {dims:?} and {others:?}");
    if let Some(half) = half_precision(Sum::NAME, &[a, b])? {
        return add_activate(&widen(a)?, &widen(b)?, activation)?.to_dtype(half);
    }
    let f = Fused(Some(activation));
    if on_cpu(&[a, b]) { apply2(Sum(f), a, b) } else { f.portable((a + b)?) }
}

/// `a + b` of one shape and type.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if on_cpu(&[a, b]) { apply2(Sum(Fused(None)), a, b) } else { a + b }
}

/// `a + b` of two gradients, outside the graph.
pub(crate) fn sum_of(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if on_cpu(&[a, b]) { detached2(Sum(Fused(None)), a, b) } else { Ok((a + b)?.detach()) }
}

#[derive(Clone, Copy)]
struct Sum(Fused);

impl Kernel<2> for Sum {
    const NAME: &'static str = "add_activate";

    fn forward<T: Element>(&self, [a, b]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let work = (1 + self.0.cost()) * a.data.len();
        let y = by_chunks(a.data.len(), CHUNK, work, |i, y| {
            let [a, b] = [&a, &b].map(|x| &x.data[CHUNK * i..][..y.len()]);
            vectorised(
                #[inline(always)]
                || {
                    y.fill_parts(
                        BLOCK,
                        #[inline(always)]
                        |j, y| {
                            let [a, b] = [a, b].map(|x| &x[BLOCK * j..][..y.len()]);
                            self.0.apply(y.map2(a, b, |a, b| a + b));
                        },
                    );
                },
            );
        });
        Ok((y, a.dims.into()))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dz = match self.0.seen() {
            None => dy.clone(),
            Some(Seen::Output) => detached2(FromOutput(self.0), y, dy)?,
            Some(_) => detached3(FromInputs(self.0), a, b, dy)?,
        };
        Ok([wants_gradient(a).then(|| dz.clone()), wants_gradient(b).then_some(dz)])
    }

    fn reads(&self) -> Reads {
        match self.0.seen() {
            None => Reads::Nothing,
            Some(Seen::Output) => self.0.0.map_or(Reads::Nothing, Activation::seen_at_its_end),
            Some(_) => Reads::Arguments,
        }
    }

    fn operations(&self) -> Vec<Operation> {
        self.0.after(Operation::Add)
    }
}

/// `f'(z) · dy`, where the derivative can be read from `y = f(z)`.
#[derive(Clone, Copy)]
struct FromOutput(Fused);

impl Kernel<2> for FromOutput {
    const NAME: &'static str = Sum::NAME;

    fn forward<T: Element>(&self, [y, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        Ok((self.0.gradient_from_output(&y.data, &dy.data), y.dims.into()))
    }
}

/// `f'(a + b) · dy`
#[derive(Clone, Copy)]
struct FromInputs(Fused);

impl Kernel<3> for FromInputs {
    const NAME: &'static str = Sum::NAME;

    fn forward<T: Element>(&self, [a, b, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let work = 2 * (1 + self.0.cost()) * a.data.len();
        let dz = by_chunks(a.data.len(), CHUNK, work, |i, dz| {
            let [a, b, dy] = [&a, &b, &dy].map(|x| &x.data[CHUNK * i..][..dz.len()]);
            vectorised(
                #[inline(always)]
                || {
                    dz.fill_parts(
                        BLOCK,
                        #[inline(always)]
                        |j, dz| {
                            let [a, b, dy] = [a, b, dy].map(|x| &x[BLOCK * j..][..dz.len()]);
                            self.0.gradient(dz.map2(a, b, |a, b| a + b), dy);
                        },
                    );
                },
            );
        });
        Ok((dz, a.dims.into()))
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
        let [a, b] =
            [Tensor::new(&[1f32, -2.0, 3.0], &Device::Cpu)?, Tensor::new(&[1f32, 1.0, -3.0], &Device::Cpu)?];
        assert_eq!(add_activate(&a, &b, Activation::Relu)?.to_vec1::<f32>()?, [2.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for activation in Activation::ALL {
            for shape in [vec![], vec![0, 3], vec![5], vec![3, 50, 67], vec![40_000]] {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    let x = [
                        randn(1, shape.as_slice())?.to_dtype(dtype)?,
                        randn(2, shape.as_slice())?.to_dtype(dtype)?,
                    ];
                    let twin = |x: &[Tensor]| Fused(Some(activation)).portable((&x[0] + &x[1])?);
                    assert_same(|x| add_activate(&x[0], &x[1], activation), twin, &x, tolerance)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        for activation in [Activation::Tanh, Activation::LeakyRelu { slope: 0.1 }] {
            gradcheck(|x| add_activate(&x[0], &x[1], activation), &[randn(1, (3, 4))?, randn(2, (3, 4))?])?;
            let views = |x: &[Tensor]| add_activate(&x[0].t()?.narrow(0, 1, 2)?, &x[1], activation);
            gradcheck(views, &[randn(1, (3, 4))?, randn(2, (2, 3))?])?;
            gradcheck(|x| add_activate(&x[0], &x[0], activation), &[randn(1, (3, 4))?])?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        let f = |x: &[Tensor]| add_activate(&x[0], &x[1], Activation::Tanh);
        assert_types("add_activate", f, &[randn(1, (3, 4))?, randn(2, (3, 4))?])
    }

    #[test]
    fn different_shapes_are_an_error() -> Result<()> {
        let error =
            add_activate(&randn(1, (2, 3))?, &randn(2, 3)?, Activation::Relu).expect_err("shapes differ");
        assert!(error.to_string().contains("both must have one shape, got [2, 3] and [3]"), "{error}");
        Ok(())
    }
}
