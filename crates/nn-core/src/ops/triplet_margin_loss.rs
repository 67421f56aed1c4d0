//! A loss of triples: an anchor should be nearer to the positive than to the negative, by a margin.
//!
//! Source: Balntas et al. 2016, "Learning local feature descriptors with triplets and shallow convolutional neural
//! networks", BMVC, §2 (the swap is in its §3.1).
//!
//! Why not Candle's: it has none; from its operations a step takes some thirty passes over memory.

mod order;
#[cfg(test)]
mod tests;

use candle_core::{D, DType, Result, Shape, Tensor};

use self::order::{Order, Power};
use super::activation::relu;
use super::cosine_similarity::root;
use super::kernel::{Kernel, Reads, View, apply3, detached3, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use crate::cpu::Element;
use crate::cpu::axis::Axis;
use crate::cpu::blank::by_columns;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::{CHUNK, total2};
use crate::ensure;

/// Options of [`triplet_margin_loss`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletMarginLoss {
    /// By how much the negative should be farther away than the positive.
    pub margin: f64,
    /// The order of the norm: 1, 2, ∞ or any positive number.
    pub p: f64,
    /// Added to each difference, so that a distance of nothing has a direction.
    pub eps: f64,
    /// Whether the negative's distance from the positive counts where it is less than that from the anchor.
    pub swap: bool,
    /// What is made of the terms.
    pub reduction: Reduction,
}

