//! A formula over parameters: one pass over memory on the CPU, tensor operations elsewhere.

use std::array::from_fn;
use std::iter::once;

use candle_core::{DType, Result, Tensor, Var};
use nn_core::{ops, vectorised};
use rayon::prelude::*;

use super::formula::{Formula, Turn, Whole};

/// Elements that a thread updates at a time: 64 KiB of each tensor.
pub(super) const STRETCH: usize = 16_384;

/// Elements from which on a second thread is worth being woken.
pub(super) const SHARED: usize = 1 << 18;

/// A parameter to update, what is kept for it, and its gradient.
#[derive(Clone, Copy)]
pub(super) struct Update<'a> {
    pub(super) turn: Turn,
    pub(super) var: &'a Var,
    pub(super) kept: &'a [Var],
    pub(super) grad: &'a Tensor,
}

impl<'a> Update<'a> {
    /// The parameter and what is kept for it.
    pub(super) fn state(self) -> impl Iterator<Item = &'a Tensor> {
        once(self.var).chain(self.kept).map(Var::as_tensor)
    }

    /// Writes the new parameter and the new tensors that are kept for it.
    pub(super) fn set(self, new: impl IntoIterator<Item = Tensor>) -> Result<()> {
        once(self.var).chain(self.kept).zip(new).try_for_each(|(var, new)| {
            // Candle refuses to set a variable to itself.
            if var.id() == new.id() { Ok(()) } else { var.set(&new) }
        })
    }

    /// Whether it can be done in place, number by number.
    fn is_plain(self) -> bool {
        let plain = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu();
        plain(self.grad) && self.state().all(|x| plain(x) && x.is_contiguous())
    }
}

/// The numbers of an [`Update`].
pub(super) struct Numbers<'a> {
    pub(super) turn: Turn,
    /// The parameter, and what is kept for it.
    pub(super) state: Vec<&'a mut [f32]>,
    pub(super) grad: &'a [f32],
}

/// Parameters whose tensors are borrowed together.
const GROUP: usize = 32;

/// Lends `f` what can be updated in place, in groups of at most so many elements or of one parameter; what cannot goes
/// to `other`.
pub(super) fn in_place(
    updates: &[Update<'_>],
    most: usize,
    f: impl Fn(Vec<Numbers<'_>>),
    other: impl Fn(Update<'_>) -> Result<()>,
) -> Result<()> {
    let (plain, others): (Vec<Update>, Vec<Update>) = updates.iter().partition(|update| update.is_plain());
    let mut left = &plain[..];
    while !left.is_empty() {
        let mut total = 0;
        let fits = left.iter().take(GROUP).take_while(|update| {
            total += update.grad.elem_count();
            total <= most
        });
        let (group, rest) = left.split_at(fits.count().max(1));
        lend(group, &f)?;
        left = rest;
    }
    others.into_iter().try_for_each(other)
}

fn lend(updates: &[Update<'_>], f: impl Fn(Vec<Numbers<'_>>)) -> Result<()> {
    let state: Vec<&Tensor> = updates.iter().flat_map(|update| update.state()).collect();
    let grads: Vec<&Tensor> = updates.iter().map(|update| update.grad).collect();
    ops::update_in_place(&state, &grads, |state, grads| {
        let mut state = state.iter_mut().map(|tensor| &mut **tensor);
        let numbers = updates.iter().zip(grads).map(|(update, grad)| Numbers {
            turn: update.turn,
            state: state.by_ref().take(1 + update.kept.len()).collect(),
            grad,
        });
        f(numbers.collect());
    })
}

/// Updates parameters, and the `K` tensors kept for each, by their gradients.
pub(super) fn apply<const K: usize, F: Formula<K>>(formula: &F, updates: &[Update<'_>]) -> Result<()> {
    in_place(
        updates,
        usize::MAX,
        |parameters| numbers(formula, parameters),
        |update| update.set(tensors(formula, update)?),
    )
}

/// The new parameter and what is kept for it, from tensor operations.
pub(super) fn tensors<const K: usize, F: Formula<K>>(formula: &F, update: Update<'_>) -> Result<Vec<Tensor>> {
    let kept = from_fn(|k| Whole::new(&update.kept[k]));
    let scales = formula.scales(update.turn);
    let (p, kept) = formula.update(scales, Whole::new(update.var), Whole::new(update.grad), kept);
    once(p).chain(kept).map(Whole::get).collect()
}

/// All stretches of all parameters, on several threads if there are many.
fn numbers<const K: usize, F: Formula<K>>(formula: &F, parameters: Vec<Numbers<'_>>) {
    let total: usize = parameters.iter().map(|parameter| parameter.grad.len()).sum();
    let stretches = parameters.into_iter().flat_map(|Numbers { turn, state, grad }| {
        let scales = formula.scales(turn);
        let mut tensors: Vec<_> = state.into_iter().map(|tensor| tensor.chunks_mut(STRETCH)).collect();
        grad.chunks(STRETCH).map(move |grad| {
            let mut next = |k: usize| tensors[k].next().unwrap_or_default();
            (scales, next(0), from_fn(|k| next(k + 1)), grad)
        })
    });
    let update = |(scales, p, kept, grad)| stretch(formula, scales, p, kept, grad);
    if total < SHARED {
        stretches.for_each(update);
    } else {
        stretches.collect::<Vec<_>>().into_par_iter().for_each(update);
    }
}

fn stretch<const K: usize, F: Formula<K>>(
    formula: &F,
    scales: F::Scales,
    p: &mut [f32],
    kept: [&mut [f32]; K],
    grad: &[f32],
) {
    vectorised(
        #[inline(always)]
        || {
            // Of one length, so that the loop below needs no checks.
            let n = grad.len();
            let (p, kept) = (&mut p[..n], kept.map(|x| &mut x[..n]));
            for i in 0..n {
                let old: [f32; K] = from_fn(|k| kept[k][i]);
                let (new, held) = formula.update(scales, p[i], grad[i], old);
                p[i] = new;
                for k in 0..K {
                    kept[k][i] = held[k];
                }
            }
        },
    );
}
