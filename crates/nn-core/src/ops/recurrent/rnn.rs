//! Elman's network.

use candle_core::{Result, Tensor};

use super::cell::{After, Before, Cell, Gradient, Past};
use super::{RecurrentOptions, RecurrentWeights, layer};
use crate::cpu::Element;
use crate::graph::Unit;
use crate::ops::activation;

/// The function at the end of each step of [`rnn`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `tanh x`
    #[default]
    Tanh,
    /// `max(0, x)`
    Relu,
}

/// `hₜ = f(w_ih · xₜ + b_ih + w_hh · hₜ₋₁ + b_hh)`, an Elman network.
///
/// `x [B, T, I]`, `h₀ [B, H]` (zeros if absent) → all `hₜ` as `[B, T, H]`, and the last of each sequence, `[B, H]`. With a
/// projection, outputs are products of it and fed back: a Jordan network with linear outputs.
///
/// Source: Elman 1990, "Finding structure in time".
///
/// # Errors
/// If `x` is not rank 3 or has no steps; if a parameter or the state is of another shape than these sizes ask for; if
/// there is not one length a sequence, or one is not in `1..=T`; if types differ or are not of floats.
pub fn rnn(
    x: &Tensor,
    weights: &RecurrentWeights,
    h: Option<&Tensor>,
    nonlinearity: Nonlinearity,
    options: RecurrentOptions<'_>,
) -> Result<(Tensor, Tensor)> {
    let (y, [h]) = match nonlinearity {
        Nonlinearity::Tanh => layer::run(Tanh, x, weights, [h], options)?,
        Nonlinearity::Relu => layer::run(Relu, x, weights, [h], options)?,
    };
    Ok((y, h))
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl Cell<1> for Tanh {
    const NAME: &'static str = "rnn";
    const STATES: usize = 1;
    const REMEMBERS: bool = false;
    const APART: bool = false;
    const PROJECTS: bool = true;
    const UNIT: Unit = Unit::Rnn(Nonlinearity::Tanh);

    #[inline(always)]
    fn step<T: Element>(self, unit: Before<T, 1>) -> After<T, 1> {
        let h = (unit.input[0] + unit.hidden[0]).tanh();
        After { gates: [h], h, memory: unit.memory }
    }

    #[inline(always)]
    fn back<T: Element>(self, unit: Past<T, 1>) -> Gradient<T, 1> {
        let h = unit.gates[0];
        let d = [unit.dh * (-h).mul_add(h, T::ONE)];
        Gradient { input: d, hidden: d, h: T::ZERO, memory: T::ZERO }
    }

    fn portable(self, input: &Tensor, hidden: &Tensor, _: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![input.add(hidden)?.tanh()?])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Relu;

impl Cell<1> for Relu {
    const NAME: &'static str = "rnn";
    const STATES: usize = 1;
    const REMEMBERS: bool = false;
    const APART: bool = false;
    const PROJECTS: bool = true;
    const UNIT: Unit = Unit::Rnn(Nonlinearity::Relu);

    #[inline(always)]
    fn step<T: Element>(self, unit: Before<T, 1>) -> After<T, 1> {
        let x = unit.input[0] + unit.hidden[0];
        let h = if x < T::ZERO { T::ZERO } else { x }; // NaN passes through
        After { gates: [h], h, memory: unit.memory }
    }

    #[inline(always)]
    fn back<T: Element>(self, unit: Past<T, 1>) -> Gradient<T, 1> {
        let d = [if unit.gates[0] <= T::ZERO { T::ZERO } else { unit.dh }];
        Gradient { input: d, hidden: d, h: T::ZERO, memory: T::ZERO }
    }

    fn portable(self, input: &Tensor, hidden: &Tensor, _: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![activation::relu(&input.add(hidden)?)?])
    }
}
