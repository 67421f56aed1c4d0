//! The bridge for functions of one number: each activation is one [`Pointwise`].

use candle_core::{Result, Shape, Tensor};

use super::activation::Activation;
use super::kernel::{Kernel, Reads, View, apply1, detached2, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::{Element, vector};
use crate::graph::Operation;

/// Which tensor a derivative is read from. The output, where it suffices, is the one the next layer keeps too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Input,
    Output,
}

/// A differentiable function of one number.
pub(super) trait Pointwise: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// What [`Pointwise::gradient`] is given.
    const SEEN: Seen;

    /// Elementary operations per element, roughly.
    const COST: usize;

    fn value<T: Element>(self, x: T) -> T;

    /// `f'(x) · dy`, where `at` is `x` or `f(x)` as [`Pointwise::SEEN`] says.
    fn gradient<T: Element>(self, at: T, dy: T) -> T;

    /// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
    fn portable(self, x: &Tensor) -> Result<Tensor>;

    /// The function as a value.
    fn activation(self) -> Activation;
}

/// What takes any [`Pointwise`]: a closure that is generic.
pub(super) trait Visitor {
    type Output;

    fn visit<P: Pointwise>(self, f: P) -> Self::Output;
}

/// `f` of every element.
pub(super) fn apply<P: Pointwise>(f: P, x: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_precision(P::NAME, &[x])? {
        return apply(f, &widen(x)?)?.to_dtype(half);
    }
    if on_cpu(&[x]) { apply1(Map(f), x) } else { f.portable(x) }
}

#[derive(Clone)]
struct Map<P>(P);

impl<P: Pointwise> Kernel<1> for Map<P> {
    const NAME: &'static str = P::NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let f = self.0;
        let y = vector::map(
            &x.data,
            P::COST,
            #[inline(always)]
            |x| f.value(x),
        );
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let at = match P::SEEN {
            Seen::Input => x,
            Seen::Output => y,
        };
        Ok([Some(detached2(Gradient(self.0), at, dy)?)])
    }

    fn reads(&self) -> Reads {
        match P::SEEN {
            Seen::Input => Reads::Arguments,
            Seen::Output => self.0.activation().seen_at_its_end(),
        }
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Activation(self.0.activation())]
    }
}

#[derive(Clone)]
struct Gradient<P>(P);

impl<P: Pointwise> Kernel<2> for Gradient<P> {
    const NAME: &'static str = P::NAME;

    fn forward<T: Element>(&self, [at, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let f = self.0;
        let dx = vector::map2(
            &at.data,
            &dy.data,
            P::COST,
            #[inline(always)]
            |at, dy| f.gradient(at, dy),
        );
        Ok((dx, at.dims.into()))
    }
}
