//! One step of a recurrent layer: for streams, whose end is not known, and for loops in which outputs become inputs.
//!
//! Source: `torch.nn.RNNCell`, `LSTMCell` and `GRUCell`, whose names and numbers are these.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ensure;
use nn_core::ops::{self, RecurrentOptions};
use nn_layers::Bias;

use crate::parameters::{Parameters, Sizes};
use crate::unit::Unit;

/// Options of a [`Cell`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CellConfig<U> {
    /// The kind of cell, and what only that kind has.
    pub unit: U,
    /// Of the product with the input, and of that with the state.
    pub bias: Bias,
}

/// `state ← step(x, state)`: what a [`Recurrent`](crate::Recurrent) layer in one direction does at each step.
///
/// Parameters: `weight_ih [gates · H, I]`, `weight_hh [gates · H, H]`, `bias_ih` and `bias_hh [gates · H]`; all uniform in
/// `±1/√H` at the start. A whole stack of layers takes single steps too: [`Recurrent::run`](crate::Recurrent::run) with one
/// step and the states of the last.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::ParamStore;
/// use nn_sequence::{CellConfig, LstmCell};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let cell = LstmCell::new(3, 5, CellConfig::default(), store.vb(DType::F32, &Device::Cpu))?;
/// let mut state = None;
/// for _ in 0..10 {
///     let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
///     state = Some(cell.step(&x, state.as_ref())?);
/// }
/// assert_eq!(state.map(|state| state.h.dims().to_vec()), Some(vec![2, 5]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cell<U> {
    unit: U,
    parameters: Parameters,
    input: usize,
}

impl<U: Unit> Cell<U> {
    /// For inputs of `input` numbers, with `hidden` units.
    ///
    /// # Errors
    /// If there are no inputs or units, or `vb` has the names with other shapes.
    pub fn new(input: usize, hidden: usize, cfg: CellConfig<U>, vb: VarBuilder) -> Result<Self> {
        let CellConfig { unit, bias } = cfg;
        ensure!(
            input > 0 && hidden > 0,
            "{unit:?}: inputs and units must be at least 1, got {input} and {hidden}"
        );
        let sizes = Sizes { input, hidden, gates: unit.gates(), projection: unit.projection(hidden) };
        Ok(Self { unit, parameters: Parameters::new(sizes, bias, "", &vb)?, input })
    }

    /// `x [B, I]` and the state before it, zeros if `None` → the state after it, whose output is `[B, H]`.
    ///
    /// # Errors
    /// If `x` or the state is of another shape, or types differ.
    pub fn step(&self, x: &Tensor, state: Option<&U::State>) -> Result<U::State> {
        ensure!(
            x.rank() == 2 && x.dims()[1] == self.input,
            "{:?}: x must be [B, {}], got {:?}",
            self.unit,
            self.input,
            x.dims()
        );
        let x = ops::reshape(x, (x.dims()[0], 1, self.input))?; // [B, 1, I]
        Ok(self.parameters.run(self.unit, &x, state, RecurrentOptions::default())?.1)
    }
}
