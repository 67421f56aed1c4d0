//! Recurrent layers one above the other, in one direction or both.
//!
//! Source: `torch.nn.RNN`, `LSTM` and `GRU`, whose names, shapes, order of gates, start values and numbers are these; Schuster &
//! Paliwal 1997, "Bidirectional recurrent neural networks".
//! Differs: the batch comes first unless [`Axes::TimeFirst`] is asked for, and lengths stand for packed sequences.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{self, Direction, RecurrentOptions};
use nn_core::{Ctx, Layer, Through, ensure};
use nn_layers::{Bias, Dropout};

use crate::parameters::{Parameters, Sizes};
use crate::unit::Unit;

/// Options of [`Recurrent`]; but for the batch in front, the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentConfig<U> {
    /// The kind of layer, and what only that kind has.
    pub unit: U,
    /// Layers one above the other.
    pub layers: usize,
    /// Ways through time.
    pub directions: Directions,
    /// Probability in [0, 1] of dropping an output of every layer but the last in training.
    pub dropout: f64,
    /// Of the product with the input, and of that with the state.
    pub bias: Bias,
    /// Which axis is the batch.
    pub axes: Axes,
}

impl<U: Default> Default for RecurrentConfig<U> {
    fn default() -> Self {
        Self {
            unit: U::default(),
            layers: 1,
            directions: Directions::Forward,
            dropout: 0.0,
            bias: Bias::Learned,
            axes: Axes::BatchFirst,
        }
    }
}

/// The ways a layer goes through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directions {
    /// From the first step to the last.
    #[default]
    Forward,
    /// Also from the last to the first, with parameters of its own; outputs lie side by side.
    Both,
}

impl Directions {
    /// Each, with the end of its parameters' names.
    const fn all(self) -> &'static [(Direction, &'static str)] {
        const BOTH: &[(Direction, &str)] = &[(Direction::Forward, ""), (Direction::Reverse, "_reverse")];
        match self {
            Self::Forward => BOTH.split_at(1).0,
            Self::Both => BOTH,
        }
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        self.all().len()
    }
}

/// The order of the first two axes of inputs and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axes {
    /// `[B, T, …]`
    #[default]
    BatchFirst,
    /// `[T, B, …]`
    TimeFirst,
}

impl Axes {
    /// From this order to the batch first, or back.
    fn turn(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::BatchFirst => Ok(x.clone()),
            Self::TimeFirst => ops::transpose(x, 0, 1),
        }
    }
}

/// Layers of units, each above the outputs of the one before.
///
/// Parameters of layer `k`, the reverse direction's with `_reverse` at the end: `weight_ih_l{k} [gates · H, I]`,
/// `weight_hh_l{k} [gates · H, P]`, `bias_ih_l{k}` and `bias_hh_l{k} [gates · H]`, and those of the unit's projection; all
/// uniform in `±1/√H` at the start. `P` is the number of outputs, `H` without a projection.
#[derive(Clone, Debug)]
pub struct Recurrent<U> {
    unit: U,
    /// Layer by layer, each in all directions.
    passes: Vec<(Direction, Parameters)>,
    directions: Directions,
    dropout: Dropout,
    axes: Axes,
    input: usize,
    outputs: usize,
}

impl<U: Unit> Recurrent<U> {
    /// For inputs of `input` numbers, with `hidden` units a layer and direction.
    ///
    /// # Errors
    /// If there are no inputs, units, layers or outputs, `dropout` is no probability, or `vb` has the names with other
    /// shapes.
    pub fn new(input: usize, hidden: usize, cfg: RecurrentConfig<U>, vb: VarBuilder) -> Result<Self> {
        let RecurrentConfig { unit, layers, directions, dropout, bias, axes } = cfg;
        ensure!(
            input > 0 && hidden > 0 && layers > 0,
            "{unit:?}: inputs, units and layers must be at least 1, got {input}, {hidden} and {layers}"
        );
        let projection = unit.projection(hidden);
        let outputs = projection.map_or(hidden, |p| p.outputs);
        let mut passes = Vec::with_capacity(layers * directions.count());
        for layer in 0..layers {
            let input = if layer == 0 { input } else { directions.count() * outputs };
            for &(direction, end) in directions.all() {
                let sizes = Sizes { input, hidden, gates: unit.gates(), projection };
                let parameters = Parameters::new(sizes, bias, &format!("_l{layer}{end}"), &vb)?;
                passes.push((direction, parameters));
            }
        }
        Ok(Self { unit, passes, directions, dropout: Dropout::new(dropout)?, axes, input, outputs })
    }

    /// Numbers of an output, both directions together.
    pub fn width(&self) -> usize {
        self.outputs * self.directions.count()
    }

    /// The ways through time.
    pub fn directions(&self) -> Directions {
        self.directions
    }

    /// All outputs, and each pass' state after the last step of each sequence.
    ///
    /// `x [B, T, I]` → `[B, T, width]`, or `[T, B, I]` → `[T, B, width]`. States are those of layer 0 forward, layer 0
    /// reverse, layer 1 forward and so on, as in PyTorch; they start with zeros if none are given. Sequence `b` ends after
    /// `lengths[b]` steps, all of them at `T` if `None`: what is beyond has no effect, and its outputs are 0.
    ///
    /// # Errors
    /// If `x` is of another shape or has no steps; there is not one state for each layer and direction, or it is of another
    /// shape; there is not one length a sequence, or one is not in `1..=T`; or types differ.
    pub fn run(
        &self,
        x: &Tensor,
        states: Option<&[U::State]>,
        lengths: Option<&[usize]>,
        ctx: &Ctx,
    ) -> Result<(Tensor, Vec<U::State>)> {
        ensure!(
            x.rank() == 3 && x.dims()[2] == self.input,
            "{:?}: x must have rank 3 and {} numbers a step, got {:?}",
            self.unit,
            self.input,
            x.dims()
        );
        if let Some(states) = states {
            let (needed, got) = (self.passes.len(), states.len());
            ensure!(got == needed, "{:?}: one state a layer and direction, {needed}, got {got}", self.unit);
        }
        let mut x = self.axes.turn(x)?; // [B, T, I]
        let mut last = Vec::with_capacity(self.passes.len());
        for (layer, passes) in self.passes.chunks(self.directions.count()).enumerate() {
            if layer > 0 {
                x = x.through(&format!("dropout.{}", layer - 1), &self.dropout, ctx)?;
            }
            let mut outputs = Vec::with_capacity(passes.len());
            for (direction, parameters) in passes {
                let state = states.map(|states| &states[last.len()]);
                let options = RecurrentOptions { direction: *direction, lengths, projection: None };
                let (y, state) = parameters.run(self.unit, &x, state, options)?;
                outputs.push(y);
                last.push(state);
            }
            x = match &outputs[..] {
                [one] => one.clone(),
                [forward, reverse] => ops::concat(&[forward, reverse], 2)?, // [B, T, 2 · P]
                _ => unreachable!("there are two directions"),
            };
        }
        Ok((self.axes.turn(&x)?, last))
    }
}

impl<U: Unit> Layer for Recurrent<U> {
    /// `[B, T, I]` → `[B, T, width]`, of whole sequences that start with zeros as their states.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        Ok(self.run(x, None, None, ctx)?.0)
    }

    fn multiply_adds(&self, x: &Tensor, _y: &Tensor) -> u64 {
        let steps = x.elem_count() / self.input;
        self.passes.iter().map(|(_, parameters)| (steps * parameters.multiply_adds()) as u64).sum()
    }
}
