//! Softmax and its logarithm along one axis.
//!
//! Why not Candle's: its fast softmax has no gradient and only knows the last axis; the one with a gradient writes
//! five tensors (docs/candle-gaps.md).

use candle_core::shape::Dim;
use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached2, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::axis::{self, Axis, Block};
use crate::cpu::blank::Blank;
use crate::cpu::{Element, vector};
use crate::graph::Operation;

/// `yᵢ = e^xᵢ / Σⱼ e^xⱼ` along `dim`: positive numbers that sum to 1. Any shape.
///
/// A fibre of −∞ alone gives NaN.
///
/// # Errors
/// If `x` has no axis `dim`, or is not of a float type.
pub fn softmax<D: Dim>(x: &Tensor, dim: D) -> Result<Tensor> {
    let axis = dim.to_index(x.shape(), Softmax::NAME)?;
    if let Some(half) = half_precision(Softmax::NAME, &[x])? {
        return softmax(&widen(x)?, axis)?.to_dtype(half);
    }
    if on_cpu(&[x]) { apply1(Along { axis, f: Softmax }, x) } else { portable_softmax(x, axis) }
}

/// `yᵢ = xᵢ − ln Σⱼ e^xⱼ` along `dim`, the logarithm of [`softmax`] and accurate where that underflows. Any shape.
///
/// A fibre of −∞ alone gives NaN.
///
/// # Errors
/// If `x` has no axis `dim`, or is not of a float type.
pub fn log_softmax<D: Dim>(x: &Tensor, dim: D) -> Result<Tensor> {
    let axis = dim.to_index(x.shape(), LogSoftmax::NAME)?;
    if let Some(half) = half_precision(LogSoftmax::NAME, &[x])? {
        return log_softmax(&widen(x)?, axis)?.to_dtype(half);
    }
    if on_cpu(&[x]) { apply1(Along { axis, f: LogSoftmax }, x) } else { portable_log_softmax(x, axis) }
}

/// A function of the numbers along an axis, and its gradient from the output, for both orders of memory.
trait Fibrewise: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// In words.
    fn operation(self, axis: usize) -> Operation;

    fn fibre<T: Element>(self, x: &[T], y: &mut Blank<'_, T>);

    fn block<T: Element>(self, x: Block<'_, T>, y: &mut [Blank<'_, T>]);

    fn fibre_gradient<T: Element>(self, y: &[T], dy: &[T], dx: &mut Blank<'_, T>);

    fn block_gradient<T: Element>(self, y: Block<'_, T>, dy: Block<'_, T>, dx: &mut [Blank<'_, T>]);
}

/// Elementary operations per element, roughly.
const COST: usize = 16;

#[derive(Clone, Copy)]
struct Along<F> {
    axis: usize,
    f: F,
}

impl<F: Fibrewise> Kernel<1> for Along<F> {
    const NAME: &'static str = F::NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (axis, f) = (Axis::new(x.dims, self.axis), self.f);
        let y = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, y| f.fibre(axis.fibre(&x.data, i), y),
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, y| f.block(axis.block(&x.data, at), y),
            )
        };
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [_]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached2(Gradient(*self), y, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::OutputExactly
    }

    fn operations(&self) -> Vec<Operation> {
        vec![self.f.operation(self.axis)]
    }
}

#[derive(Clone)]
struct Gradient<F>(Along<F>);

impl<F: Fibrewise> Kernel<2> for Gradient<F> {
    const NAME: &'static str = F::NAME;

    fn forward<T: Element>(&self, [y, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let (axis, f) = (Axis::new(y.dims, self.0.axis), self.0.f);
        let dx = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dx| f.fibre_gradient(axis.fibre(&y.data, i), axis.fibre(&dy.data, i), dx),
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dx| f.block_gradient(axis.block(&y.data, at), axis.block(&dy.data, at), dx),
            )
        };
        Ok((dx, y.dims.into()))
    }
}

#[derive(Clone, Copy)]
struct Softmax;

impl Fibrewise for Softmax {
    const NAME: &'static str = "softmax";

