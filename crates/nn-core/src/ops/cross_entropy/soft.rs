//! The kernel for targets that are probabilities.

use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor};

use super::super::kernel::{Kernel, Reads, View, detached2, detached3, wants_gradient};
use super::super::labels::places;
use super::super::reduction::Reduction;
use super::super::saved::Saved;
use super::{COST, NAME, reduced};
use crate::cpu::axis::{self, Axis, Block, PerColumn};
use crate::cpu::blank::{Blank, Columns};
use crate::cpu::{Element, vector};

/// For each fibre: its term of the loss; its largest logit m; `Σ e^(x − m)`; the sum of its target with all weights.
const FACTS: usize = 4;

#[derive(Clone)]
pub(super) struct Soft {
    /// What each class counts.
    weight: Option<Arc<Vec<f64>>>,
    smoothing: f64,
    reduction: Reduction,
    /// What the terms' sum is multiplied by.
    factor: f64,
    facts: Saved<Tensor>,
}

/// The target with all weights is `slope · target + shift`, with one of each for a class; 1 and 0 if there is nothing.
struct Weights<T> {
    slope: Option<Vec<T>>,
    shift: Option<Vec<T>>,
}

impl Soft {
    pub(super) fn new(
        weight: Option<Vec<f64>>,
        smoothing: f64,
        reduction: Reduction,
        [x, targets]: [&Tensor; 2],
    ) -> Self {
        let places = places(x.dims());
        let factor = reduction.factor(places.iter().product::<usize>() as f64, &places);
        let facts = Saved::for_gradients_of(&[x, targets]);
        Self { weight: weight.map(Arc::new), smoothing, reduction, factor, facts }
    }

    fn weights<T: Element>(&self, classes: usize) -> Weights<T> {
        let of = |part: f64| -> Vec<T> {
            (0..classes).map(|c| T::of(part * self.weight.as_ref().map_or(1.0, |weight| weight[c]))).collect()
        };
        let smooth = self.smoothing > 0.0;
        Weights {
            slope: (smooth || self.weight.is_some()).then(|| of(1.0 - self.smoothing)),
            shift: smooth.then(|| of(self.smoothing / classes as f64)),
        }
    }

    /// One of `facts` for every fibre, times what the fibre's term is multiplied by in the loss.
    fn packed(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let Some(facts) = self.facts.get() else { unreachable!("the forward pass kept them") };
        let [slabs, columns] = Axis::new(x.dims(), 1).grid();
        let dy = match self.reduction {
            Reduction::None => dy.reshape((slabs, 1, columns))?,
            _ => dy.affine(self.factor, 0.0)?.broadcast_as((slabs, 1, columns))?,
        };
        Tensor::cat(&[facts.reshape((slabs, FACTS, columns))?, dy], 1)
    }
}

#[inline(always)]
fn fibre<T: Element>(x: &[T], q: &[T], weights: &Weights<T>) -> [T; FACTS] {
    let (top, total) = axis::exponential_sum_of(x);
    let rest = total.ln();
    let (mut term, mut sum) = match &weights.slope {
        None => (vector::sum2(x, q, |x, q| q * (rest - (x - top))), vector::sum(q, |q| q)),
        Some(slope) => (
            vector::sum3([x, q, slope], |x, q, slope| slope * q * (rest - (x - top))),
            vector::sum2(q, slope, |q, slope| slope * q),
        ),
    };
    if let Some(shift) = &weights.shift {
        term += vector::sum2(x, shift, |x, shift| shift * (rest - (x - top)));
        sum += vector::sum(shift, |shift| shift);
    }
    [T::of(term), top, total, T::of(sum)]
}

#[inline(always)]
fn block<T: Element>(x: Block<'_, T>, q: Block<'_, T>, weights: &Weights<T>) -> [PerColumn<T>; FACTS] {
    let (top, total) = axis::exponential_sum(x);
    let (mut rest, mut term, mut sum) = (total, axis::per_column(T::ZERO), axis::per_column(T::ZERO));
    for rest in &mut rest[..x.width] {
        *rest = rest.ln();
    }
    for (c, (x, q)) in x.rows().zip(q.rows()).enumerate() {
        let [slope, shift] = weights.of(c);
        for (((term, sum), (&x, &q)), (&top, &rest)) in
            term.iter_mut().zip(&mut sum).zip(x.iter().zip(q)).zip(top.iter().zip(&rest))
        {
            let q = slope.mul_add(q, shift);
            *term += q * (rest - (x - top));
            *sum += q;
        }
    }
    [term, top, total, sum]
}

impl<T: Element> Weights<T> {
    /// Slope and shift of class `c`.
    #[inline(always)]
    fn of(&self, c: usize) -> [T; 2] {
        [
            self.slope.as_ref().map_or(T::ONE, |slope| slope[c]),
            self.shift.as_ref().map_or(T::ZERO, |shift| shift[c]),
        ]
    }
}

