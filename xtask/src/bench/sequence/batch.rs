//! Random inputs of a row's sizes.

use anyhow::Result;
use candle_core::{Device, Tensor};
use nn_core::Random;

use super::rows::{Network, Row};

pub(super) struct Batch {
    /// `[B, S]` of tokens, or `[B, S, n]` of numbers.
    pub(super) source: Tensor,
    /// Up to two steps below `S`, as in batches of like length.
    pub(super) lengths: Vec<usize>,
    /// `[B, T]`: what a decoder is given.
    pub(super) given: Tensor,
    /// A class for each row of logits.
    pub(super) labels: Tensor,
}

impl Batch {
    pub(super) fn new(row: Row) -> Result<Self> {
        let Row { network, batch, steps: [source, target], .. } = row;
        let (inputs, classes) = sizes(network);
        let mut draws = Random::new(0).at("bench").draws();
        let numbers = |count| {
            let mut draws = Random::new(0).at("numbers").draws();
            (0..count).map(|_| draws.normal() as f32).collect()
        };
        let mut tokens = |steps: usize, count: usize| {
            let all: Vec<u32> = (0..batch * steps).map(|_| draws.below(count as u32)).collect();
            Tensor::from_vec(all, (batch, steps), &Device::Cpu)
        };
        Ok(Self {
            source: match inputs {
                Inputs::Tokens(count) => tokens(source, count)?,
                Inputs::Numbers(width) => {
                    Tensor::from_vec(numbers(batch * source * width), (batch, source, width), &Device::Cpu)?
                }
            },
            given: tokens(target, classes)?,
            labels: tokens(target, classes)?.flatten_all()?,
            lengths: (0..batch).map(|_| source - draws.below(3) as usize).collect(),
        })
    }
}

/// What a step of the source is.
enum Inputs {
    Tokens(usize),
    Numbers(usize),
}

/// What goes in, and how many classes come out.
fn sizes(network: Network) -> (Inputs, usize) {
    match network {
        Network::Rows { inputs, classes, .. } => (Inputs::Numbers(inputs), classes),
        Network::Encoder { layers } => (Inputs::Numbers(layers.width), layers.width),
        Network::Letters { vocabulary, .. } | Network::CausalLetters { vocabulary, .. } => {
            (Inputs::Tokens(vocabulary), vocabulary)
        }
        Network::Sentences { vocabulary, classes, .. } => (Inputs::Tokens(vocabulary), classes),
        Network::Attention { vocabularies: [source, target], .. }
        | Network::Transformer { vocabularies: [source, target], .. } => (Inputs::Tokens(source), target),
    }
}