    fn operation(self, axis: usize) -> Operation {
        Operation::Softmax(axis)
    }

    #[inline(always)]
    fn fibre<T: Element>(self, x: &[T], y: &mut Blank<'_, T>) {
        let (y, total) = axis::exponentials_of(x, y);
        let scale = T::of(1.0 / total);
        for y in y {
            *y *= scale;
        }
    }

    #[inline(always)]
    fn block<T: Element>(self, x: Block<'_, T>, y: &mut [Blank<'_, T>]) {
        let mut scale = axis::exponentials(x, y);
        for scale in &mut scale[..x.width] {
            *scale = T::ONE / *scale;
        }
        for y in y {
            axis::scale(y.get_mut(), &scale);
        }
    }

    #[inline(always)]
    fn fibre_gradient<T: Element>(self, y: &[T], dy: &[T], dx: &mut Blank<'_, T>) {
        let mean = T::of(vector::sum2(y, dy, |y, dy| y * dy));
        dx.map2(y, dy, |y, dy| y * (dy - mean));
    }

    #[inline(always)]
    fn block_gradient<T: Element>(self, y: Block<'_, T>, dy: Block<'_, T>, dx: &mut [Blank<'_, T>]) {
        let mut mean = axis::per_column(T::ZERO);
        for (y, dy) in y.rows().zip(dy.rows()) {
            for (mean, (&y, &dy)) in mean.iter_mut().zip(y.iter().zip(dy)) {
                *mean = y.mul_add(dy, *mean);
            }
        }
        for (dx, (y_row, dy)) in dx.iter_mut().zip(y.rows().zip(dy.rows())) {
            dx.map3([y_row, dy, &mean[..y.width]], |y, dy, mean| y * (dy - mean));
        }
    }
}

#[derive(Clone, Copy)]
struct LogSoftmax;

impl Fibrewise for LogSoftmax {
    const NAME: &'static str = "log_softmax";

    fn operation(self, axis: usize) -> Operation {
        Operation::LogSoftmax(axis)
    }

    #[inline(always)]
    fn fibre<T: Element>(self, x: &[T], y: &mut Blank<'_, T>) {
        let (top, rest) = axis::log_sum_exp_of(x);
        y.map(x, |x| (x - top) - rest);
    }

    #[inline(always)]
    fn block<T: Element>(self, x: Block<'_, T>, y: &mut [Blank<'_, T>]) {
        let (top, rest) = axis::log_sum_exp(x);
        for (y, row) in y.iter_mut().zip(x.rows()) {
            y.map3([row, &top[..x.width], &rest[..x.width]], |x, top, rest| (x - top) - rest);
        }
    }

    #[inline(always)]
    fn fibre_gradient<T: Element>(self, y: &[T], dy: &[T], dx: &mut Blank<'_, T>) {
        let total = T::of(vector::sum(dy, |dy| dy));
        dx.map2(
            y,
            dy,
            #[inline(always)]
            |y, dy| (-y.exp()).mul_add(total, dy),
        );
    }

    #[inline(always)]
    fn block_gradient<T: Element>(self, y: Block<'_, T>, dy: Block<'_, T>, dx: &mut [Blank<'_, T>]) {
        let mut total = axis::per_column(T::ZERO);
        for dy in dy.rows() {
            axis::fold(&mut total, dy, |total, dy| total + dy);
        }
        for (dx, (y_row, dy)) in dx.iter_mut().zip(y.rows().zip(dy.rows())) {
            dx.map3(
                [y_row, dy, &total[..y.width]],
                #[inline(always)]
                |y, dy, total| (-y.exp()).mul_add(total, dy),
            );
        }
    }
}

/// [`softmax`] from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable_softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone()); // Candle's maximum of nothing is an error.
    }
    let e = x.broadcast_sub(&x.max_keepdim(axis)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(axis)?)
}

