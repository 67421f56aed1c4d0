//! A label for each step of a sequence.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, Through};
use nn_layers::{Bias, Linear};

use crate::crf::Crf;
use crate::input::{Reader, SequenceConfig};

/// How labels are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelling {
    /// Each for itself: the likeliest at its step.
    #[default]
    Apart,
    /// All together, by a [`Crf`]: parameters `crf.*`.
    Chain,
}

/// Options of [`SequenceTagger`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceTaggerConfig {
    /// What reads the sequence.
    pub sequence: SequenceConfig,
    /// How labels are chosen.
    pub labelling: Labelling,
    /// How many labels there are.
    pub classes: usize,
}

/// sequence → recurrent layers → scores of labels, a step each.
///
/// Source: Huang, Xu & Yu 2015, "Bidirectional LSTM-CRF models for sequence tagging", arXiv:1508.01991.
///
/// Parameters: those of a [`SequenceClassifier`](crate::SequenceClassifier), and `crf.*` of a [`Crf`].
#[derive(Clone, Debug)]
pub struct SequenceTagger {
    reader: Reader,
    head: Linear,
    crf: Option<Crf>,
}

impl SequenceTagger {
    /// # Errors
    /// Those of [`Recurrent::new`](crate::Recurrent::new) and [`Embedding::new`](nn_layers::Embedding::new).
    pub fn new(cfg: &SequenceTaggerConfig, vb: VarBuilder) -> Result<Self> {
        let reader = Reader::new(&cfg.sequence, &vb)?;
        let head = Linear::new(reader.rnn().width(), cfg.classes, Bias::Learned, vb.pp("head"))?;
        let crf = match cfg.labelling {
            Labelling::Apart => None,
            Labelling::Chain => Some(Crf::new(cfg.classes, vb.pp("crf"))?),
        };
        Ok(Self { reader, head, crf })
    }

    /// What gives the loss if labels are chosen together; otherwise that is [`cross_entropy`](nn_core::ops::cross_entropy).
    pub fn crf(&self) -> Option<&Crf> {
        self.crf.as_ref()
    }

    /// The score of each label at each step: `[B, T, n]` or `[B, T]`, and how many steps each sequence has →
    /// `[B, T, classes]`.
    ///
    /// # Errors
    /// If `x` is not what the configuration says, a token is outside the vocabulary (the message names it and its place),
    /// there is not one length a sequence, or one is not in `1..=T`.
    pub fn emissions(&self, x: &Tensor, lengths: Option<&[usize]>, ctx: &Ctx) -> Result<Tensor> {
        let (outputs, _) = self.reader.run(x, None, lengths, ctx)?; // [B, T, width]
        outputs.through("dropout", self.reader.dropout(), ctx)?.through("head", &self.head, ctx)
    }

    /// The labels of each sequence, as many as it has steps.
    ///
    /// # Errors
    /// Those of [`SequenceTagger::emissions`].
    pub fn labels(&self, x: &Tensor, lengths: Option<&[usize]>, ctx: &Ctx) -> Result<Vec<Vec<u32>>> {
        let emissions = self.emissions(x, lengths, ctx)?;
        if let Some(crf) = &self.crf {
            return crf.decode(&emissions, lengths);
        }
        let mut labels = emissions.argmax(D::Minus1)?.to_vec2::<u32>()?;
        for (row, &length) in labels.iter_mut().zip(lengths.unwrap_or_default()) {
            row.truncate(length);
        }
        Ok(labels)
    }
}

impl Layer for SequenceTagger {
    /// [`SequenceTagger::emissions`] of sequences of one length.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.emissions(x, None, ctx)
    }
}
