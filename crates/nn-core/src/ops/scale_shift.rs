//! A scale and a shift for each channel, and an activation: what batch norm is in evaluation.
//!
//! Source: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 2, line 11.
//! Why not Candle's: broadcasting writes a tensor for the product, one for the sum and one for the activation.

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape, Tensor};

use super::activation::Activation;
use super::fused::{BLOCK, Fused};
use super::kernel::{Kernel, Reads, View, apply3, detached3, on_cpu, wants_gradient};
use super::norm::line::{Line, Tilt};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::blank::{Columns, by_columns, by_columns_finding};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::ensure;
use crate::graph::Operation;

/// `f(x · scale + shift)` with a scale and a shift for each channel. Also half precision.
///
/// `[B, C, …]` → `[B, C, …]`, scale and shift `[C]`; `f` is the activation.
///
/// # Errors
/// If `x` has no channels, or scale or shift is not of their number; if types differ or are no float types.
pub fn scale_shift(
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    activation: Option<Activation>,
) -> Result<Tensor> {
    let args = [x, scale, shift];
    ensure!(x.rank() >= 2, "scale_shift: the input must be [B, C, …], got {:?}", x.dims());
    let channels = x.dims()[1];
    for (name, t) in [("scale", scale), ("shift", shift)] {
        ensure!(t.dims() == [channels], "scale_shift: the {name} must be [{channels}], got {:?}", t.dims());
    }
    if let Some(half) = half_precision(ScaleShift::NAME, &args)? {
        return scale_shift(&widen(x)?, [&widen(scale)?, &widen(shift)?], activation)?.to_dtype(half);
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let op = ScaleShift { channels, plane: x.dims()[2..].iter().product(), fused: Fused(activation) };
    if on_cpu(&args) { apply3(op, x, scale, shift) } else { op.portable(args) }
}

#[derive(Clone)]
struct ScaleShift {
    channels: usize,
    plane: usize,
    fused: Fused,
}

impl ScaleShift {
    fn line<T: Element>(&self, scale: &[T], shift: &[T], channel: usize) -> Line<T> {
        Line { mean: T::ZERO, slope: scale[channel], shift: shift[channel], fused: self.fused }
    }

    fn columns(&self) -> usize {
        self.channels * self.plane
    }

    /// Columns of a task: whole planes.
    fn block(&self) -> usize {
        let plane = self.plane.max(1);
        plane * (CHUNK / plane).max(1)
    }

    /// Where a plane of a task starts, and its channel.
    fn plane_of(&self, at: Columns, p: usize) -> (usize, usize) {
        (at.slab * self.columns() + at.start + p * self.plane, at.start / self.plane + p)
    }

    /// Elementary operations in all, roughly.
    fn work(&self, numbers: usize) -> usize {
        (2 + self.fused.cost()) * numbers
    }

    /// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
    fn portable(&self, [x, scale, shift]: [&Tensor; 3]) -> Result<Tensor> {
        let dims: Vec<usize> = (0..x.rank()).map(|axis| if axis == 1 { self.channels } else { 1 }).collect();
        let y = x.broadcast_mul(&scale.reshape(dims.as_slice())?)?;
        self.fused.portable(y.broadcast_add(&shift.reshape(dims)?)?)
    }
}

impl Kernel<3> for ScaleShift {
    const NAME: &'static str = "scale_shift";

    fn forward<T: Element>(&self, [x, scale, shift]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let work = self.work(x.data.len());
        let y = by_columns([x.dims[0], 1, self.columns()], self.block(), work, |at, y| {
            vectorised(
                #[inline(always)]
                || {
                    y[0].fill_parts(
                        self.plane,
                        #[inline(always)]
                        |p, y| {
                            let (start, channel) = self.plane_of(at, p);
                            let line = self.line(&scale.data, &shift.data, channel);
                            line.write(&x.data[start..][..self.plane], y);
                        },
                    );
                },
            );
        });
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x, a, b]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sums = Arc::new(OnceLock::new());
        let gradient = Gradient { op: self.clone(), sums: sums.clone() };
        let dx = detached3(gradient, x, &Tensor::cat(&[a, b], 0)?.detach(), dy)?;
        let of = |which: usize, arg: &Tensor| {
            let sums = sums.get().into_iter().flatten().map(|sum: &[f64; 2]| sum[which]).collect::<Vec<_>>();
            let tensor = || Tensor::from_vec(sums, arg.dims(), arg.device())?.to_dtype(arg.dtype());
            wants_gradient(arg).then(tensor).transpose()
        };
        Ok([wants_gradient(x).then_some(dx), of(1, a)?, of(0, b)?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        self.fused.after(Operation::ScaleShift)
    }
}

/// The gradient by `x`, from `x`, scale and shift in one, and `dy`.
#[derive(Clone)]
struct Gradient {
    op: ScaleShift,
    /// Filled by the forward pass: the gradients by the shift and by the scale of each channel.
    sums: Arc<OnceLock<Vec<[f64; 2]>>>,
}

impl Kernel<3> for Gradient {
    const NAME: &'static str = "scale_shift";

    fn forward<T: Element>(&self, [x, ab, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let op = &self.op;
        let (scale, shift) = ab.data.split_at(op.channels);
        let shape = [x.dims[0], 1, op.columns()];
        let (dx, found) = by_columns_finding(shape, op.block(), 2 * op.work(x.data.len()), |at, dx| {
            let mut found = Vec::with_capacity(dx[0].len() / op.plane);
            let mut room = vec![T::ZERO; BLOCK];
            vectorised(
                #[inline(always)]
                || {
                    dx[0].fill_parts(
                        op.plane,
                        #[inline(always)]
                        |p, dx| {
                            let (start, channel) = op.plane_of(at, p);
                            let [x, dy] = [&x, &dy].map(|x| &x.data[start..][..op.plane]);
                            let line = op.line(scale, shift, channel);
                            found.push(line.sums(x, dy, &mut room));
                            let tilt = Tilt { a: line.slope, b: T::ZERO, c: T::ZERO };
                            line.write_gradient(tilt, [x, dy], dx, &mut room);
                        },
                    );
                },
            );
            found
        });
        let mut total = vec![[0.0; 2]; op.channels];
        for (i, [s, t]) in found.concat().into_iter().enumerate() {
            total[i % op.channels][0] += s;
            total[i % op.channels][1] += t;
        }
        let first = self.sums.set(total).is_ok();
        debug_assert!(first, "a gradient's kernel runs once");
        Ok((dx, x.dims.into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    fn inputs(shape: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
        let x = randn(1, shape)?.to_dtype(dtype)?;
        let [a, b] = [2, 3].map(|seed| randn(seed, shape[1])?.to_dtype(dtype));
        Ok(vec![x, a?, b?])
    }

    fn portable(x: &[Tensor], activation: Option<Activation>) -> Result<Tensor> {
        let plane = x[0].dims()[2..].iter().product();
        let op = ScaleShift { channels: x[0].dims()[1], plane, fused: Fused(activation) };
        op.portable([&x[0], &x[1], &x[2]])
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 2.0], [3.0, 4.0]]], &Device::Cpu)?;
        let [scale, shift] =
            [Tensor::new(&[2f32, -1.0], &Device::Cpu)?, Tensor::new(&[1f32, 3.5], &Device::Cpu)?];
        let y = scale_shift(&x, [&scale, &shift], Some(Activation::Relu))?;
        assert_eq!(y.to_vec3::<f32>()?, [[[3.0, 5.0], [0.5, 0.0]]]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for activation in [None, Some(Activation::Tanh), Some(Activation::LeakyRelu { slope: 0.1 })] {
            for shape in [vec![3, 4], vec![2, 3, 5], vec![2, 3, 7, 9], vec![1, 2, 60, 50]] {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-4)] {
                    let x = inputs(&shape, dtype)?;
                    let ours = |x: &[Tensor]| scale_shift(&x[0], [&x[1], &x[2]], activation);
                    assert_same(ours, |x| portable(x, activation), &x, tolerance)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_stays_nothing() -> Result<()> {
        for shape in [[0, 3, 2], [2, 3, 0]] {
            let x = inputs(&shape, DType::F32)?;
            assert_eq!(scale_shift(&x[0], [&x[1], &x[2]], None)?.dims(), shape);
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        let x = inputs(&[2, 3, 2, 4], DType::F64)?;
        gradcheck(|x| scale_shift(&x[0], [&x[1], &x[2]], Some(Activation::Tanh)), &x)?;
        let view = |x: &Tensor| x.transpose(2, 3)?.narrow(3, 0, 1);
        gradcheck(|x| scale_shift(&view(&x[0])?, [&x[1], &x[2]], None), &x)
    }

    #[test]
    fn types() -> Result<()> {
        let x = inputs(&[2, 3, 4], DType::F64)?;
        assert_types("scale_shift", |x| scale_shift(&x[0], [&x[1], &x[2]], None), &x)
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let [x, a, b] = [randn(1, (2, 3))?, randn(2, 3)?, randn(3, 2)?];
        for (x, ab, message) in [
            (&a, [&a, &a], "must be [B, C, …], got [3]"),
            (&x, [&a, &b], "the shift must be [3], got [2]"),
            (&x, [&b, &a], "the scale must be [3], got [2]"),
        ] {
            let error = scale_shift(x, ab, None).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
