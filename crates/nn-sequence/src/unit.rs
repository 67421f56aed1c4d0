//! Kinds of recurrent layers, and what they hand from step to step.

mod any;
mod elman;
mod gated;
mod jordan;
mod long_short_term;

use std::fmt::Debug;

use candle_core::{Result, Tensor};
use nn_core::ops::{RecurrentOptions, RecurrentWeights};

pub use any::{AnyState, AnyUnit};
pub use elman::{Elman, Rnn, RnnCell, RnnConfig};
pub use gated::{Gated, Gru, GruCell, GruConfig};
pub use jordan::{Jordan, JordanConfig, JordanRnn};
pub use long_short_term::{LongShortTerm, Lstm, LstmCell, LstmConfig};

/// What tells one kind of recurrent layer from another: its options, and the op that takes it through time.
pub trait Unit: Copy + Debug + Default + Send + Sync + 'static {
    /// What one layer's direction hands from step to step.
    type State: State;

    /// Rows of the weights for each unit.
    fn gates(self) -> usize;

    /// How outputs are made of what the units give, if they are not that itself.
    fn projection(self, _hidden: usize) -> Option<ProjectionNames> {
        None
    }

    /// All outputs `[B, T, P]` of one direction of one layer for `x [B, T, I]`, and the state after them.
    ///
    /// # Errors
    /// Those of [`rnn`](nn_core::ops::rnn), [`lstm`](nn_core::ops::lstm) and [`gru`](nn_core::ops::gru).
    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        state: Option<&Self::State>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, Self::State)>;
}

/// How many numbers a projection leaves, and the names of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct ProjectionNames {
    /// Numbers of an output.
    pub outputs: usize,
    /// In front of the layer's number.
    pub weight: &'static str,
    /// The same of a bias, if it has one.
    pub bias: Option<&'static str>,
}

/// The state of one direction of one layer.
pub trait State: Clone + Debug + Send + Sync {
    /// The last output, `[B, P]`.
    fn output(&self) -> &Tensor;

    /// The state whose tensors are `f` of this one's: other sequences of the batch, no graph, another device.
    ///
    /// # Errors
    /// Those of `f`.
    fn map(&self, f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self>;
}

impl State for Tensor {
    fn output(&self) -> &Tensor {
        self
    }

    fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        f(self)
    }
}