impl Kernel<2> for Soft {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, q]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let weights = self.weights(axis.rows);
        let facts = axis.facts(
            COST,
            #[inline(always)]
            |i| fibre(axis.fibre(&x.data, i), axis.fibre(&q.data, i), &weights),
            #[inline(always)]
            |at| block(axis.block(&x.data, at), axis.block(&q.data, at), &weights),
        );
        let y = reduced::<T, FACTS>(&facts, x.dims, self.reduction, self.factor);
        if self.facts.is_wanted() {
            let count = facts.len();
            self.facts.keep(Tensor::from_vec(facts, count, &Device::Cpu)?);
        }
        Ok(y)
    }

    fn backward(&self, [x, q]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let packed = self.packed(x, dy)?;
        let dx = wants_gradient(x).then(|| detached3(OfLogits(self.clone()), x, q, &packed)).transpose()?;
        let dq = wants_gradient(q).then(|| detached2(OfTargets(self.clone()), x, &packed)).transpose()?;
        Ok([dx, dq])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// Facts and the weight of a fibre's term in the loss.
const PACKED: usize = FACTS + 1;

/// `dx = (softmax(x) · Σ q − q) · dy` for each fibre, where `q` is its target with all weights.
#[derive(Clone)]
struct OfLogits(Soft);

impl Kernel<3> for OfLogits {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, q, packed]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let weights = &self.0.weights::<T>(axis.rows);
        let fact = |n, at| axis.fact::<_, PACKED>(&packed.data, n, at);
        let dx = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dx| {
                    let at = Columns { slab: 0, start: i };
                    let [top, total, sum, dy] = [1, 2, 3, 4].map(|n| fact(n, at)[0]);
                    logits_of_fibre(
                        axis.fibre(&x.data, i),
                        axis.fibre(&q.data, i),
                        [top, sum * dy / total, dy],
                        weights,
                        dx,
                    );
                },
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dx| {
                    let (x, q) = (axis.block(&x.data, at), axis.block(&q.data, at));
                    let [top, total, sum, dy] = [1, 2, 3, 4].map(|n| &fact(n, at)[..x.width]);
                    let mut scale = axis::per_column(T::ZERO);
                    for j in 0..x.width {
                        scale[j] = sum[j] * dy[j] / total[j];
                    }
                    logits_of_block(x, q, [top, &scale[..x.width], dy], weights, dx);
                },
            )
        };
        Ok((dx, x.dims.into()))
    }
}

#[inline(always)]
fn logits_of_fibre<T: Element>(
    x: &[T],
    q: &[T],
    [top, scale, dy]: [T; 3],
    weights: &Weights<T>,
    dx: &mut Blank<'_, T>,
) {
    let dx = match &weights.slope {
        None => dx.map2(
            x,
            q,
            #[inline(always)]
            |x, q| (x - top).exp_nonpositive() * scale - q * dy,
        ),
        Some(slope) => dx.map3(
            [x, q, slope],
            #[inline(always)]
            |x, q, slope| (x - top).exp_nonpositive() * scale - slope * q * dy,
        ),
    };
    for (dx, &shift) in dx.iter_mut().zip(weights.shift.iter().flatten()) {
        *dx -= shift * dy;
    }
}

#[inline(always)]
fn logits_of_block<T: Element>(
    x: Block<'_, T>,
    q: Block<'_, T>,
    [top, scale, dy]: [&[T]; 3],
    weights: &Weights<T>,
    dx: &mut [Blank<'_, T>],
) {
    for (c, (dx, (x, q))) in dx.iter_mut().zip(x.rows().zip(q.rows())).enumerate() {
        let dx = dx.map3(
            [x, top, scale],
            #[inline(always)]
            |x, top, scale| (x - top).exp_nonpositive() * scale,
        );
        let [slope, shift] = weights.of(c);
        for (dx, (&q, &dy)) in dx.iter_mut().zip(q.iter().zip(dy)) {
            *dx -= slope.mul_add(q, shift) * dy;
        }
    }
}

/// `dq = −w · ln softmax(x) · dy` for each fibre, where `w` is what the target is multiplied by.
#[derive(Clone)]
struct OfTargets(Soft);

impl Kernel<2> for OfTargets {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, packed]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let weights = self.0.weights::<T>(axis.rows);
        let fact = |n, at| axis.fact::<_, PACKED>(&packed.data, n, at);
        let dq = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dq| {
                    let at = Columns { slab: 0, start: i };
                    let [top, total, dy] = [1, 2, 4].map(|n| fact(n, at)[0]);
                    let (x, rest) = (axis.fibre(&x.data, i), total.ln());
                    match &weights.slope {
                        None => dq.map(x, |x| dy * (rest - (x - top))),
                        Some(slope) => dq.map2(x, slope, |x, slope| dy * slope * (rest - (x - top))),
                    };
                },
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dq| {
                    let x = axis.block(&x.data, at);
                    let [top, total, dy] = [1, 2, 4].map(|n| &fact(n, at)[..x.width]);
                    let mut rest = axis::per_column(T::ZERO);
                    for (rest, &total) in rest.iter_mut().zip(total) {
                        *rest = total.ln();
                    }
                    for (c, (dq, row)) in dq.iter_mut().zip(x.rows()).enumerate() {
                        let [slope, _] = weights.of(c);
                        let dq =
                            dq.map3([row, top, &rest[..x.width]], |x, top, rest| slope * (rest - (x - top)));
                        for (dq, &dy) in dq.iter_mut().zip(dy) {
                            *dq *= dy;
                        }
                    }
                },
            )
        };
        Ok((dq, x.dims.into()))
    }
}
