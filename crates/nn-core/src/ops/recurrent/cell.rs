//! What tells one kind of recurrent layer from another: the arithmetic of one unit at one step, and its derivative.

use candle_core::{Result, Tensor};

use crate::cpu::Element;
use crate::graph::Unit;

/// A unit with `G` gates.
pub(super) trait Cell<const G: usize>: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Tensors of a layer's state: `h`, and for an LSTM `c`.
    const STATES: usize;

    /// Whether [`After::memory`] is worth keeping for the backward pass.
    const REMEMBERS: bool;

    /// Whether [`Gradient::input`] and [`Gradient::hidden`] differ.
    const APART: bool;

    /// Whether `h` reaches the next step through `w_hh` alone, so that outputs can be projections.
    const PROJECTS: bool;

    /// The unit's kind, for [`crate::graph`].
    const UNIT: Unit;

    fn step<T: Element>(self, unit: Before<T, G>) -> After<T, G>;

    fn back<T: Element>(self, unit: Past<T, G>) -> Gradient<T, G>;

    /// The state after a step from differentiable Candle operations; `input` and `hidden` are `[B, G · H]`.
    fn portable(self, input: &Tensor, hidden: &Tensor, state: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// What a unit sees at a step.
pub(super) struct Before<T, const G: usize> {
    /// The products with the input, biases included.
    pub(super) input: [T; G],
    /// The products with the last outputs, biases included.
    pub(super) hidden: [T; G],
    pub(super) h: T,
    pub(super) memory: T,
}

/// What becomes of it.
pub(super) struct After<T, const G: usize> {
    pub(super) gates: [T; G],
    pub(super) h: T,
    /// An LSTM's cell; what a GRU's reset gate is multiplied with.
    pub(super) memory: T,
}

/// A step seen from the one after it.
pub(super) struct Past<T, const G: usize> {
    pub(super) gates: [T; G],
    pub(super) memory: T,
    pub(super) memory_before: T,
    pub(super) h_before: T,
    pub(super) dh: T,
    pub(super) dmemory: T,
}

/// The gradients of [`Before`].
pub(super) struct Gradient<T, const G: usize> {
    pub(super) input: [T; G],
    pub(super) hidden: [T; G],
    /// Without what comes through `hidden`.
    pub(super) h: T,
    pub(super) memory: T,
}

/// The `G` equal parts of a `[B, G · H]` tensor.
pub(super) fn gates<const G: usize>(x: &Tensor) -> Result<[Tensor; G]> {
    let Ok(parts) = x.chunk(G, 1)?.try_into() else { unreachable!("the axis is a multiple of G") };
    Ok(parts)
}
