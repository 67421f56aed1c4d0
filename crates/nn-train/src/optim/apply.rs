//! A formula over a parameter: one pass over memory on the CPU, tensor operations elsewhere.

use std::array::from_fn;

use candle_core::{DType, Result, Tensor, Var};
use nn_core::ops;
use pulp::Arch;
use rayon::prelude::*;

use super::formula::{Formula, Turn, Whole};

/// Elements that a thread updates at a time: 64 KiB of each tensor.
pub(super) const STRETCH: usize = 16_384;

/// Updates a parameter and the `K` tensors kept for it by its gradient.
pub(super) fn apply<const K: usize, F: Formula<K>>(
    formula: &F,
    turn: Turn,
    var: &Var,
    kept: &[Var],
    grad: &Tensor,
) -> Result<()> {
    let state: Vec<&Tensor> = std::iter::once(var).chain(kept).map(Var::as_tensor).collect();
    let scales = formula.scales(turn);
    if is_plain(&state, grad) {
        return ops::update_in_place(&state, grad, |state, grad| numbers(formula, scales, state, grad));
    }
    let new = tensors(formula, scales, &state, grad)?;
    for (var, new) in std::iter::once(var).chain(kept).zip(&new) {
        // Candle refuses to set a variable to itself.
        if var.id() != new.id() {
            var.set(new)?;
        }
    }
    Ok(())
}

/// Whether they can be updated in place, number by number.
pub(super) fn is_plain(state: &[&Tensor], grad: &Tensor) -> bool {
    let plain = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu();
    plain(grad) && state.iter().all(|x| plain(x) && x.is_contiguous())
}

/// The new parameter and what is kept for it, from tensor operations.
pub(super) fn tensors<const K: usize, F: Formula<K>>(
    formula: &F,
    scales: F::Scales,
    state: &[&Tensor],
    grad: &Tensor,
) -> Result<Vec<Tensor>> {
    let kept = from_fn(|k| Whole::new(state[k + 1]));
    let (p, kept) = formula.update(scales, Whole::new(state[0]), Whole::new(grad), kept);
    std::iter::once(p).chain(kept).map(Whole::get).collect()
}

/// All stretches of a parameter, on several threads if there are several.
fn numbers<const K: usize, F: Formula<K>>(
    formula: &F,
    scales: F::Scales,
    state: &mut [&mut [f32]],
    grad: &[f32],
) {
    let mut tensors = state.iter_mut().map(|tensor| tensor.chunks_mut(STRETCH)).collect::<Vec<_>>();
    let stretches = grad.chunks(STRETCH).map(|grad| {
        let mut next = |k: usize| tensors[k].next().unwrap_or_default();
        (next(0), from_fn(|k| next(k + 1)), grad)
    });
    let update = |(p, kept, grad)| stretch(formula, scales, p, kept, grad);
    if grad.len() <= STRETCH {
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
    Arch::new().dispatch(
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
