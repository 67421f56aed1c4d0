//! A layer as one differentiable op.

use std::any::Any;
use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor};

use super::backward::Gradients;
use super::cell::Cell;
use super::forward::{self, Kept};
use super::plan::{self, Plan};
use super::portable::portable;
use super::{Direction, Projection, RecurrentOptions, RecurrentWeights, projection};
use crate::cpu::Element;
use crate::graph::Operation;
use crate::ops::kernel::{Kernel, Reads, View, apply1, apply3, detached, on_cpu, wants_gradient, with_views};
use crate::ops::knot::{self, Handover};
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
        let [p, b_hr] =
            [options.projection.map(|p| p.weight), options.projection.and_then(|p| p.bias)].map(wide);
        let (p, b_hr) = (p?, b_hr?);
        let projection = p.as_ref().map(|weight| Projection { weight, bias: b_hr.as_ref() });
        let options = RecurrentOptions { projection, ..options };
        let (y, state) = run(cell, &widen(x)?, &w, state, options)?;
        let rounded = state.iter().map(|state| state.to_dtype(half)).collect::<Result<Vec<_>>>()?;
        return Ok((y.to_dtype(half)?, exactly(rounded)));
    }
    if let Some(p) = options.projection {
        return projection::run(cell, x, w, state, (p, RecurrentOptions { projection: None, ..options }));
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

pub(super) fn fused<C: Cell<G>, const G: usize>(
    cell: C,
    plan: Plan,
    x: &Tensor,
    w: &RecurrentWeights,
    state: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let small = plan::small(w, state)?;
    let (knot, gradients) = knot::tie(&w.w_ih, &small)?;
    let layer = Layer {
        cell,
        plan: Arc::new(plan),
        w_ih: w.w_ih.detach(),
        small: small.detach(),
        saved: Saved::for_gradients_of(&[x, &w.w_hh, &knot]),
        gradients,
        c: Handover::default(),
        dc: Handover::default(),
    };
    let y = apply3(layer.clone(), x, &w.w_hh, &knot)?;
    let mut state = vec![last(&layer.plan, &y)?];
    if let Some(c) = layer.c.take() {
        state.push(knot::end(&y, c, layer.dc)?);
    }
    Ok((y, state))
}

/// Of each sequence, the output at the step that was worked out last.
fn last(plan: &Arc<Plan>, y: &Tensor) -> Result<Tensor> {
    apply1(Last(plan.clone()), y)
}

#[derive(Clone)]
struct Last(Arc<Plan>);

impl Last {
    /// Where each sequence's row is among those of all steps.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let Plan { steps, direction, .. } = *self.0;
        let at = move |&length: &usize| if direction == Direction::Reverse { 0 } else { length - 1 };
        self.0.lengths.iter().enumerate().map(move |(b, length)| b * steps + at(length))
    }
}

impl Kernel<1> for Last {
    const NAME: &'static str = "last-step";

    fn forward<T: Element>(&self, [y]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let hidden = self.0.hidden;
        let rows = self.rows().flat_map(|row| &y.data[row * hidden..][..hidden]);
        Ok((rows.copied().collect(), (self.0.batch, hidden).into()))
    }

    fn backward(&self, [y]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let rows = Tensor::from_iter(self.rows().map(|row| row as u32), y.device())?;
        let dy = y.zeros_like()?.flatten(0, 1)?.index_add(&rows, &dy.contiguous()?, 0)?;
        Ok([Some(dy.reshape(y.shape())?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let Plan { batch, steps, hidden, direction, .. } = *self.0;
        if !self.0.is_even() {
            return Vec::new();
        }
        let start = if direction == Direction::Reverse { 0 } else { steps - 1 };
        vec![Operation::Narrow { axis: 1, start, len: 1 }, Operation::Reshape(vec![batch, hidden])]
    }
}

/// One call, with units of `G` gates. Its arguments are `x`, `w_hh` and a knot of `w_ih` and small ones.
pub(super) struct Layer<C, const G: usize> {
    pub(super) cell: C,
    pub(super) plan: Arc<Plan>,
    w_ih: Tensor,
    /// What [`plan::small`] made.
    small: Tensor,
    /// A `Vec<Kept<T>>`.
    saved: Saved<Box<dyn Any + Send + Sync>>,
    /// Those of the knot's arguments.
    gradients: Handover<[Option<Tensor>; 2]>,
    /// The final cells of an LSTM, and their gradient.
    c: Handover<Tensor>,
    dc: Handover<Tensor>,
}

// Not derived: that would ask for a cell's bounds at each use.
impl<C: Copy, const G: usize> Clone for Layer<C, G> {
    fn clone(&self) -> Self {
        let Self { cell, plan, w_ih, small, saved, gradients, c, dc } = self;
        Self {
            cell: *cell,
            plan: plan.clone(),
            w_ih: w_ih.clone(),
            small: small.clone(),
            saved: saved.clone(),
            gradients: gradients.clone(),
            c: c.clone(),
            dc: dc.clone(),
        }
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

    fn forward<T: Element>(&self, [x, w_hh, _]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let Plan { batch, steps, hidden, .. } = *self.plan;
        let (y, c, kept) = with_views([&self.w_ih, &self.small], |[w_ih, small]| {
            forward::run(self, [&x.data, &w_ih.data, &w_hh.data, &small.data], self.saved.is_wanted())
        })?;
        self.saved.keep(Box::new(kept));
        if C::STATES == 2 {
            self.c.put(Tensor::from_vec(c, (batch, hidden), &Device::Cpu)?);
        }
        Ok((y, (batch, steps, hidden).into()))
    }

    fn backward(
        &self,
        [x, w_hh, knot]: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (w_ih, small) = (&self.w_ih, &self.small);
        let dc = self.dc.take().map_or_else(|| Tensor::zeros(0, y.dtype(), y.device()), Ok)?;
        let wanted = [x, knot, w_hh, knot].map(wants_gradient);
        let all = detached(&Gradients { layer: self.clone(), wanted }, [x, w_ih, w_hh, small, y, dy, &dc])?;
        let mut start = 0;
        let mut part = |wanted: bool, x: &Tensor| {
            let from = start;
            start += if wanted { x.elem_count() } else { 0 };
            wanted.then(|| all.narrow(0, from, x.elem_count())?.reshape(x.shape())).transpose()
        };
        let [dx, dw_ih] = [part(wanted[0], x)?, part(wanted[1], w_ih)?];
        let [dw_hh, dsmall] = [part(wanted[2], w_hh)?, part(wanted[3], small)?];
        self.gradients.put([dw_ih, dsmall]);
        Ok([dx, dw_hh, if wanted[1] { Some(knot.zeros_like()?) } else { None }])
    }

    fn operations(&self) -> Vec<Operation> {
        if !self.plan.is_even() {
            return Vec::new();
        }
        let reversed = self.plan.direction == Direction::Reverse;
        vec![Operation::Recurrent { unit: C::UNIT, reversed, biases: self.plan.biases }]
    }

    fn operands(&self, args: &[Tensor]) -> Vec<Tensor> {
        vec![args[0].clone(), self.w_ih.clone(), args[1].clone(), self.small.clone()]
    }
}
