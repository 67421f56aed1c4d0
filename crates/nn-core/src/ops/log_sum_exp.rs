//! The logarithm of a sum of exponentials along one axis: a maximum with a smooth bend.
//!
//! Why not Candle's: its `log_sum_exp` takes five passes over memory, and of an axis of −∞ alone it makes NaN.

use candle_core::shape::Dim;
use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached3, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::axis::{self, Axis};

const NAME: &str = "log_sum_exp";

/// `y = ln Σᵢ e^xᵢ` along `dim`, without overflow; −∞ where all of them are. Its gradient is the softmax.
///
/// Any shape → the same without the axis.
///
/// # Errors
/// If `x` has no axis `dim`, or is not of a float type.
pub fn log_sum_exp<D: Dim>(x: &Tensor, dim: D) -> Result<Tensor> {
    let axis = dim.to_index(x.shape(), NAME)?;
    if let Some(half) = half_precision(NAME, &[x])? {
        return log_sum_exp(&widen(x)?, axis)?.to_dtype(half);
    }
    if on_cpu(&[x]) { apply1(LogSumExp { axis }, x) } else { portable(x, axis) }
}

/// Elementary operations per element, roughly.
const COST: usize = 16;

#[derive(Clone, Copy)]
struct LogSumExp {
    axis: usize,
}

impl LogSumExp {
    /// The shape without the axis.
    fn reduced(self, dims: &[usize]) -> Shape {
        let mut dims = dims.to_vec();
        dims.remove(self.axis);
        dims.into()
    }
}

/// `top + rest` of [`axis::log_sum_exp`]; where `top` is infinite, `top`.
#[inline(always)]
fn joined<T: Element>(top: T, rest: T) -> T {
    if top == T::NEG_INFINITY || top == -T::NEG_INFINITY { top } else { top + rest }
}

impl Kernel<1> for LogSumExp {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, self.axis);
        let y = axis.facts(
            COST,
            #[inline(always)]
            |i| {
                let (top, rest) = axis::log_sum_exp_of(axis.fibre(&x.data, i));
                [joined(top, rest)]
            },
            #[inline(always)]
            |at| {
                let x = axis.block(&x.data, at);
                let (top, mut y) = axis::log_sum_exp(x);
                for (y, &top) in y[..x.width].iter_mut().zip(&top) {
                    *y = joined(top, *y);
                }
                [y]
            },
        );
        Ok((y, self.reduced(x.dims)))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached3(Gradient(*self), x, y, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// `dy · e^(x − y)`; all of an axis at −∞ weigh nothing.
#[inline(always)]
fn weight<T: Element>(x: T, y: T, dy: T) -> T {
    if x == T::NEG_INFINITY { T::ZERO } else { dy * (x - y).exp() }
}

/// `dx = dy · e^(x − y)`
#[derive(Clone)]
struct Gradient(LogSumExp);

impl Kernel<3> for Gradient {
    const NAME: &'static str = "log_sum_exp-dx";

    fn forward<T: Element>(&self, [x, y, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, self.0.axis);
        let dx = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dx| {
                    let (y, dy) = (y.data[i], dy.data[i]);
                    dx.map(
                        axis.fibre(&x.data, i),
                        #[inline(always)]
                        |x| weight(x, y, dy),
                    );
                },
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dx| {
                    let (block, first) = (axis.block(&x.data, at), axis.column(at));
                    let [y, dy] = [&y.data, &dy.data].map(|t| &t[first..][..block.width]);
                    for (dx, x) in dx.iter_mut().zip(block.rows()) {
                        dx.map3(
                            [x, y, dy],
                            #[inline(always)]
                            |x, y, dy| weight(x, y, dy),
                        );
                    }
                },
            )
        };
        Ok((dx, x.dims.into()))
    }
}

/// The same from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, axis: usize) -> Result<Tensor> {
    let top = x.max_keepdim(axis)?.detach();
    // An infinite maximum would be taken from itself.
    let top = top.clamp(-f64::from(f32::MAX), f64::from(f32::MAX))?;
    let sum = x.broadcast_sub(&top)?.exp()?.sum(axis)?;
    sum.log()? + top.squeeze(axis)?
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn a_worked_example_and_infinities() -> Result<()> {
        let inf = f32::INFINITY;
        let x = [[1f32.ln(), 2f32.ln()], [1000.0, 1000.0], [-inf, -inf], [inf, 0.0], [-inf, 3.0]];
        let truth = [3f32.ln(), 1000.0 + 2f32.ln(), -inf, inf, 3.0];
        let x = Tensor::new(&x, &Device::Cpu)?;
        for y in [log_sum_exp(&x, 1)?, log_sum_exp(&x.t()?, 0)?] {
            for (y, truth) in y.to_vec1::<f32>()?.into_iter().zip(truth) {
                assert!(y == truth || (y - truth).abs() < 1e-6, "{y} is not {truth}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin_along_every_axis() -> Result<()> {
        for shape in [vec![7], vec![3, 1], vec![2, 3, 5], vec![3, 7, 300], vec![2, 5000]] {
            let x = (randn(3, shape.as_slice())? * 3.0)?;
            for axis in 0..shape.len() {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-6)] {
                    let x = x.to_dtype(dtype)?;
                    assert_same(|x| log_sum_exp(&x[0], axis), |x| portable(&x[0], axis), &[x], tolerance)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        for axis in 0..3 {
            gradcheck(|x| log_sum_exp(&x[0], axis), &[randn(5, (3, 4, 5))?])?;
            gradcheck(|x| log_sum_exp(&x[0].t()?.narrow(1, 1, 3)?, axis), &[randn(6, (2, 3, 5))?])?;
        }
        assert_types(NAME, |x| log_sum_exp(&x[0], 1), &[randn(7, (3, 4))?])?;
        assert!(log_sum_exp(&randn(1, (2, 3))?, 2).is_err());
        Ok(())
    }
}
