//! More than three arguments and more than one result for a custom op, which Candle gives three and one.
//!
//! Joining tensors and taking them apart again would cost each of them several passes through memory, forward and
//! backward. Here an op reads further arguments and writes further results by itself, and what is tied into the graph
//! is next to nothing: a knot, one zero that depends on further arguments, and ends, results that depend on the first
//! one. Gradients take the way the graph gives and are handed over beside it.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, apply2, with_views};
use crate::cpu::Element;

/// What one op hands to another.
pub(crate) struct Handover<S>(Arc<Mutex<Option<S>>>);

// Not derived: that would ask for `S: Clone` and `S: Default`.
impl<S> Clone for Handover<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Default for Handover<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S> Handover<S> {
    pub(crate) fn put(&self, value: S) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(crate) fn take(&self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Where an op that takes a knot as an argument leaves the gradients of what is tied into it, before it returns one for
/// the knot.
pub(crate) type Tied = Handover<[Option<Tensor>; 2]>;

/// One zero that depends on two tensors.
pub(crate) fn tie(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tied)> {
    let gradients = Tied::default();
    Ok((apply2(Knot(gradients.clone()), a, b)?, gradients))
}

/// One zero that depends on all of at least two tensors.
#[derive(Clone)]
pub(crate) struct Bundle(Vec<Tied>);

impl Bundle {
    /// The bundle and its zero.
    pub(crate) fn of(xs: &[&Tensor]) -> Result<(Tensor, Self)> {
        let [others @ .., a, b] = xs else { unreachable!("a bundle is of at least two") };
        let (mut zero, gradients) = tie(a, b)?;
        let mut bundle = vec![gradients];
        for x in others.iter().rev() {
            let (next, gradients) = tie(x, &zero)?;
            zero = next;
            bundle.push(gradients);
        }
        bundle.reverse();
        Ok((zero, Self(bundle)))
    }

    /// Leaves the gradients of the tensors, in their order, where the knots find them.
    pub(crate) fn put(&self, mut gradients: Vec<Option<Tensor>>, zero: &Tensor) {
        let mut next = gradients.pop();
        for tied in self.0.iter().rev() {
            let (first, second) = (gradients.pop().flatten(), next.take());
            tied.put([first, second.unwrap_or_else(|| Some(zero.clone()))]);
        }
    }
}

#[derive(Clone)]
struct Knot(Tied);

impl Kernel<2> for Knot {
    const NAME: &'static str = "knot";

    fn forward<T: Element>(&self, _: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        Ok((vec![T::ZERO], 1.into()))
    }

    fn backward(&self, _: [&Tensor; 2], _: &Tensor, _: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let Some(gradients) = self.0.take() else { unreachable!("left by the op that took the knot") };
        Ok(gradients)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}

/// A further result of the op that gave `y`, with what it handed over; its gradient comes back the same way, before
/// that of `y`.
pub(crate) fn end(y: &Tensor, value: Tensor, gradient: Handover<Tensor>) -> Result<Tensor> {
    apply1(End { value, gradient }, y)
}

#[derive(Clone)]
struct End {
    value: Tensor,
    gradient: Handover<Tensor>,
}

impl Kernel<1> for End {
    const NAME: &'static str = "end";

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        Ok((
            with_views([&self.value], |[value]: [View<'_, T>; 1]| value.data.to_vec())?,
            self.value.shape().clone(),
        ))
    }

    fn backward(&self, [y]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        self.gradient.put(dy.clone());
        Ok([Some(y.zeros_like()?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}
