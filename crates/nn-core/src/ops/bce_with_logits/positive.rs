//! The kernel with a weight of positive answers, which repeats over the logits.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};

use super::super::kernel::{Kernel, Reads, View, detached3, wants_gradient};
use super::super::reduction::{Reduction, scalar};
use super::{Elementwise, Plain};
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::{CHUNK, sum3, total};

/// Weights are repeated to at least so many before a loop over them, which is then long enough for vectors.
const STRETCH: usize = 1024;

#[derive(Clone, Copy)]
pub(super) struct Positive {
    pub(super) reduction: Reduction,
}

/// `ln(1 + e^−x)`
#[inline(always)]
fn softplus_of_negative<T: Element>(x: T) -> T {
    let negative = if x < T::ZERO { -x } else { T::ZERO };
    negative + (-x.abs()).exp().ln_1p()
}

#[inline(always)]
fn value<T: Element>(x: T, target: T, weight: T) -> T {
    (T::ONE - target) * x + (weight - T::ONE).mul_add(target, T::ONE) * softplus_of_negative(x)
}

#[inline(always)]
fn by_logit<T: Element>(x: T, target: T, weight: T) -> T {
    (T::ONE - target) - (weight - T::ONE).mul_add(target, T::ONE) * (-x).sigmoid()
}

#[inline(always)]
fn by_target<T: Element>(x: T, _: T, weight: T) -> T {
    (weight - T::ONE) * softplus_of_negative(x) - x
}

/// A period of weights, repeated to a stretch.
fn stretch<T: Element>(weight: &[T]) -> Vec<T> {
    weight.repeat(STRETCH.div_ceil(weight.len().max(1)))
}

/// How many elements a task takes: whole stretches.
fn task(stretch: usize) -> usize {
    (CHUNK / stretch.max(1)).max(1) * stretch.max(1)
}

/// `f` of logits, targets and weights, times `dy`: one for each element, or one for all.
fn map<T: Element>(
    [x, target, weight]: [&[T]; 3],
    dy: &[T],
    f: impl Fn(T, T, T) -> T + Sync + Send + Copy,
) -> Vec<T> {
    let weight = stretch(weight);
    by_chunks(x.len(), task(weight.len()), Plain::COST * x.len(), |i, y| {
        vectorised(
            #[inline(always)]
            || {
                y.fill_parts(
                    weight.len().max(1),
                    #[inline(always)]
                    |j, y| {
                        let start = i * task(weight.len()) + j * weight.len();
                        let piece = start..start + y.len();
                        let y =
                            y.map3([&x[piece.clone()], &target[piece.clone()], &weight[..piece.len()]], f);
                        match dy {
                            &[dy] => y.iter_mut().for_each(|y| *y *= dy),
                            dy => y.iter_mut().zip(&dy[piece]).for_each(|(y, &dy)| *y *= dy),
                        }
                    },
                );
            },
        );
    })
}

impl Kernel<3> for Positive {
    const NAME: &'static str = Plain::NAME;

    fn forward<T: Element>(&self, [x, target, weight]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        if self.reduction == Reduction::None {
            return Ok((map([&x.data, &target.data, &weight.data], &[T::ONE], value), x.dims.into()));
        }
        let weight = stretch(&weight.data);
        let (x_data, target) = (&x.data, &target.data);
        let total = total(
            x_data.len(),
            task(weight.len()),
            Plain::COST,
            #[inline(always)]
            |piece: Range<usize>| {
                let (x, target) = (&x_data[piece.clone()], &target[piece]);
                let mut total = 0.0;
                for (x, target) in x.chunks(weight.len()).zip(target.chunks(weight.len())) {
                    total += sum3([x, target, &weight[..x.len()]], value);
                }
                total
            },
        );
        Ok(scalar(total * self.reduction.factor(x_data.len() as f64, x.dims)))
    }

    fn backward(
        &self,
        [x, target, weight]: [&Tensor; 3],
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let period = weight.elem_count();
        let dy = match self.reduction {
            Reduction::None => dy.flatten_all()?,
            reduction => dy.affine(reduction.factor(x.elem_count() as f64, x.dims()), 0.0)?.reshape(1)?,
        };
        let packed = Tensor::cat(&[weight.flatten_all()?, dy], 0)?;
        let of_x = || detached3(Gradient::<0> { period }, x, target, &packed);
        let of_target = || detached3(Gradient::<1> { period }, x, target, &packed);
        Ok([
            wants_gradient(x).then(of_x).transpose()?,
            wants_gradient(target).then(of_target).transpose()?,
            None,
        ])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// The gradient of logits or targets, from them and, in one vector, a period of weights and the terms' gradients.
#[derive(Clone)]
struct Gradient<const ARGUMENT: usize> {
    period: usize,
}

impl<const ARGUMENT: usize> Kernel<3> for Gradient<ARGUMENT> {
    const NAME: &'static str = Plain::NAME;

    fn forward<T: Element>(&self, [x, target, packed]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (weight, dy) = packed.data.split_at(self.period);
        let inputs = [&x.data, &target.data, weight];
        let dx = if ARGUMENT == 0 { map(inputs, dy, by_logit) } else { map(inputs, dy, by_target) };
        Ok((dx, x.dims.into()))
    }
}
