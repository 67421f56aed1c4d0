//! Recurrent layers over all time steps: Elman's RNN, LSTM and GRU, one direction of one layer at a call.
//!
//! Why not Candle's: it builds a graph of a dozen nodes a step, which is slow and, for long sequences, overflows the
//! stack; its backward direction does not reverse, and it knows no lengths (docs/candle-gaps.md). Here a layer is one
//! node, back-propagation through time (Werbos 1990, "Backpropagation through time: what it does and how to do it")
//! included, and the names, the order of gates and the meaning of lengths are `torch.nn`'s.

mod backward;
mod cell;
mod forward;
mod gru;
mod layer;
mod lstm;
mod once;
mod plan;
mod portable;
mod projection;
mod rnn;
#[cfg(test)]
mod tests;
mod units;

use candle_core::Tensor;

pub use gru::gru;
pub use lstm::{LstmState, lstm};
pub use rnn::{Nonlinearity, rnn};

/// The parameters of one direction of one recurrent layer with `H` units, whose gates lie one below the other.
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `[gates · H, I]`, what each gate sees of the input.
    pub w_ih: Tensor,
    /// `[gates · H, H]`, what each gate sees of the state.
    pub w_hh: Tensor,
    /// `[gates · H]`, added to the product with `w_ih`.
    pub b_ih: Option<Tensor>,
    /// `[gates · H]`, added to the product with `w_hh`.
    pub b_hh: Option<Tensor>,
}

/// How a recurrent layer goes through its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecurrentOptions<'a> {
    /// From which end.
    pub direction: Direction,
    /// How many steps each sequence of the batch has, from step 0 on; `None` for all there are.
    ///
    /// A sequence ends at its own end: there its final state is taken, there the reverse direction starts, and
    /// outputs beyond are 0.
    pub lengths: Option<&'a [usize]>,
    /// What makes outputs of what the units give; an RNN and an LSTM may have it.
    pub projection: Option<Projection<'a>>,
}

/// `hₜ = weight · rₜ + bias` is a layer's output, and what the next step sees, where `rₜ` would be: `w_hh` is
/// `[gates · H, P]` then, and the state `h` `[B, P]`.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// `[P, H]`; `weight_hr` in PyTorch's LSTM.
    pub weight: &'a Tensor,
    /// `[P]`
    pub bias: Option<&'a Tensor>,
}

/// A way through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first; outputs stay at the steps they belong to.
    Reverse,
}
