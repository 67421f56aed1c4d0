//! What comes next: a recurrent network that has read a text so far and scores each token of its vocabulary.
//!
//! Source: Mikolov et al. 2010, "Recurrent neural network based language model"; Press & Wolf 2017, arXiv:1608.05859, and Inan,
//! Khosravi & Socher 2017, arXiv:1611.01462, for tied weights. Names follow PyTorch's example `word_language_model`, whose
//! `encoder` is `embedding` here as in the other models.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::{Ctx, Layer, Through, ensure, ops};
use nn_layers::{Bias, Linear};

use crate::input::{Input, Reader, SequenceConfig};
use crate::{AnyState, AnyUnit, Directions, RecurrentConfig};

/// Options of [`LanguageModel`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanguageModelConfig {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Numbers that a token is turned into.
    pub width: usize,
    /// Units of a layer.
    pub hidden: usize,
    /// Kind of unit and layers; in one direction, or the answers would be seen.
    pub recurrent: RecurrentConfig<AnyUnit>,
    /// Probability in [0, 1] of dropping a number of an embedding or of the last layer's outputs in training.
    pub dropout: f64,
    /// Where the scores' weights come from.
    pub decoder: DecoderWeights,
}

/// Where the weights of a language model's scores come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecoderWeights {
    /// They are the model's own: parameter `decoder.weight`.
    #[default]
    Own,
    /// They are the embedding, whose `width` is that of the recurrent layers' outputs then.
    Tied,
}

/// tokens → recurrent layers → logits of the next token, at each step.
///
/// Parameters: `embedding.weight`, `rnn.*` as in [`Recurrent`](crate::Recurrent), `decoder.weight` unless it is tied, and
/// `decoder.bias`.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    reader: Reader,
    decoder: Decoder,
}

/// Scores of all tokens: parameters `weight [V, D]` unless it is tied, and `bias [V]`, which starts at 0.
#[derive(Clone, Debug)]
pub(crate) enum Decoder {
    Own(Linear),
    Tied { weight: Tensor, bias: Tensor },
}

impl Decoder {
    /// For outputs of `width` numbers; `embedding` is `[V, D]`.
    pub(crate) fn new(
        weights: DecoderWeights,
        embedding: &Tensor,
        width: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (vocabulary, own) = embedding.dims2()?;
        Ok(match weights {
            DecoderWeights::Own => Self::Own(Linear::new(width, vocabulary, Bias::StartsAt(0.0), vb)?),
            DecoderWeights::Tied => {
                ensure!(
                    width == own,
                    "LanguageModel: tied weights need outputs as wide as embeddings, got {width} and {own}"
                );
                let bias = vb.get_with_hints(vocabulary, "bias", Init::Const(0.0))?;
                Self::Tied { weight: embedding.clone(), bias }
            }
        })
    }
}

impl Layer for Decoder {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        match self {
            Self::Own(linear) => linear.call(x, ctx),
            Self::Tied { weight, bias } => ops::linear(x, weight, Some(bias)),
        }
    }
}

impl LanguageModel {
    /// # Errors
    /// If there are two directions, tied weights do not fit, or those of [`Recurrent::new`](crate::Recurrent::new).
    pub fn new(cfg: &LanguageModelConfig, vb: VarBuilder) -> Result<Self> {
        let &LanguageModelConfig { vocabulary, width, hidden, recurrent, dropout, decoder } = cfg;
        ensure!(
            recurrent.directions == Directions::Forward,
            "LanguageModel: the layers must go forward alone, or they see what comes next"
        );
        let input = Input::Tokens { vocabulary, width, padding: None };
        let reader = Reader::new(&SequenceConfig { input, hidden, recurrent, dropout }, &vb)?;
        let Some(embedding) = reader.embedding() else { unreachable!("tokens are embedded") };
        let decoder = Decoder::new(decoder, embedding.weight(), reader.rnn().width(), vb.pp("decoder"))?;
        Ok(Self { reader, decoder })
    }

    /// Tokens `[B, T]` that follow those the states have seen → logits `[B, T, V]` of the token after each, and the states
    /// after the last.
    ///
    /// # Errors
    /// If a token is outside the vocabulary (the message names it and its place), there is none, or states are of another
    /// shape.
    pub fn run(
        &self,
        tokens: &Tensor,
        states: Option<&[AnyState]>,
        ctx: &Ctx,
    ) -> Result<(Tensor, Vec<AnyState>)> {
        let (outputs, states) = self.reader.run(tokens, states, None, ctx)?;
        let outputs = outputs.through("dropout", self.reader.dropout(), ctx)?;
        Ok((outputs.through("decoder", &self.decoder, ctx)?, states))
    }
}

impl Layer for LanguageModel {
    /// `[B, T]` → `[B, T, V]`, from the beginning of a text.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        Ok(self.run(x, None, ctx)?.0)
    }
}
