//! Long short-term memory.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::cell::{self, After, Before, Cell, Gradient, Past};
use super::{RecurrentOptions, RecurrentWeights, layer};
use crate::cpu::Element;
use crate::graph::Unit;

/// Where an LSTM stands between two steps.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// The last output, `[B, H]`, with a projection `[B, P]`.
    pub h: Tensor,
    /// The cells, `[B, H]`.
    pub c: Tensor,
}

/// A layer with long short-term memory; `⊙` multiplies element by element, `σ` is the sigmoid:
///
/// ```text
/// i, f, g, o = the four parts of w_ih · xₜ + b_ih + w_hh · hₜ₋₁ + b_hh
/// cₜ = σ(f) ⊙ cₜ₋₁ + σ(i) ⊙ tanh(g)
/// hₜ = σ(o) ⊙ tanh(cₜ)
/// ```
///
/// `x [B, T, I]` → all `hₜ` as `[B, T, H]`, and the state after the last step of each sequence; it starts with zeros if
/// none is given. With a projection `w_hr [P, H]`, `hₜ = w_hr · (σ(o) ⊙ tanh(cₜ))` and outputs and `h` have `P` numbers.
///
/// Source: Hochreiter & Schmidhuber 1997, "Long short-term memory"; Gers, Schmidhuber & Cummins 2000, "Learning to
/// forget", on the forget gate.
///
/// # Errors
/// If `x` is not rank 3 or has no steps; if a parameter or the state is of another shape than these sizes ask for; if
/// there is not one length a sequence, or one is not in `1..=T`; if types differ or are not of floats.
pub fn lstm(
    x: &Tensor,
    weights: &RecurrentWeights,
    state: Option<&LstmState>,
    options: RecurrentOptions<'_>,
) -> Result<(Tensor, LstmState)> {
    let state = [state.map(|state| &state.h), state.map(|state| &state.c)];
    let (y, [h, c]) = layer::run(Lstm, x, weights, state, options)?;
    Ok((y, LstmState { h, c }))
}

#[derive(Clone, Copy)]
pub(super) struct Lstm;

impl Cell<4> for Lstm {
    const NAME: &'static str = "lstm";
    const STATES: usize = 2;
    const REMEMBERS: bool = true;
    const APART: bool = false;
    const PROJECTS: bool = true;
    const UNIT: Unit = Unit::Lstm;

    #[inline(always)]
    fn step<T: Element>(self, unit: Before<T, 4>) -> After<T, 4> {
        let Before { input: x, hidden: h, memory: c, .. } = unit;
        let (i, f) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
        let (g, o) = ((x[2] + h[2]).tanh(), (x[3] + h[3]).sigmoid());
        let c = f.mul_add(c, i * g);
        After { gates: [i, f, g, o], h: o * c.tanh(), memory: c }
    }

    #[inline(always)]
    fn back<T: Element>(self, unit: Past<T, 4>) -> Gradient<T, 4> {
        let [i, f, g, o] = unit.gates;
        let y = unit.memory.tanh();
        let dc = (unit.dh * o).mul_add((-y).mul_add(y, T::ONE), unit.dmemory);
        let d = [
            dc * g * i * (T::ONE - i),
            dc * unit.memory_before * f * (T::ONE - f),
            dc * i * (-g).mul_add(g, T::ONE),
            unit.dh * y * o * (T::ONE - o),
        ];
        Gradient { input: d, hidden: d, h: T::ZERO, memory: dc * f }
    }

    fn portable(self, input: &Tensor, hidden: &Tensor, state: &[Tensor]) -> Result<Vec<Tensor>> {
        let [i, f, g, o] = cell::gates(&input.add(hidden)?)?;
        let c = sigmoid(&f)?.mul(&state[1])?.add(&sigmoid(&i)?.mul(&g.tanh()?)?)?;
        Ok(vec![sigmoid(&o)?.mul(&c.tanh()?)?, c])
    }
}
