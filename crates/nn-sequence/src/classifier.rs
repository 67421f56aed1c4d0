//! One answer a sequence: a class, or numbers that come next.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{OverTime, over_time};
use nn_core::{Ctx, Layer, Through, ops};
use nn_layers::{Bias, Linear};

use crate::State;
use crate::input::{Reader, SequenceConfig};

/// What of a sequence the answer is read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The last layer's state after the last step, of each direction: after its last step.
    #[default]
    Last,
    /// The mean of the last layer's outputs over the sequence's own steps.
    Mean,
    /// The largest of each of them.
    Max,
}

/// Options of [`SequenceClassifier`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceClassifierConfig {
    /// What reads the sequence.
    pub sequence: SequenceConfig,
    /// What the answer is read from.
    pub pooling: Pooling,
    /// Width of the output.
    pub classes: usize,
}

/// sequence → recurrent layers → one vector → logits.
///
/// Parameters: `embedding.weight` if steps are tokens, `rnn.*` as in [`Recurrent`](crate::Recurrent), `head.weight` and
/// `head.bias`.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_sequence::{Input, Pooling, RecurrentConfig};
/// use nn_sequence::{SequenceClassifier, SequenceClassifierConfig, SequenceConfig};
///
/// # fn main() -> Result<()> {
/// let input = Input::Tokens { vocabulary: 100, width: 8, padding: Some(0) };
/// let sequence = SequenceConfig { input, hidden: 16, recurrent: RecurrentConfig::default(), dropout: 0.5 };
/// let cfg = SequenceClassifierConfig { sequence, pooling: Pooling::Last, classes: 2 };
/// let store = ParamStore::new(0);
/// let model = SequenceClassifier::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let words = Tensor::new(&[[7u32, 99, 3], [5, 0, 0]], &Device::Cpu)?;
/// let logits = model.logits(&words, Some(&[3, 1]), &Ctx::eval())?;
/// assert_eq!(logits.dims(), [2, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SequenceClassifier {
    reader: Reader,
    pooling: Pooling,
    head: Linear,
}

impl SequenceClassifier {
    /// # Errors
    /// Those of [`Recurrent::new`](crate::Recurrent::new) and [`Embedding::new`](nn_layers::Embedding::new).
    pub fn new(cfg: &SequenceClassifierConfig, vb: VarBuilder) -> Result<Self> {
        let reader = Reader::new(&cfg.sequence, &vb)?;
        let head = Linear::new(reader.rnn().width(), cfg.classes, Bias::Learned, vb.pp("head"))?;
        Ok(Self { reader, pooling: cfg.pooling, head })
    }

    /// `[B, T, n]` or `[B, T]`, and how many steps each sequence has → `[B, classes]`
    ///
    /// # Errors
    /// If `x` is not what the configuration says, a token is outside the vocabulary (the message names it and its place),
    /// there is not one length a sequence, or one is not in `1..=T`.
    pub fn logits(&self, x: &Tensor, lengths: Option<&[usize]>, ctx: &Ctx) -> Result<Tensor> {
        let (outputs, states) = self.reader.run(x, None, lengths, ctx)?;
        let read = match self.pooling {
            Pooling::Last => {
                let last = &states[states.len() - self.reader.rnn().directions().count()..];
                ops::concat(&last.iter().map(State::output).collect::<Vec<_>>(), 1)? // [B, width]
            }
            Pooling::Mean => over_time(&outputs, lengths, OverTime::Mean)?,
            Pooling::Max => over_time(&outputs, lengths, OverTime::Max)?,
        };
        read.through("dropout", self.reader.dropout(), ctx)?.through("head", &self.head, ctx)
    }
}

impl Layer for SequenceClassifier {
    /// [`SequenceClassifier::logits`] of sequences of one length.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.logits(x, None, ctx)
    }
}

/// Options of [`Forecaster`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecasterConfig {
    /// What reads the past.
    pub sequence: SequenceConfig,
    /// How many values to foretell.
    pub horizon: usize,
}

/// The values that come next, read from the state after the last step.
///
/// Parameters as those of a [`SequenceClassifier`], whose `head` gives a number for each step ahead.
#[derive(Clone, Debug)]
pub struct Forecaster(SequenceClassifier);

impl Forecaster {
    /// # Errors
    /// Those of [`SequenceClassifier::new`].
    pub fn new(cfg: &ForecasterConfig, vb: VarBuilder) -> Result<Self> {
        let &ForecasterConfig { sequence, horizon } = cfg;
        let cfg = SequenceClassifierConfig { sequence, pooling: Pooling::Last, classes: horizon };
        Ok(Self(SequenceClassifier::new(&cfg, vb)?))
    }

    /// `[B, T, n]`, and how many steps each past has → `[B, horizon]`
    ///
    /// # Errors
    /// Those of [`SequenceClassifier::logits`].
    pub fn forecast(&self, x: &Tensor, lengths: Option<&[usize]>, ctx: &Ctx) -> Result<Tensor> {
        self.0.logits(x, lengths, ctx)
    }
}

impl Layer for Forecaster {
    /// `[B, T, n]` → `[B, horizon]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.0.call(x, ctx)
    }
}
