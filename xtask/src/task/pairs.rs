//! From one sequence of tokens to another: what the toy tasks and translation have in common.

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{CrossEntropy, cross_entropy, reshape};
use nn_core::{Ctx, Mode, Random};
use nn_layers::Activation;
use nn_sequence::decode::{Beam, Limits, beam, greedy};
use nn_sequence::{
    Directions, Ending, NormPlace, Positions, Score, Seq2Seq, Seq2SeqConfig, Start, TransformerConfig,
    TransformerSeq2Seq, TransformerSeq2SeqConfig,
};
use nn_train::Outcome;
use nn_train::data::{Dataset, Padded, by_length};
use serde::{Deserialize, Serialize};

use super::network::UnitName;
use crate::failure::failed;
use crate::recipe::range;

/// The tokens every vocabulary of such a model begins with: the padding, the unknown one, the first and the last of a text.
pub(crate) const PADDING: u32 = 0;
pub(crate) const START: u32 = 2;
pub(crate) const END: u32 = 3;

/// The table `[model]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum PairNetwork {
    Recurrent(RecurrentPair),
    Transformer(TransformerPair),
}

/// An encoder that reads both ways, and a decoder with attention.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecurrentPair {
    unit: UnitName,
    width: usize,
    hidden: usize,
    layers: usize,
    dropout: f64,
    attention: Attention,
    /// How often the true token goes into the decoder in training, not the one it would have chosen.
    teacher: f64,
    label_smoothing: f64,
}

/// Encoder and decoder of a Transformer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TransformerPair {
    width: usize,
    layers: usize,
    heads: usize,
    feed_forward: usize,
    dropout: f64,
    /// Tokens of the longest text.
    longest: usize,
    label_smoothing: f64,
}

/// How well a state goes with a place of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Attention {
    Additive,
    #[default]
    General,
    Concat,
}

impl Default for RecurrentPair {
    fn default() -> Self {
        Self {
            unit: UnitName::Gru,
            width: 128,
            hidden: 128,
            layers: 1,
            dropout: 0.0,
            attention: Attention::default(),
            teacher: 1.0,
            label_smoothing: 0.0,
        }
    }
}

impl Default for TransformerPair {
    fn default() -> Self {
        Self {
            width: 128,
            layers: 2,
            heads: 4,
            feed_forward: 512,
            dropout: 0.1,
            longest: 128,
            label_smoothing: 0.0,
        }
    }
}

impl PairNetwork {
    /// As titles say it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Recurrent(recurrent) => recurrent.unit.name(),
            Self::Transformer(_) => "transformer",
        }
    }

    /// Tokens of the longest text, its first and last included.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Self::Recurrent(_) => usize::MAX,
            Self::Transformer(transformer) => transformer.longest,
        }
    }

    /// # Errors
    /// If a value is impossible; the message names it.
    pub(crate) fn check(&self) -> Result<()> {
        let (sizes, shares) = match self {
            Self::Recurrent(r) => (
                vec![("model.width", r.width), ("model.hidden", r.hidden), ("model.layers", r.layers)],
                [("model.dropout", r.dropout), ("model.label_smoothing", r.label_smoothing)],
            ),
            Self::Transformer(t) => (
                vec![
                    ("model.width", t.width),
                    ("model.layers", t.layers),
                    ("model.heads", t.heads),
                    ("model.feed_forward", t.feed_forward),
                    ("model.longest", t.longest),
                ],
                [("model.dropout", t.dropout), ("model.label_smoothing", t.label_smoothing)],
            ),
        };
        range::at_least_one(&sizes)?;
        range::below_one(&shares)?;
        match self {
            Self::Recurrent(r) if !(0.0..=1.0).contains(&r.teacher) => {
                Err(failed(format!("model.teacher must be in [0, 1], got {}", r.teacher)))
            }
            Self::Transformer(t) if t.width % t.heads != 0 => {
                Err(failed(format!("model.heads must divide model.width, got {} and {}", t.heads, t.width)))
            }
            _ => Ok(()),
        }
    }

    /// Between vocabularies of so many tokens.
    pub(crate) fn build(&self, vocabularies: [usize; 2], vb: VarBuilder<'_>) -> Result<Pairing> {
        let device = vb.device().clone();
        let (network, label_smoothing) = match *self {
            Self::Recurrent(r) => {
                let cfg = Seq2SeqConfig {
                    vocabularies,
                    width: r.width,
                    hidden: r.hidden,
                    unit: r.unit.unit(),
                    layers: r.layers,
                    directions: Directions::Both,
                    dropout: r.dropout,
                    score: match r.attention {
                        Attention::Additive => Score::Additive,
                        Attention::General => Score::General,
                        Attention::Concat => Score::Concat,
                    },
                };
                let model = Seq2Seq::new(&cfg, vb)?;
                (Model::Recurrent { model: Box::new(model), teacher: r.teacher }, r.label_smoothing)
            }
            Self::Transformer(t) => {
                // Norms in front train without a long warm-up.
                let transformer = TransformerConfig {
                    heads: t.heads,
                    feed_forward: t.feed_forward,
                    dropout: t.dropout,
                    activation: Activation::Relu,
                    norm: NormPlace::First,
                    ending: Ending::Norm,
                    start: Start::Xavier,
                    ..TransformerConfig::default()
                };
                let cfg = TransformerSeq2SeqConfig {
                    vocabularies,
                    width: t.width,
                    layers: [t.layers; 2],
                    longest: t.longest,
                    positions: Positions::Sinusoidal,
                    transformer,
                };
                (Model::Transformer(Box::new(TransformerSeq2Seq::new(&cfg, vb)?)), t.label_smoothing)
            }
        };
        Ok(Pairing { network, label_smoothing, device })
    }
}

