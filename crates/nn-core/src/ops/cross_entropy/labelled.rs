//! The kernel for targets that are labels.

use candle_core::{Device, Result, Shape, Tensor};

use super::super::kernel::{Kernel, Reads, View, detached3};
use super::super::labels::{Labels, places};
use super::super::reduction::Reduction;
use super::super::saved::Saved;
use super::{COST, NAME, reduced};
use crate::cpu::axis::{self, Axis, Block, PerColumn};
use crate::cpu::blank::{Blank, Columns};
use crate::cpu::{Element, vector};

/// For each fibre: its term of the loss; its largest logit m; `1 / Σ e^(x − m)`, or 0 if it is ignored.
const FACTS: usize = 3;

#[derive(Clone)]
pub(super) struct Labelled {
    labels: Labels,
    smoothing: f64,
    reduction: Reduction,
    /// What the terms' sum is multiplied by.
    factor: f64,
    facts: Saved<Tensor>,
}

impl Labelled {
    pub(super) fn new(labels: Labels, smoothing: f64, reduction: Reduction, x: &Tensor) -> Self {
        let factor = reduction.factor(labels.total(), &places(x.dims()));
        Self { labels, smoothing, reduction, factor, facts: Saved::for_gradients_of(&[x]) }
    }

    /// What targets have of their weight.
    fn shares<T: Element>(&self, classes: usize) -> Shares<'_, T> {
        let (own, part) = (1.0 - self.smoothing, self.smoothing / classes as f64);
        let weighted = self.labels.is_weighted().then_some(own);
        let of = |part: f64| (0..classes).map(|c| T::of(part * self.labels.weight_of(c))).collect::<Vec<T>>();
        Shares {
            labels: &self.labels,
            own: T::of(own),
            weighted: weighted.map(of),
            spread: (part > 0.0).then(|| of(part)),
        }
    }
}

/// What each target has of its weight: the label itself, and with smoothing every class.
struct Shares<'a, T> {
    labels: &'a Labels,
    /// A label's, if all classes weigh 1.
    own: T,
    /// A label's for each class, if they weigh something else.
    weighted: Option<Vec<T>>,
    /// Every class's in every target.
    spread: Option<Vec<T>>,
}

impl<T: Element> Shares<'_, T> {
    /// The class at place `i` and its share; nothing if the place is ignored.
    #[inline(always)]
    fn at(&self, i: usize) -> Option<(usize, T)> {
        self.labels
            .class(i)
            .map(|class| (class, self.weighted.as_ref().map_or(self.own, |shares| shares[class])))
    }

    #[inline(always)]
    fn fibre(&self, i: usize, x: &[T]) -> [T; FACTS] {
        let Some((class, weight)) = self.at(i) else { return [T::ZERO; FACTS] };
        let (top, total) = axis::exponential_sum_of(x);
        let rest = total.ln();
        let mut term = weight * (rest - (x[class] - top));
        if let Some(spread) = &self.spread {
            term += T::of(vector::sum2(
                x,
                spread,
                #[inline(always)]
                |x, part| part * (rest - (x - top)),
            ));
        }
        [term, top, T::ONE / total]
    }

    #[inline(always)]
    fn block(&self, first: usize, x: Block<'_, T>) -> [PerColumn<T>; FACTS] {
        let (top, mut scale) = axis::exponential_sum(x);
        let (mut rest, mut term) = (scale, axis::per_column(T::ZERO));
        for (rest, scale) in rest[..x.width].iter_mut().zip(&mut scale) {
            *rest = rest.ln();
            *scale = T::ONE / *scale;
        }
        for (row, &part) in x.rows().zip(self.spread.iter().flatten()) {
            for (term, (&x, (&top, &rest))) in term.iter_mut().zip(row.iter().zip(top.iter().zip(&rest))) {
                *term += part * (rest - (x - top));
            }
        }
        for j in 0..x.width {
            match self.at(first + j) {
                Some((class, weight)) => term[j] += weight * (rest[j] - (x.at(class, j) - top[j])),
                None => (term[j], scale[j]) = (T::ZERO, T::ZERO),
            }
        }
        [term, top, scale]
    }
}

