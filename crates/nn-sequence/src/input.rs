//! What sequences are made of, and the recurrent layers that read them: the beginning of every recurrent model.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Through};
use nn_layers::{Dropout, Embedding};

use crate::{AnyState, AnyUnit, Recurrent, RecurrentConfig};

/// What a step of a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Numbers, so many of them: `[B, T, n]`.
    Features(usize),
    /// One of the words, letters or whatever a vocabulary has: `[B, T]` of integers.
    Tokens {
        /// How many there are.
        vocabulary: usize,
        /// Numbers that each is turned into.
        width: usize,
        /// The one that fills up short sequences, which is not trained.
        padding: Option<usize>,
    },
}

/// Options of the recurrent part of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceConfig {
    /// What a step is.
    pub input: Input,
    /// Units of a layer and direction.
    pub hidden: usize,
    /// Kind of unit, layers, directions; the batch comes first whatever it says.
    pub recurrent: RecurrentConfig<AnyUnit>,
    /// Probability in [0, 1] of dropping a number of an embedding, or of what the model's head reads, in training.
    pub dropout: f64,
}

/// tokens → vectors → recurrent layers.
///
/// Parameters: `embedding.weight` if steps are tokens, and `rnn.*`.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    embedding: Option<Embedding>,
    rnn: Recurrent<AnyUnit>,
    dropout: Dropout,
}

impl Reader {
    pub(crate) fn new(cfg: &SequenceConfig, vb: &VarBuilder) -> Result<Self> {
        let (embedding, width) = match cfg.input {
            Input::Features(width) => (None, width),
            Input::Tokens { vocabulary, width, padding } => {
                (Some(Embedding::new(vocabulary, width, padding, vb.pp("embedding"))?), width)
            }
        };
        let recurrent = RecurrentConfig { axes: crate::Axes::BatchFirst, ..cfg.recurrent };
        Ok(Self {
            embedding,
            rnn: Recurrent::new(width, cfg.hidden, recurrent, vb.pp("rnn"))?,
            dropout: Dropout::new(cfg.dropout)?,
        })
    }

    pub(crate) fn embedding(&self) -> Option<&Embedding> {
        self.embedding.as_ref()
    }

    pub(crate) fn rnn(&self) -> &Recurrent<AnyUnit> {
        &self.rnn
    }

    /// For what a head reads.
    pub(crate) fn dropout(&self) -> &Dropout {
        &self.dropout
    }

    /// All outputs `[B, T, width]`, and the states after them.
    pub(crate) fn run(
        &self,
        x: &Tensor,
        states: Option<&[AnyState]>,
        lengths: Option<&[usize]>,
        ctx: &Ctx,
    ) -> Result<(Tensor, Vec<AnyState>)> {
        let mut x = x.clone();
        if let Some(embedding) = &self.embedding {
            x = x.through("embedding", embedding, ctx)?; // [B, T, D]
            x = x.through("embedding_dropout", &self.dropout, ctx)?;
        }
        let ctx = ctx.at("rnn");
        let (y, states) = self.rnn.run(&x, states, lengths, &ctx)?;
        ctx.report(&self.rnn, &x, &y);
        Ok((y, states))
    }
}