impl Default for TripletMarginLoss {
    fn default() -> Self {
        Self { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

/// `max(margin + d(a, p) − d(a, n), 0)` with `d(u, v) = ‖u − v + ε‖_p` along the last axis, reduced; all three tensors
/// get gradients.
///
/// Anchors, positives and negatives `[…, D]` of one shape → a scalar, or `[…]` with [`Reduction::None`].
///
/// With `swap`, the lesser of `d(a, n)` and `d(p, n)` counts; equal ones share the gradient, as equal largest
/// differences do under `p = ∞`.
///
/// # Errors
/// If the three differ in shape or type, are of no float type or have no axis, or `p` is not positive.
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: TripletMarginLoss,
) -> Result<Tensor> {
    if let Some(half) = half_precision(Triplets::NAME, &[anchor, positive, negative])? {
        let [a, p, n] = [widen(anchor)?, widen(positive)?, widen(negative)?];
        return triplet_margin_loss(&a, &p, &n, options)?.to_dtype(half);
    }
    let (a, p, n) = (anchor.dims(), positive.dims(), negative.dims());
    ensure!(
        a == p && a == n,
        "triplet_margin_loss: anchor, positive and negative must have one shape, got {a:?}, {p:?} and {n:?}"
    );
    ensure!(!a.is_empty(), "triplet_margin_loss: vectors need an axis, got shape []");
    ensure!(options.p > 0.0, "triplet_margin_loss: p must be positive, got {}", options.p);
    if on_cpu(&[anchor, positive, negative]) {
        apply3(Triplets(options), anchor, positive, negative)
    } else {
        portable([anchor, positive, negative], options)
    }
}

/// Elementary operations per element, roughly.
const COST: usize = 8;

#[derive(Clone, Copy)]
struct Triplets(TripletMarginLoss);

impl Triplets {
    /// Of anchor and positive, anchor and negative, positive and negative; the last is infinite if it does not count.
    #[inline(always)]
    fn distances<T: Element>(self, order: impl Order, [a, p, n]: [&[T]; 3]) -> [T; 3] {
        let eps = T::of(self.0.eps);
        let swapped = if self.0.swap { order.distance(p, n, eps) } else { -T::NEG_INFINITY };
        [order.distance(a, p, eps), order.distance(a, n, eps), swapped]
    }

    /// What is above 0 of the margin.
    #[inline(always)]
    fn excess<T: Element>(self, [positive, negative, swapped]: [T; 3]) -> T {
        T::of(self.0.margin) + positive - if swapped < negative { swapped } else { negative }
    }

    fn terms<T: Element>(self, order: impl Order, axis: Axis, xs: [&[T]; 3]) -> Vec<T> {
        axis.per_fibre(
            3 * COST,
            #[inline(always)]
            |i| {
                let excess = self.excess(self.distances(order, xs.map(|x| axis.fibre(x, i))));
                if excess < T::ZERO { T::ZERO } else { excess }
            },
        )
    }

    /// The gradients of all three tensors, one after the other, where `dy(i)` is that of term `i`.
    fn gradients<T: Element>(
        self,
        order: impl Order,
        axis: Axis,
        xs: [&[T]; 3],
        dy: impl Fn(usize) -> T + Sync + Send,
    ) -> Vec<T> {
        let len = axis.rows * axis.slabs;
        let many = (CHUNK / axis.rows.max(1)).max(1);
        by_columns([1, 3, len], many * axis.rows.max(1), 3 * COST * len, |at, rows| {
            vectorised(
                #[inline(always)]
                || {
                    let first = at.start / axis.rows.max(1);
                    let triple = |j: usize| xs.map(|x| axis.fibre(x, first + j));
                    let count = rows[0].len() / axis.rows.max(1);
                    let slopes: Vec<_> =
                        (0..count).map(|j| self.slopes(order, triple(j), dy(first + j))).collect();
                    let [a, p, n] = rows else { unreachable!("three rows were asked for") };
                    let width = axis.rows.max(1);
                    a.fill_parts(
                        width,
                        #[inline(always)]
                        |j, da| {
                            let [u, v, _] = slopes[j];
                            da.map3(
                                triple(j),
                                #[inline(always)]
                                |a, p, n| u.along(order, a - p) + v.along(order, a - n),
                            );
                        },
                    );
                    p.fill_parts(
                        width,
                        #[inline(always)]
                        |j, dp| {
                            let [u, _, w] = slopes[j];
                            dp.map3(
                                triple(j),
                                #[inline(always)]
                                |a, p, n| w.along(order, p - n) - u.along(order, a - p),
                            );
                        },
                    );
                    n.fill_parts(
                        width,
                        #[inline(always)]
                        |j, dn| {
                            let [_, v, w] = slopes[j];
                            dn.map3(
                                triple(j),
                                #[inline(always)]
                                |a, p, n| -v.along(order, a - n) - w.along(order, p - n),
                            );
                        },
                    );
                },
            );
        })
    }

    /// The gradients of the three distances.
    #[inline(always)]
    fn slopes<T: Element>(self, order: impl Order, [a, p, n]: [&[T]; 3], dy: T) -> [Slope<T>; 3] {
        let distances = self.distances(order, [a, p, n]);
        let [positive, negative, swapped] = distances;
        let dy = if self.excess(distances) > T::ZERO { dy } else { T::ZERO };
        let share = if swapped == negative { T::of(0.5) } else { T::ONE };
        let far = if swapped < negative { T::ZERO } else { -share * dy };
        let near = if swapped > negative { T::ZERO } else { -share * dy };
        let eps = T::of(self.0.eps);
        [(a, p, positive, dy), (a, n, negative, far), (p, n, swapped, near)].map(
            #[inline(always)]
            |(u, v, size, dy)| {
                let scale = if dy == T::ZERO { T::ZERO } else { dy * order.scale(u, v, eps, size) };
                Slope { scale, size, eps }
            },
        )
    }
}

/// The gradient of a distance, but for the direction of each difference.
#[derive(Clone, Copy)]
struct Slope<T> {
    scale: T,
    size: T,
    eps: T,
}

impl<T: Element> Slope<T> {
    #[inline(always)]
    fn along(self, order: impl Order, difference: T) -> T {
        self.scale * order.direction(difference + self.eps, self.size)
    }
}

impl Kernel<3> for Triplets {
    const NAME: &'static str = "triplet_margin_loss";

    fn forward<T: Element>(&self, [a, p, n]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (places, axis) = (&a.dims[..a.dims.len() - 1], Axis::new(a.dims, a.dims.len() - 1));
        let xs = [&a.data, &p.data, &n.data].map(|x| &**x);
        let terms = match self.0.p {
            1.0 => self.terms(order::One, axis, xs),
            2.0 => self.terms(order::Two, axis, xs),
            f64::INFINITY => self.terms(order::Infinity, axis, xs),
            p => self.terms(Power(p), axis, xs),
        };
        if self.0.reduction == Reduction::None {
            return Ok((terms, places.into()));
        }
        let factor = self.0.reduction.factor(terms.len() as f64, places);
        Ok(scalar(factor * total2(&terms, &terms, 1, |y, _| y)))
    }

    fn backward(&self, [a, p, n]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let places = &a.dims()[..a.rank() - 1];
        let factor = self.0.reduction.factor(places.iter().product::<usize>() as f64, places);
        let dy = dy.affine(factor, 0.0)?.broadcast_as(places)?.flatten_all()?;
        // A number a triple, so it fits into the op: its three places for tensors are taken.
        let dy = dy.to_dtype(DType::F64)?.to_vec1()?;
        let all = detached3(Gradients { triplets: *self, dy }, a, p, n)?;
        let of = |x: &Tensor, i: usize| wants_gradient(x).then(|| all.get(i)).transpose();
        Ok([of(a, 0)?, of(p, 1)?, of(n, 2)?])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// The gradients of all three tensors, `[3, …, D]`, in one pass.
#[derive(Clone)]
struct Gradients {
    triplets: Triplets,
    /// Of each term.
    dy: Vec<f64>,
}

impl Kernel<3> for Gradients {
    const NAME: &'static str = Triplets::NAME;

    fn forward<T: Element>(&self, [a, p, n]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(a.dims, a.dims.len() - 1);
        let xs = [&a.data, &p.data, &n.data].map(|x| &**x);
        let (triplets, dy) = (self.triplets, |i: usize| T::of(self.dy[i]));
        let all = match triplets.0.p {
            1.0 => triplets.gradients(order::One, axis, xs, dy),
            2.0 => triplets.gradients(order::Two, axis, xs, dy),
            f64::INFINITY => triplets.gradients(order::Infinity, axis, xs, dy),
            p => triplets.gradients(Power(p), axis, xs, dy),
        };
        Ok((all, [&[3], a.dims].concat().into()))
    }
}

/// The loss from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable([a, p, n]: [&Tensor; 3], options: TripletMarginLoss) -> Result<Tensor> {
    let TripletMarginLoss { margin, p: order, eps, swap, reduction } = options;
    let distance = |u: &Tensor, v: &Tensor| -> Result<Tensor> {
        let e = ((u - v)? + eps)?;
        if order == 2.0 {
            return root(&e.sqr()?.sum(D::Minus1)?);
        }
        let size = (e.sign()?.detach() * e)?;
        if order == 1.0 || size.elem_count() == 0 {
            return size.sum(D::Minus1);
        }
        if order == f64::INFINITY {
            let largest = size.broadcast_eq(&size.max_keepdim(D::Minus1)?)?.to_dtype(size.dtype())?;
            return (&size * &largest)?.sum(D::Minus1)? / largest.sum(D::Minus1)?;
        }
        size.powf(order)?.sum(D::Minus1)?.powf(1.0 / order)
    };
    let (near, far) = (distance(a, p)?, distance(a, n)?);
    let far = if swap { far.minimum(&distance(p, n)?)? } else { far };
    reduction.of(&relu(&((near - far)? + margin)?)?)
}