/// A network from one sequence to another.
pub(crate) struct Pairing {
    network: Model,
    label_smoothing: f64,
    device: Device,
}

enum Model {
    Recurrent { model: Box<Seq2Seq>, teacher: f64 },
    Transformer(Box<TransformerSeq2Seq>),
}

/// How a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Search {
    /// The likeliest token each time.
    Greedy,
    /// Several texts at once.
    Beam(Beam),
}

impl Pairing {
    /// The mean cross-entropy over target tokens, in nats.
    pub(crate) fn outcome(&self, batch: &PairBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let source = batch.source.tokens.to_device(&self.device)?;
        let [given, wanted] = [&batch.given, &batch.wanted].map(|t| t.to_device(&self.device));
        let (lengths, given) = (batch.source.lengths.as_slice(), given?);
        let logits = match &self.network {
            Model::Recurrent { model, teacher } => model.logits(&source, lengths, &given, *teacher, ctx)?,
            Model::Transformer(model) => model.logits(&source, lengths, &given, ctx)?,
        };
        let (b, t, v) = logits.dims3()?;
        // Smoothed targets are harder to meet: an evaluation asks for the plain ones.
        let label_smoothing = if ctx.mode() == Mode::Train { self.label_smoothing } else { 0.0 };
        let options =
            CrossEntropy { ignore_index: PADDING.into(), label_smoothing, ..CrossEntropy::default() };
        let loss = cross_entropy(&reshape(&logits, (b * t, v))?, &wanted?.flatten_all()?, options)?;
        Outcome::new(loss, b)?.averaged_over(batch.tokens() as f64)
    }

    /// What becomes of source texts: tokens without the first and the last.
    pub(crate) fn answer(
        &self,
        source: &Padded,
        longest: usize,
        search: Search,
    ) -> candle_core::Result<Vec<Vec<u32>>> {
        let (tokens, lengths) = (source.tokens.to_device(&self.device)?, source.lengths.as_slice());
        let given = Tensor::full(START, (lengths.len(), 1), &self.device)?;
        let limits = Limits { end: Some(END), longest };
        let ctx = Ctx::eval();
        let first = |found: Vec<Vec<nn_sequence::decode::Hypothesis>>| {
            found.into_iter().map(|texts| texts.into_iter().next().map_or(Vec::new(), |t| t.tokens)).collect()
        };
        Ok(match (&self.network, search) {
            (Model::Recurrent { model, .. }, Search::Greedy) => {
                greedy(&**model, model.start(&tokens, lengths, &ctx)?, &given, limits)?
            }
            (Model::Recurrent { model, .. }, Search::Beam(options)) => {
                first(beam(&**model, model.start(&tokens, lengths, &ctx)?, &given, limits, options)?)
            }
            (Model::Transformer(model), Search::Greedy) => {
                greedy(&**model, model.start(&tokens, lengths, &ctx)?, &given, limits)?
            }
            (Model::Transformer(model), Search::Beam(options)) => {
                first(beam(&**model, model.start(&tokens, lengths, &ctx)?, &given, limits, options)?)
            }
        })
    }

    /// How much each token of an answer, and its end, looks at each source token, where the network can show it: `[T, S]`.
    pub(crate) fn attention(
        &self,
        source: &[u32],
        answer: &[u32],
    ) -> candle_core::Result<Option<Vec<Vec<f32>>>> {
        let Model::Recurrent { model, .. } = &self.network else { return Ok(None) };
        let tokens = Tensor::new(source, &self.device)?.unsqueeze(0)?;
        let given: Vec<u32> = std::iter::once(START).chain(answer.iter().copied()).collect();
        let given = Tensor::new(given, &self.device)?.unsqueeze(0)?;
        let weights = model.attention(&tokens, &[source.len()], &given, &Ctx::eval())?;
        Ok(Some(weights.squeeze(0)?.to_vec2()?))
    }
}

/// Pairs of sequences, without their first and last tokens.
pub(crate) struct PairSet {
    pub(crate) pairs: Vec<[Vec<u32>; 2]>,
}

/// A batch of [`PairSet`].
pub(crate) struct PairBatch {
    pub(crate) source: Padded,
    /// `[B, T]`: what goes into the decoder, and what should come out of it.
    given: Tensor,
    wanted: Tensor,
    /// The targets as they are.
    pub(crate) targets: Vec<Vec<u32>>,
}

impl PairBatch {
    /// Tokens that are foretold: those of the targets, and the end of each.
    pub(crate) fn tokens(&self) -> u64 {
        self.targets.iter().map(|target| target.len() as u64 + 1).sum()
    }
}

impl Dataset for PairSet {
    type Batch = PairBatch;

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn batch(&self, indices: &[usize], _random: Random) -> candle_core::Result<PairBatch> {
        let sources: Vec<&[u32]> = indices.iter().map(|&i| self.pairs[i][0].as_slice()).collect();
        let targets: Vec<Vec<u32>> = indices.iter().map(|&i| self.pairs[i][1].clone()).collect();
        let with = |first: Option<u32>, last: Option<u32>| -> Vec<Vec<u32>> {
            let row =
                |target: &Vec<u32>| first.into_iter().chain(target.iter().copied()).chain(last).collect();
            targets.iter().map(row).collect()
        };
        Ok(PairBatch {
            source: Padded::new(&sources, PADDING)?,
            given: Padded::new(&with(Some(START), None), PADDING)?.tokens,
            wanted: Padded::new(&with(None, Some(END)), PADDING)?.tokens,
            targets,
        })
    }

    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        by_length(order, batch_size, random, |index| self.pairs[index][0].len())
    }
}
