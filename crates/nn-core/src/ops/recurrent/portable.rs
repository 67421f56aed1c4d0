//! A layer step by step: other devices, and the kernel's oracle. Its graph grows with the sequence.

use candle_core::{Result, Tensor};

use super::cell::Cell;
use super::plan::Plan;
use super::{Direction, RecurrentWeights};

/// All outputs, and the state after them.
pub(super) fn portable<C: Cell<G>, const G: usize>(
    cell: C,
    plan: &Plan,
    x: &Tensor,
    w: &RecurrentWeights,
    mut state: Vec<Tensor>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let affine = |x: &Tensor, w: &Tensor, b: &Option<Tensor>| {
        let y = x.matmul(&w.t()?)?;
        b.as_ref().map_or(Ok(y.clone()), |b| y.broadcast_add(b))
    };
    let x = x.reshape((plan.batch * plan.steps, plan.input))?;
    let input = affine(&x, &w.w_ih, &w.b_ih)?.reshape((plan.batch, plan.steps, plan.gates))?;
    let mut outputs = Vec::with_capacity(plan.steps);
    for s in 0..plan.steps {
        let t = match plan.direction {
            Direction::Forward => s,
            Direction::Reverse => plan.steps - 1 - s,
        };
        let hidden = affine(&state[0], &w.w_hh, &w.b_hh)?;
        let next = cell.portable(&input.narrow(1, t, 1)?.squeeze(1)?, &hidden, &state)?;
        // Beyond a sequence's end its state stays as it is and its output is 0.
        let inside: Vec<u8> = plan.lengths.iter().map(|&length| u8::from(t < length)).collect();
        let inside = Tensor::from_vec(inside, (plan.batch, 1), x.device())?;
        let inside = inside.broadcast_as((plan.batch, plan.hidden))?.contiguous()?;
        outputs.push(inside.where_cond(&next[0], &next[0].zeros_like()?)?);
        for (state, next) in state.iter_mut().zip(next) {
            *state = inside.where_cond(&next, state)?;
        }
    }
    if plan.direction == Direction::Reverse {
        outputs.reverse();
    }
    Ok((Tensor::stack(&outputs, 1)?, state))
}
