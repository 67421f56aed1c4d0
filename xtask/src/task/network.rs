//! The table `[model]` of tasks whose networks read sequences: recurrent, or a Transformer.

use anyhow::Result;
use candle_core::Device;
use candle_nn::VarBuilder;
use nn_core::ParamStore;
use nn_layers::{Activation, Bias};
use nn_sequence::{
    AnyUnit, Axes, DecoderWeights, Directions, Elman, Ending, Gated, Input, LongShortTerm, NormPlace,
    Pooling, Positions, RecurrentConfig, SequenceConfig, Start, TransformerConfig, TransformerModelConfig,
};
use serde::{Deserialize, Serialize};

use crate::failure::failed;
use crate::recipe::range;

/// What reads a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Network {
    Recurrent(Recurrent),
    Transformer(Transformer),
}

/// A recurrent network's keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recurrent {
    pub(crate) unit: UnitName,
    /// Numbers that a token is turned into.
    pub(crate) width: usize,
    /// Units of a layer and direction.
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    /// Of an embedding's numbers, between layers, and of what the head reads.
    pub(crate) dropout: f64,
    /// Forward alone where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) directions: Option<DirectionsName>,
    /// What one answer a sequence is read from; the last state where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pooling: Option<PoolingName>,
    /// Where the scores of the next token come from; from weights of their own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decoder: Option<DecoderName>,
}

/// A Transformer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Transformer {
    /// Numbers of a token.
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Numbers of a token between the two linear layers.
    pub(crate) feed_forward: usize,
    pub(crate) dropout: f64,
    /// Tokens of the longest sequence.
    pub(crate) longest: usize,
    pub(crate) positions: PositionsName,
    /// Where the scores of the next token come from; from weights of their own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decoder: Option<DecoderName>,
}

impl Default for Recurrent {
    fn default() -> Self {
        Self {
            unit: UnitName::Lstm,
            width: 128,
            hidden: 128,
            layers: 1,
            dropout: 0.0,
            directions: None,
            pooling: None,
            decoder: None,
        }
    }
}

