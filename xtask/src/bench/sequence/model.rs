//! The networks that are measured, made of `nn-sequence`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ops};
use nn_layers::Activation;
use nn_sequence::decode::{Generator, Limits, greedy};
use nn_sequence::{
    DecoderWeights, Directions, Ending, Input, LanguageModel, LanguageModelConfig, NormPlace, Pooling,
    Positions, RecurrentConfig, Score, Seq2Seq, Seq2SeqConfig, SequenceClassifier, SequenceClassifierConfig,
    SequenceConfig, TransformerClassifier, TransformerConfig, TransformerEncoder, TransformerLanguageModel,
    TransformerModelConfig, TransformerSeq2Seq, TransformerSeq2SeqConfig,
};

use super::batch::Batch;
use super::rows::{Layers, Network};

pub(super) enum Model {
    Rows(SequenceClassifier),
    Letters(LanguageModel),
    Encoder(TransformerEncoder),
    Sentences(TransformerClassifier),
    CausalLetters(TransformerLanguageModel),
    Attention(Box<Seq2Seq>),
    Transformer(Box<TransformerSeq2Seq>),
}

/// The token that texts begin with.
const START: u32 = 2;

/// Tokens of the longest sequence of a Transformer.
const LONGEST: usize = 128;

impl Model {
    pub(super) fn new(network: Network, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(match network {
            Network::Rows { unit, inputs, hidden, classes } => {
                let recurrent =
                    RecurrentConfig { unit: unit.unit(), layers: 2, ..RecurrentConfig::default() };
                let sequence =
                    SequenceConfig { input: Input::Features(inputs), hidden, recurrent, dropout: 0.0 };
                let cfg = SequenceClassifierConfig { sequence, pooling: Pooling::Last, classes };
                Self::Rows(SequenceClassifier::new(&cfg, vb)?)
            }
            Network::Letters { unit, vocabulary, width, hidden, dropout } => {
                let recurrent =
                    RecurrentConfig { unit: unit.unit(), layers: 2, dropout, ..RecurrentConfig::default() };
                let decoder = DecoderWeights::Own;
                let cfg = LanguageModelConfig { vocabulary, width, hidden, recurrent, dropout, decoder };
                Self::Letters(LanguageModel::new(&cfg, vb)?)
            }
            Network::Encoder { layers } => {
                let cfg = TransformerConfig {
                    heads: layers.heads,
                    feed_forward: layers.feed_forward,
                    dropout: layers.dropout,
                    ..TransformerConfig::default()
                };
                Self::Encoder(TransformerEncoder::new(layers.width, layers.layers, &cfg, vb)?)
            }
            Network::Sentences { vocabulary, classes, layers } => {
                let cfg = over_encoder(vocabulary, layers, Positions::Sinusoidal);
                Self::Sentences(TransformerClassifier::new(classes, &cfg, vb)?)
            }
            Network::CausalLetters { vocabulary, layers } => {
                let cfg = over_encoder(vocabulary, layers, Positions::Learned);
                Self::CausalLetters(TransformerLanguageModel::new(&cfg, DecoderWeights::Own, vb)?)
            }
            Network::Attention { unit, vocabularies, width, dropout } => {
                let cfg = Seq2SeqConfig {
                    vocabularies,
                    width,
                    hidden: width,
                    unit: unit.unit(),
                    layers: 1,
                    directions: Directions::Both,
                    dropout,
                    score: Score::Additive,
                };
                Self::Attention(Box::new(Seq2Seq::new(&cfg, vb)?))
            }
            Network::Transformer { vocabularies, layers } => {
                let cfg = TransformerSeq2SeqConfig {
                    vocabularies,
                    width: layers.width,
                    layers: [layers.layers; 2],
                    longest: LONGEST,
                    positions: Positions::Sinusoidal,
                    transformer: norms_first(layers, Activation::Relu),
                };
                Self::Transformer(Box::new(TransformerSeq2Seq::new(&cfg, vb)?))
            }
        })
    }

    /// `[N, V]`, in the order of the batch's labels.
    pub(super) fn logits(&self, batch: &Batch, ctx: &Ctx) -> Result<Tensor> {
        let Batch { source, lengths, given, .. } = batch;
        let logits = match self {
            Self::Rows(model) => model.call(source, ctx)?,
            Self::Letters(model) => model.call(source, ctx)?,
            Self::Encoder(model) => model.call(source, ctx)?,
            Self::Sentences(model) => model.logits(source, Some(lengths), ctx)?,
            Self::CausalLetters(model) => model.call(source, ctx)?,
            Self::Attention(model) => model.logits(source, lengths, given, 1.0, ctx)?,
            Self::Transformer(model) => model.logits(source, lengths, given, ctx)?,
        };
        match *logits.dims() {
            [b, t, v] => ops::reshape(&logits, (b * t, v)),
            _ => Ok(logits),
        }
    }

    /// What becomes of each source: `longest` tokens.
    pub(super) fn decode(&self, batch: &Batch, longest: usize) -> Result<Vec<Vec<u32>>> {
        let (Batch { source, lengths, .. }, ctx) = (batch, Ctx::eval());
        match self {
            Self::Attention(model) => texts(&**model, model.start(source, lengths, &ctx)?, batch, longest),
            Self::Transformer(model) => texts(&**model, model.start(source, lengths, &ctx)?, batch, longest),
            _ => unreachable!("translations alone are decoded"),
        }
    }
}

fn texts<G: Generator>(model: &G, state: G::State, batch: &Batch, longest: usize) -> Result<Vec<Vec<u32>>> {
    let given = Tensor::full(START, (batch.lengths.len(), 1), batch.source.device())?;
    greedy(model, state, &given, Limits { end: None, longest })
}

fn over_encoder(vocabulary: usize, layers: Layers, positions: Positions) -> TransformerModelConfig {
    TransformerModelConfig {
        vocabulary,
        width: layers.width,
        layers: layers.layers,
        longest: LONGEST,
        positions,
        transformer: norms_first(layers, Activation::Gelu),
    }
}

/// As the recipes have them.
fn norms_first(layers: Layers, activation: Activation) -> TransformerConfig {
    TransformerConfig {
        heads: layers.heads,
        feed_forward: layers.feed_forward,
        dropout: layers.dropout,
        activation,
        norm: NormPlace::First,
        ending: Ending::Norm,
        ..TransformerConfig::default()
    }
}
