//! A row of the table: an op at one size, on every side.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use nn_core::Random;
use serde::Serialize;

use crate::bench::machine::Work;

/// An op on its inputs.
pub(super) type Function = Box<dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>>;

/// Dims, kind, and how many classes if they are labels.
#[derive(Clone, Serialize)]
pub(super) struct Input(Vec<usize>, Kind, u32);

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Trained,
    Weights,
    Fixed,
    Labels,
}

impl Kind {
    fn is_trained(self) -> bool {
        matches!(self, Self::Trained | Self::Weights)
    }
}

/// Normal numbers that get a gradient.
pub(super) fn trained(dims: &[usize]) -> Input {
    Input(dims.to_vec(), Kind::Trained, 0)
}

/// Normal numbers that get one, small enough that what is multiplied with a row of them keeps its size.
pub(super) fn weights(dims: &[usize]) -> Input {
    Input(dims.to_vec(), Kind::Weights, 0)
}

/// Normal numbers that get none.
pub(super) fn fixed(dims: &[usize]) -> Input {
    Input(dims.to_vec(), Kind::Fixed, 0)
}

/// Whole numbers below `classes`, as `u32` here and `int64` in PyTorch.
pub(super) fn labels(dims: &[usize], classes: u32) -> Input {
    Input(dims.to_vec(), Kind::Labels, classes)
}

pub(super) struct Case {
    pub(super) op: &'static str,
    /// In the words of PEERS' tables: `8×64→64, 56², k3`.
    pub(super) size: String,
    pub(super) inputs: Vec<Input>,
    pub(super) forward: Work,
    pub(super) both: Work,
    pub(super) ours: Function,
    stock: Stock,
    /// Statements before `torch`; modules that they name are trained.
    pub(super) setup: String,
    /// An expression over the list of inputs `x`; empty if PyTorch has no such op.
    pub(super) torch: String,
}

/// What stock Candle has of an op.
enum Stock {
    Nothing,
    ForwardOnly(Function),
    Both(Function),
}

impl Case {
    /// An op without a peer yet; see [`Case::torch`] and [`Case::candle`].
    pub(super) fn new(
        op: &'static str,
        size: impl Into<String>,
        inputs: impl Into<Vec<Input>>,
        ours: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'static,
    ) -> Self {
        Self {
            op,
            size: size.into(),
            inputs: inputs.into(),
            forward: Work::Unknown,
            both: Work::Unknown,
            ours: Box::new(ours),
            stock: Stock::Nothing,
            setup: String::new(),
            torch: String::new(),
        }
    }

    /// What it takes forward, and forward and backward together.
    pub(super) fn work(self, forward: Work, both: Work) -> Self {
        Self { forward, both, ..self }
    }

    /// PyTorch's expression over the list of inputs `x`.
    pub(super) fn torch(self, torch: impl Into<String>) -> Self {
        Self { torch: torch.into(), ..self }
    }

    /// Statements before PyTorch's expression: a module, say.
    pub(super) fn setup(self, setup: impl Into<String>) -> Self {
        Self { setup: setup.into(), ..self }
    }

    /// Stock Candle's op.
    pub(super) fn candle(self, f: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'static) -> Self {
        Self { stock: Stock::Both(Box::new(f)), ..self }
    }

    /// Stock Candle's op, where it has no gradient or a wrong one.
    pub(super) fn candle_forward(
        self,
        f: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'static,
    ) -> Self {
        Self { stock: Stock::ForwardOnly(Box::new(f)), ..self }
    }

    pub(super) fn candle_for(&self, gradients: Gradients) -> Option<&Function> {
        match (&self.stock, gradients) {
            (Stock::Both(f), _) | (Stock::ForwardOnly(f), Gradients::None) => Some(f),
            _ => None,
        }
    }

    pub(super) fn is_trained(&self) -> bool {
        self.inputs.iter().any(|input| input.1.is_trained())
    }

    /// The inputs, as variables where they are trained and gradients are wanted.
    pub(super) fn tensors(&self, gradients: Gradients) -> Result<Vec<Tensor>> {
        let mut draws = Random::new(0).at("bench").draws();
        let mut tensor = |Input(dims, kind, classes): &Input| -> Result<Tensor> {
            let count = dims.iter().product();
            if *kind == Kind::Labels {
                let labels = (0..count).map(|_| draws.below(*classes)).collect();
                return Ok(Tensor::from_vec(labels, dims.as_slice(), &Device::Cpu)?);
            }
            let scale = if *kind == Kind::Weights {
                dims.last().map_or(1.0, |&n| (n as f32).powf(-0.5))
            } else {
                1.0
            };
            let numbers: Vec<f32> = (0..count).map(|_| draws.normal() as f32 * scale).collect();
            let numbers = Tensor::from_vec(numbers, dims.as_slice(), &Device::Cpu)?;
            let varies = kind.is_trained() && gradients == Gradients::Wanted;
            Ok(if varies { Var::from_tensor(&numbers)?.into_inner() } else { numbers })
        };
        self.inputs.iter().map(&mut tensor).collect()
    }
}

/// Whether an op is differentiated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gradients {
    None,
    Wanted,
}