impl Default for Transformer {
    fn default() -> Self {
        Self {
            width: 128,
            layers: 2,
            heads: 4,
            feed_forward: 512,
            dropout: 0.1,
            longest: 256,
            positions: PositionsName::Sinusoidal,
            decoder: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnitName {
    Rnn,
    #[default]
    Lstm,
    Gru,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectionsName {
    Forward,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PoolingName {
    Last,
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DecoderName {
    Own,
    Tied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PositionsName {
    Sinusoidal,
    Learned,
}

impl UnitName {
    pub(crate) fn unit(self) -> AnyUnit {
        match self {
            Self::Rnn => AnyUnit::Rnn(Elman::default()),
            Self::Lstm => AnyUnit::Lstm(LongShortTerm::default()),
            Self::Gru => AnyUnit::Gru(Gated),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rnn => "rnn",
            Self::Lstm => "lstm",
            Self::Gru => "gru",
        }
    }
}

impl Network {
    /// As titles say it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Recurrent(recurrent) => recurrent.unit.name(),
            Self::Transformer(_) => "transformer",
        }
    }

    /// Tokens of the longest sequence, if there is a longest.
    pub(crate) fn longest(&self) -> Option<usize> {
        match self {
            Self::Recurrent(_) => None,
            Self::Transformer(transformer) => Some(transformer.longest),
        }
    }

    /// # Errors
    /// If a value is impossible, or there is a key that this use of the network does not take; the message names it.
    pub(crate) fn check(&self, uses: Use) -> Result<()> {
        range::at_least_one(&self.sizes())?;
        let foreign = |(_, given, of): &&(&str, bool, Use)| *given && *of != uses;
        if let Some((key, ..)) = self.options().iter().find(foreign) {
            return Err(failed(format!("model.{key} means nothing to {}", uses.what())));
        }
        let (Self::Recurrent(Recurrent { dropout, .. }) | Self::Transformer(Transformer { dropout, .. })) =
            self;
        range::below_one(&[("model.dropout", *dropout)])?;
        match self {
            Self::Transformer(t) if t.width % t.heads != 0 => {
                Err(failed(format!("model.heads must divide model.width, got {} and {}", t.heads, t.width)))
            }
            _ => Ok(()),
        }
    }

    /// What must not be 0.
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        match self {
            Self::Recurrent(r) => {
                vec![("model.width", r.width), ("model.hidden", r.hidden), ("model.layers", r.layers)]
            }
            Self::Transformer(t) => vec![
                ("model.width", t.width),
                ("model.layers", t.layers),
                ("model.heads", t.heads),
                ("model.feed_forward", t.feed_forward),
                ("model.longest", t.longest),
            ],
        }
    }

    /// Keys of one use alone: whether they are given, and of which.
    fn options(&self) -> Vec<(&'static str, bool, Use)> {
        match self {
            Self::Recurrent(r) => vec![
                ("directions", r.directions.is_some(), Use::Answer),
                ("pooling", r.pooling.is_some(), Use::Answer),
                ("decoder", r.decoder.is_some(), Use::Next),
            ],
            Self::Transformer(t) => vec![("decoder", t.decoder.is_some(), Use::Next)],
        }
    }
}

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// One answer a sequence.
    Answer,
    /// What comes next.
    Next,
}

impl Use {
    fn what(self) -> &'static str {
        match self {
            Self::Answer => "a network that gives one answer",
            Self::Next => "a network that says what comes next",
        }
    }
}

impl Recurrent {
    pub(crate) fn recurrent(&self) -> RecurrentConfig<AnyUnit> {
        RecurrentConfig {
            unit: self.unit.unit(),
            layers: self.layers,
            directions: match self.directions {
                None | Some(DirectionsName::Forward) => Directions::Forward,
                Some(DirectionsName::Both) => Directions::Both,
            },
            dropout: self.dropout,
            bias: Bias::Learned,
            axes: Axes::BatchFirst,
        }
    }

    pub(crate) fn sequence(&self, vocabulary: usize, padding: Option<usize>) -> SequenceConfig {
        let input = Input::Tokens { vocabulary, width: self.width, padding };
        SequenceConfig { input, hidden: self.hidden, recurrent: self.recurrent(), dropout: self.dropout }
    }

    pub(crate) fn pooling(&self) -> Pooling {
        match self.pooling {
            None | Some(PoolingName::Last) => Pooling::Last,
            Some(PoolingName::Mean) => Pooling::Mean,
            Some(PoolingName::Max) => Pooling::Max,
        }
    }
}

impl Transformer {
    /// Norms in front and GELU, as in GPT-2, which train without a long warm-up.
    pub(crate) fn config(&self, vocabulary: usize) -> TransformerModelConfig {
        TransformerModelConfig {
            vocabulary,
            width: self.width,
            layers: self.layers,
            longest: self.longest,
            positions: match self.positions {
                PositionsName::Sinusoidal => Positions::Sinusoidal,
                PositionsName::Learned => Positions::Learned,
            },
            transformer: TransformerConfig {
                heads: self.heads,
                feed_forward: self.feed_forward,
                dropout: self.dropout,
                activation: Activation::Gelu,
                norm: NormPlace::First,
                ending: Ending::Norm,
                start: Start::Xavier,
                ..TransformerConfig::default()
            },
        }
    }
}

/// Where the scores of the next token come from.
pub(crate) fn decoder(name: Option<DecoderName>) -> DecoderWeights {
    match name {
        None | Some(DecoderName::Own) => DecoderWeights::Own,
        Some(DecoderName::Tied) => DecoderWeights::Tied,
    }
}

/// Where a network takes its parameters from.
pub(crate) fn variables(store: &ParamStore, device: &Device) -> VarBuilder<'static> {
    store.vb(candle_core::DType::F32, device)
}
