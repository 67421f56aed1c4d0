//! A layer as one differentiable op.

use std::any::Any;
use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::backward::Gradients;
use super::cell::Cell;
use super::forward::{self, Kept};
use super::plan::{self, Plan};
use super::portable::portable;
use super::{Direction, RecurrentOptions, RecurrentWeights};
use crate::cpu::Element;
use crate::ops::kernel::{Kernel, View, apply3, detached, on_cpu, wants_gradient};
use crate::ops::precision::{half_precision, widen};
use crate::ops::saved::Saved;

/// All outputs and the final state of a layer of such cells.
pub(super) fn run<C: Cell<G>, const G: usize, const S: usize>(
    cell: C,
    x: &Tensor,
    w: &RecurrentWeights,
    state: [Option<&Tensor>; S],
    options: RecurrentOptions<'_>,
) -> Result<(Tensor, [Tensor; S])> {
    const { assert!(S == C::STATES) };
    let biases = [w.b_ih.as_ref(), w.b_hh.as_ref()];
    let given: Vec<&Tensor> =
        [x, &w.w_ih, &w.w_hh].into_iter().chain(biases.into_iter().chain(state).flatten()).collect();
    if let Some(half) = half_precision(C::NAME, &given)? {
        let wide = |x: Option<&Tensor>| x.map(widen).transpose();
        let [b_ih, b_hh] = biases.map(wide);
        let w = RecurrentWeights { w_ih: widen(&w.w_ih)?, w_hh: widen(&w.w_hh)?, b_ih: b_ih?, b_hh: b_hh? };
        let state = state.into_iter().map(wide).collect::<Result<Vec<_>>>()?;
        let state: [Option<&Tensor>; S] = std::array::from_fn(|i| state[i].as_ref());
        let (y, state) = run(cell, &widen(x)?, &w, state, options)?;
        let rounded = state.iter().map(|state| state.to_dtype(half)).collect::<Result<Vec<_>>>()?;
        return Ok((y.to_dtype(half)?, exactly(rounded)));
    }
    let plan = Plan::new(C::NAME, G, x, w, &state, options)?;
    let zeros = Tensor::zeros((plan.batch, plan.hidden), x.dtype(), x.device())?;
    let state: Vec<Tensor> = state.into_iter().map(|state| state.unwrap_or(&zeros).clone()).collect();
    let (y, state) =
        if on_cpu(&given) { fused(cell, plan, x, w, &state)? } else { portable(cell, &plan, x, w, state)? };
    Ok((y, exactly(state)))
}

fn exactly<const S: usize>(state: Vec<Tensor>) -> [Tensor; S] {
    let Ok(state) = state.try_into() else { unreachable!("one tensor a state") };
    state
}

/// The kernel's output is all `h` and, for cells with one, the final `c`; the final `h` is among them.
pub(super) fn fused<C: Cell<G>, const G: usize>(
    cell: C,
    plan: Plan,
    x: &Tensor,
    w: &RecurrentWeights,
    state: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let state = match state {
        [h] => h.clone(),
        more => Tensor::cat(more, 0)?,
    };
    let (w, plan) = (plan::flat(w)?, Arc::new(plan));
    let saved = Saved::for_gradients_of(&[x, &w, &state]);
    let out = apply3(Layer { cell, plan: plan.clone(), saved }, x, &w, &state)?;
    let (batch, hidden) = (plan.batch, plan.hidden);
    let count = batch * plan.steps * hidden;
    let y = out.narrow(0, 0, count)?.reshape((batch, plan.steps, hidden))?;
    let mut state = vec![last(&plan, &y)?];
    if C::STATES == 2 {
        state.push(out.narrow(0, count, batch * hidden)?.reshape((batch, hidden))?);
    }
    Ok((y, state))
}

/// Of each sequence, the output at the step that was worked out last.
fn last(plan: &Plan, y: &Tensor) -> Result<Tensor> {
    let steps = plan.steps;
    let at = match plan.direction {
        Direction::Reverse => 0,
        Direction::Forward if plan.lengths.iter().all(|&length| length == steps) => steps - 1,
        Direction::Forward => {
            let rows = plan.lengths.iter().enumerate().map(|(b, &length)| (b * steps + length - 1) as u32);
            return y.flatten(0, 1)?.index_select(&Tensor::from_iter(rows, y.device())?, 0);
        }
    };
    y.narrow(1, at, 1)?.squeeze(1)?.contiguous()
}

/// One call, with units of `G` gates.
pub(super) struct Layer<C, const G: usize> {
    pub(super) cell: C,
    pub(super) plan: Arc<Plan>,
    /// A `Vec<Kept<T>>`.
    saved: Saved<Box<dyn Any + Send + Sync>>,
}

// Not derived: that would ask for a cell's bounds at each use.
impl<C: Copy, const G: usize> Clone for Layer<C, G> {
    fn clone(&self) -> Self {
        Self { cell: self.cell, plan: self.plan.clone(), saved: self.saved.clone() }
    }
}

impl<C: Cell<G>, const G: usize> Layer<C, G> {
    /// What the forward pass kept of each group.
    pub(super) fn kept<T: Element>(&self) -> &[Kept<T>] {
        let kept = self.saved.get().and_then(|kept| kept.downcast_ref::<Vec<Kept<T>>>());
        let Some(kept) = kept else { unreachable!("the forward pass keeps what a gradient needs") };
        kept
    }
}

impl<C: Cell<G>, const G: usize> Kernel<3> for Layer<C, G> {
    const NAME: &'static str = C::NAME;

    fn forward<T: Element>(&self, [x, w, state]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (y, kept) = forward::run(self, [&x.data, &w.data, &state.data], self.saved.is_wanted());
        self.saved.keep(Box::new(kept));
        let shape = y.len().into();
        Ok((y, shape))
    }

    fn backward(&self, xs: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let [x, w, state] = xs;
        let wanted = xs.map(wants_gradient);
        let all = detached(&Gradients { layer: self.clone(), wanted }, [x, w, state, y, dy])?;
        let mut start = 0;
        let mut parts = [None, None, None];
        for ((part, x), _) in parts.iter_mut().zip(xs).zip(wanted).filter(|(_, wanted)| *wanted) {
            *part = Some(all.narrow(0, start, x.elem_count())?.reshape(x.shape())?);
            start += x.elem_count();
        }
        Ok(parts)
    }
}
