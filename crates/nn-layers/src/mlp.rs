//! The multilayer perceptron of any depth, also known as feed-forward, back-propagation or deep neural network;
//! without hidden layers it is a single neuron, or a row of them.
//!
//! Source: Rosenblatt 1958 (one neuron); Rumelhart, Hinton & Williams 1986 (hidden layers, back-propagation).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, Through, ensure};

use crate::{Activation, Bias, Dropout, Flatten, Linear};

/// Options of [`Mlp`].
#[derive(Clone, Copy, Debug)]
pub struct MlpConfig<'a> {
    /// Widths of the hidden layers, input side first; none makes a linear model.
    pub hidden: &'a [usize],
    /// After each hidden layer.
    pub activation: Activation,
    /// After the last layer; `None` gives logits, [`Activation::Sigmoid`] the classic neuron.
    pub output: Option<Activation>,
    /// Probability of dropping a hidden unit in training, in [0, 1).
    pub dropout: f64,
}

impl Default for MlpConfig<'_> {
    fn default() -> Self {
        Self { hidden: &[], activation: Activation::Relu, output: None, dropout: 0.0 }
    }
}

/// `x ← act(W x + b)` layer by layer; the last one without, unless the output has an activation too.
///
/// Parameters: `layers.{i}.weight [c_out, c_in]`, `layers.{i}.bias [c_out]` from the input side.
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    output: Option<Activation>,
    dropout: Dropout,
}

/// One neuron, or one an output: an [`Mlp`] without hidden layers.
pub type Neuron = Mlp;

impl Mlp {
    /// # Errors
    /// If a width is 0 or `dropout` is no probability.
    pub fn new(c_in: usize, c_out: usize, cfg: MlpConfig<'_>, vb: VarBuilder) -> Result<Self> {
        let widths = [&[c_in], cfg.hidden, &[c_out]].concat();
        ensure!(widths.iter().all(|&width| width > 0), "Mlp: every width must be at least 1, got {widths:?}");
        let vb = vb.pp("layers");
        let layers = widths
            .windows(2)
            .enumerate()
            .map(|(i, width)| Linear::new(width[0], width[1], Bias::Learned, vb.pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            layers,
            activation: cfg.activation,
            output: cfg.output,
            dropout: Dropout::new(cfg.dropout)?,
        })
    }
}

impl Layer for Mlp {
    /// `[B, …]` → `[B, c_out]`; all axes but the first are flattened.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let mut x = x.through("flatten", &Flatten, ctx)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = x.through(&format!("layers.{i}"), layer, ctx)?;
            if i + 1 < self.layers.len() {
                x = x.through(&format!("activation.{i}"), &self.activation, ctx)?;
                x = x.through(&format!("dropout.{i}"), &self.dropout, ctx)?;
            }
        }
        match &self.output {
            Some(output) => x.through("output", output, ctx),
            None => Ok(x),
        }
    }
}
