//! The kind of unit as a value: for models, which work over each.

use candle_core::{Result, Tensor};
use nn_core::ops::{LstmState, RecurrentOptions, RecurrentWeights};

use super::{Elman, Gated, Jordan, LongShortTerm, ProjectionNames, State, Unit};

/// One of the kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyUnit {
    /// That of an [`Rnn`](crate::Rnn).
    Rnn(Elman),
    /// That of a [`JordanRnn`](crate::JordanRnn).
    Jordan(Jordan),
    /// That of an [`Lstm`](crate::Lstm).
    Lstm(LongShortTerm),
    /// That of a [`Gru`](crate::Gru).
    Gru(Gated),
}

impl Default for AnyUnit {
    fn default() -> Self {
        Self::Lstm(LongShortTerm::default())
    }
}

/// The state of one of them.
#[derive(Clone, Debug)]
pub enum AnyState {
    /// Of all but an LSTM, `[B, P]`.
    Output(Tensor),
    /// Of an LSTM.
    Lstm(LstmState),
}

impl State for AnyState {
    fn output(&self) -> &Tensor {
        match self {
            Self::Output(h) => h,
            Self::Lstm(state) => &state.h,
        }
    }

    fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(match self {
            Self::Output(h) => Self::Output(f(h)?),
            Self::Lstm(state) => Self::Lstm(state.map(f)?),
        })
    }
}

impl Unit for AnyUnit {
    type State = AnyState;

    fn gates(self) -> usize {
        match self {
            Self::Rnn(unit) => unit.gates(),
            Self::Jordan(unit) => unit.gates(),
            Self::Lstm(unit) => unit.gates(),
            Self::Gru(unit) => unit.gates(),
        }
    }

    fn projection(self, hidden: usize) -> Option<ProjectionNames> {
        match self {
            Self::Rnn(unit) => unit.projection(hidden),
            Self::Jordan(unit) => unit.projection(hidden),
            Self::Lstm(unit) => unit.projection(hidden),
            Self::Gru(unit) => unit.projection(hidden),
        }
    }

    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        state: Option<&AnyState>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, AnyState)> {
        let output = || state.map(|state| output_alone(self, state)).transpose();
        let wrapped = |(y, h)| (y, AnyState::Output(h));
        match self {
            Self::Rnn(unit) => unit.run(x, weights, output()?, options).map(wrapped),
            Self::Jordan(unit) => unit.run(x, weights, output()?, options).map(wrapped),
            Self::Gru(unit) => unit.run(x, weights, output()?, options).map(wrapped),
            Self::Lstm(unit) => {
                let state = match state {
                    None => None,
                    Some(AnyState::Lstm(state)) => Some(state),
                    Some(AnyState::Output(_)) => {
                        candle_core::bail!("{self:?}: the state must be an LSTM's, with h and c")
                    }
                };
                let (y, state) = unit.run(x, weights, state, options)?;
                Ok((y, AnyState::Lstm(state)))
            }
        }
    }
}

fn output_alone(unit: AnyUnit, state: &AnyState) -> Result<&Tensor> {
    match state {
        AnyState::Output(h) => Ok(h),
        AnyState::Lstm(_) => candle_core::bail!("{unit:?}: the state must be an output alone, not an LSTM's"),
    }
}