/// [`log_softmax`] from differentiable Candle operations.
pub(super) fn portable_log_softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let x = x.broadcast_sub(&x.max_keepdim(axis)?.detach())?;
    x.broadcast_sub(&x.exp()?.sum_keepdim(axis)?.log()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    type Op = fn(&Tensor, usize) -> Result<Tensor>;

    /// Each op and its portable twin.
    const OPS: [(Op, Op); 2] = [(softmax, portable_softmax), (log_softmax, portable_log_softmax)];

    #[test]
    fn worked_example() -> Result<()> {
        // e^ln(k) for k = 1, 2, 5: eighths.
        let x = Tensor::new(&[[1f64.ln(), 2f64.ln(), 5f64.ln()]], &Device::Cpu)?;
        let y = softmax(&x, D::Minus1)?.to_vec2::<f64>()?;
        let z = log_softmax(&x, 1)?.to_vec2::<f64>()?;
        for (i, p) in [0.125, 0.25, 0.625].into_iter().enumerate() {
            assert!((y[0][i] - p).abs() < 1e-15 && (z[0][i] - f64::ln(p)).abs() < 1e-15);
        }
        Ok(())
    }

    #[test]
    fn large_numbers_and_infinities_are_those_of_pytorch() -> Result<()> {
        let inf = f32::INFINITY;
        let x = [
            [1000f32, 0.0, -1000.0],
            [-inf, 0.0, 0.0],
            [-inf, -inf, -inf],
            [inf, 0.0, 0.0],
            [f32::NAN, 0.0, 0.0],
        ];
        let nan = [f32::NAN; 3];
        let softmaxes = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], nan, nan, nan];
        let half = -std::f32::consts::LN_2;
        let logarithms = [[0.0, -1000.0, -2000.0], [-inf, half, half], nan, nan, nan];
        for (op, truth) in [(softmax as Op, softmaxes), (log_softmax, logarithms)] {
            let x = Tensor::new(&x, &Device::Cpu)?;
            // Along the last axis and along the first of the transpose.
            for y in [op(&x, 1)?, op(&x.t()?, 0)?.t()?] {
                assert_eq!(format!("{:?}", y.to_vec2::<f32>()?), format!("{:?}", truth.map(Vec::from)));
            }
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin_along_every_axis() -> Result<()> {
        for (op, portable) in OPS {
            for shape in [
                vec![1],
                vec![7],
                vec![0, 3],
                vec![3, 0],
                vec![2, 3, 5],
                vec![3, 7, 300],
                vec![2, 3, 20, 17],
                vec![2, 5000],
            ] {
                let x = (randn(3, shape.as_slice())? * 3.0)?;
                for axis in 0..shape.len() {
                    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-6)] {
                        let x = x.to_dtype(dtype)?;
                        assert_same(|x| op(&x[0], axis), |x| portable(&x[0], axis), &[x], tolerance)?;
                    }
                }
            }
            let view = |x: &Tensor| x.transpose(0, 2)?.narrow(1, 1, 3);
            for axis in 0..3 {
                let x = randn(4, (3, 5, 4))?;
                assert_same(|x| op(&view(&x[0])?, axis), |x| portable(&view(&x[0])?, axis), &[x], 1e-12)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        for (op, _) in OPS {
            for axis in 0..3 {
                gradcheck(|x| op(&x[0], axis), &[randn(5, (3, 4, 5))?])?;
                gradcheck(|x| op(&x[0].t()?.narrow(1, 1, 3)?, axis), &[randn(6, (2, 3, 5))?])?;
            }
        }
        Ok(())
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let x = (randn(8, (3, 7))? * 3.0)?;
        assert_types("softmax", |x| softmax(&x[0], 1), std::slice::from_ref(&x))?;
        assert_types("log_softmax", |x| log_softmax(&x[0], 0), &[x])
    }

    #[test]
    fn an_axis_that_is_not_there_is_an_error() -> Result<()> {
        let x = randn(1, (2, 3))?;
        let error = softmax(&x, 2).expect_err("rank 2").to_string();
        assert!(error.contains("softmax"), "{error}");
        assert!(log_softmax(&x, 2).is_err());
        Ok(())
    }
}