impl Kernel<1> for Labelled {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let shares = self.shares(axis.rows);
        let facts = axis.facts(
            COST,
            #[inline(always)]
            |i| shares.fibre(i, axis.fibre(&x.data, i)),
            #[inline(always)]
            |at| shares.block(axis.column(at), axis.block(&x.data, at)),
        );
        let y = reduced::<T, FACTS>(&facts, x.dims, self.reduction, self.factor);
        if self.facts.is_wanted() {
            let count = facts.len();
            self.facts.keep(Tensor::from_vec(facts, count, &Device::Cpu)?);
        }
        Ok(y)
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let Some(facts) = self.facts.get() else { unreachable!("the forward pass kept them") };
        Ok([Some(detached3(Gradient(self.clone()), x, facts, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// `dx = (softmax(x) · Σ q − q) · dy` for each fibre, where `q` is its target with all weights.
#[derive(Clone)]
struct Gradient(Labelled);

impl Gradient {
    /// What the term of fibre `i` is multiplied by.
    #[inline(always)]
    fn dy<T: Element>(&self, dy: &[T], i: usize) -> T {
        match self.0.reduction {
            Reduction::None => dy[i],
            _ => dy[0] * T::of(self.0.factor),
        }
    }

    #[inline(always)]
    fn fibre<T: Element>(
        x: &[T],
        [top, scale, dy]: [T; 3],
        spread: Option<&[T]>,
        (class, weight): (usize, T),
        dx: &mut Blank<'_, T>,
    ) {
        let dx = match spread {
            None => dx.map(
                x,
                #[inline(always)]
                |x| (x - top).exp_nonpositive() * scale,
            ),
            Some(spread) => dx.map2(
                x,
                spread,
                #[inline(always)]
                |x, part| (x - top).exp_nonpositive() * scale - part * dy,
            ),
        };
        dx[class] -= weight * dy;
    }

    #[inline(always)]
    fn block<T: Element>(
        x: Block<'_, T>,
        [top, scale, dy]: [&[T]; 3],
        spread: Option<&[T]>,
        dx: &mut [Blank<'_, T>],
    ) {
        for (dx, row) in dx.iter_mut().zip(x.rows()) {
            dx.map3(
                [row, top, scale],
                #[inline(always)]
                |x, top, scale| (x - top).exp_nonpositive() * scale,
            );
        }
        for (dx, &part) in dx.iter_mut().zip(spread.unwrap_or_default()) {
            for (dx, &dy) in dx.get_mut().iter_mut().zip(dy) {
                *dx -= part * dy;
            }
        }
    }
}

impl Kernel<3> for Gradient {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, facts, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (axis, loss) = (Axis::new(x.dims, 1), &self.0);
        let shares = loss.shares::<T>(axis.rows);
        let (spread, shared) = (shares.spread.as_deref(), shares.spread.iter().flatten().copied().sum::<T>());
        let fact = |n, at| axis.fact::<_, FACTS>(&facts.data, n, at);
        let dx = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dx| {
                    let Some((class, weight)) = shares.at(i) else {
                        dx.fill(|_| T::ZERO);
                        return;
                    };
                    let at = Columns { slab: 0, start: i };
                    let dy = self.dy(&dy.data, i);
                    let scale = fact(2, at)[0] * (weight + shared) * dy;
                    Self::fibre(
                        axis.fibre(&x.data, i),
                        [fact(1, at)[0], scale, dy],
                        spread,
                        (class, weight),
                        dx,
                    );
                },
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dx| {
                    let (x, first) = (axis.block(&x.data, at), axis.column(at));
                    let mut scale = axis::per_column(T::ZERO);
                    let mut weights = axis::per_column(T::ZERO);
                    for j in 0..x.width {
                        if let Some((_, weight)) = shares.at(first + j) {
                            weights[j] = self.dy(&dy.data, first + j);
                            scale[j] = fact(2, at)[j] * (weight + shared) * weights[j];
                        }
                    }
                    let [top, scale, weights] = [fact(1, at), &scale, &weights].map(|row| &row[..x.width]);
                    Self::block(x, [top, scale, weights], spread, dx);
                    for j in 0..x.width {
                        if let Some((class, weight)) = shares.at(first + j) {
                            dx[class].get_mut()[j] -= weight * weights[j];
                        }
                    }
                },
            )
        };
        Ok((dx, x.dims.into()))
    }
}
