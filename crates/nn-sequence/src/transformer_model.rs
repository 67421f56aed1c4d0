//! Models over a Transformer encoder: what comes next, and one answer a sequence.
//!
//! Source: Radford et al. 2019, "Language models are unsupervised multitask learners", §2.3, for a decoder without an encoder;
//! Vaswani et al. 2017, arXiv:1706.03762, §3.4, for the scaled embedding.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{OverTime, over_time};
use nn_core::{Ctx, Layer, Through, ensure, ops};
use nn_layers::{Bias, Dropout, KeyValues, Linear, Masks, normal};

use crate::language_model::{Decoder, DecoderWeights};
use crate::positions::{PositionalEncoding, Positions};
use crate::transformer::{TransformerConfig, TransformerEncoder};

/// Options of what all models over a Transformer encoder share.
#[derive(Clone, Copy, Debug)]
pub struct TransformerModelConfig {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Numbers a token is turned into.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// What tells positions apart.
    pub positions: Positions,
    /// Of the layers; its dropout is also that of the tokens.
    pub transformer: TransformerConfig,
}

/// tokens → `√D` · vectors + positions.
///
/// Parameters: `embedding.weight [V, D]`, normal with deviation `1/√D` at the start, and `positions.weight` if they are
/// learned.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    weight: Tensor,
    positions: PositionalEncoding,
    dropout: Dropout,
}

impl Tokens {
    pub(crate) fn new(cfg: &TransformerModelConfig, vb: &VarBuilder) -> Result<Self> {
        let &TransformerModelConfig { vocabulary, width, longest, positions, .. } = cfg;
        let init = normal((width as f64).powf(-0.5));
        Ok(Self {
            weight: vb.pp("embedding").get_with_hints((vocabulary, width), "weight", init)?,
            positions: PositionalEncoding::new(longest, width, positions, vb.pp("positions"))?,
            dropout: Dropout::new(cfg.transformer.dropout)?,
        })
    }

    /// Tokens `[B, T]` of which the first is at position `start` → `[B, T, D]`
    pub(crate) fn read(&self, tokens: &Tensor, start: usize, ctx: &Ctx) -> Result<Tensor> {
        ensure!(tokens.rank() == 2, "Transformer: tokens must be [B, T], got {:?}", tokens.dims());
        let x = ops::embedding(tokens, &self.weight, None)?;
        let x = ops::scale(&x, (self.weight.dim(1)? as f64).sqrt())?;
        self.positions.add(&x, start)?.through("dropout", &self.dropout, ctx)
    }

    /// `[V, D]`
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }
}

/// tokens → causal Transformer layers → logits of the next token, at each position.
///
/// Parameters: `embedding.weight`, `positions.weight` if they are learned, `encoder.*` of a [`TransformerEncoder`],
/// `decoder.weight` unless it is tied, and `decoder.bias`.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, Layer, ParamStore};
/// use nn_sequence::{DecoderWeights, Positions, TransformerConfig};
/// use nn_sequence::{TransformerLanguageModel, TransformerModelConfig};
///
/// # fn main() -> Result<()> {
/// let transformer = TransformerConfig { heads: 2, feed_forward: 32, ..TransformerConfig::default() };
/// let positions = Positions::Learned;
/// let cfg = TransformerModelConfig { vocabulary: 65, width: 16, layers: 2, longest: 64, positions, transformer };
/// let store = ParamStore::new(0);
/// let vb = store.vb(DType::F32, &Device::Cpu);
/// let model = TransformerLanguageModel::new(&cfg, DecoderWeights::Tied, vb)?;
/// let text = Tensor::new(&[[3u32, 64, 0, 7]], &Device::Cpu)?;
/// assert_eq!(model.call(&text, &Ctx::eval())?.dims(), [1, 4, 65]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TransformerLanguageModel {
    tokens: Tokens,
    encoder: TransformerEncoder,
    decoder: Decoder,
}

/// What a [`TransformerLanguageModel`] has worked out of a text: of each layer what the tokens so far offer.
#[derive(Clone, Debug, Default)]
pub struct Past(Vec<KeyValues>);

impl Past {
    /// How many tokens there are.
    ///
    /// # Errors
    /// Never.
    pub fn tokens(&self) -> Result<usize> {
        self.0.first().map_or(Ok(0), KeyValues::tokens)
    }

    /// The past whose tensors are `f` of these: other sequences of the batch.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.0.iter().map(|layer| layer.map(&mut f)).collect::<Result<_>>().map(Self)
    }
}

impl TransformerLanguageModel {
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &TransformerModelConfig, decoder: DecoderWeights, vb: VarBuilder) -> Result<Self> {
        let tokens = Tokens::new(cfg, &vb)?;
        Ok(Self {
            encoder: TransformerEncoder::new(cfg.width, cfg.layers, &cfg.transformer, vb.pp("encoder"))?,
            decoder: Decoder::new(decoder, tokens.weight(), cfg.width, vb.pp("decoder"))?,
            tokens,
        })
    }

    /// Tokens `[B, T]` that follow those in `past` → logits `[B, T, V]` of the token after each; they are in `past` after
    /// it, which starts as [`Past::default`].
    ///
    /// # Errors
    /// If a token is outside the vocabulary (the message names it and its place), or the text becomes longer than the
    /// longest.
    pub fn continue_after(&self, tokens: &Tensor, past: &mut Past, ctx: &Ctx) -> Result<Tensor> {
        let x = self.tokens.read(tokens, past.tokens()?, ctx)?; // [B, T, D]
        let x = self.encoder.continue_after(&x, &mut past.0, &ctx.at("encoder"))?;
        x.through("decoder", &self.decoder, ctx)
    }
}

impl Layer for TransformerLanguageModel {
    /// `[B, T]` → `[B, T, V]`, from the beginning of a text.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let causal = Masks { causal: true, ..Masks::default() };
        let x = self.tokens.read(x, 0, ctx)?; // [B, T, D]
        self.encoder.run(&x, causal, &ctx.at("encoder"))?.through("decoder", &self.decoder, ctx)
    }
}

/// tokens → Transformer layers → the mean of a sequence's tokens → logits.
///
/// Parameters: `embedding.weight`, `positions.weight` if they are learned, `encoder.*` of a [`TransformerEncoder`],
/// `head.weight` and `head.bias`.
#[derive(Clone, Debug)]
pub struct TransformerClassifier {
    tokens: Tokens,
    encoder: TransformerEncoder,
    head: Linear,
    dropout: Dropout,
}

impl TransformerClassifier {
    /// With `classes` logits.
    ///
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(classes: usize, cfg: &TransformerModelConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            tokens: Tokens::new(cfg, &vb)?,
            encoder: TransformerEncoder::new(cfg.width, cfg.layers, &cfg.transformer, vb.pp("encoder"))?,
            head: Linear::new(cfg.width, classes, Bias::Learned, vb.pp("head"))?,
            dropout: Dropout::new(cfg.transformer.dropout)?,
        })
    }

    /// Tokens `[B, T]`, and how many of them are each sequence's own → `[B, classes]`
    ///
    /// # Errors
    /// If a token is outside the vocabulary (the message names it and its place), the sequences are longer than the
    /// longest, there is not one length a sequence, or one is not in `1..=T`.
    pub fn logits(&self, x: &Tensor, lengths: Option<&[usize]>, ctx: &Ctx) -> Result<Tensor> {
        let tokens = self.tokens.read(x, 0, ctx)?; // [B, T, D]
        let keys = lengths.map(|lengths| padding_mask(lengths, x)).transpose()?;
        let masks = Masks { keys: keys.as_ref(), ..Masks::default() };
        let tokens = self.encoder.run(&tokens, masks, &ctx.at("encoder"))?;
        let mean = over_time(&tokens, lengths, OverTime::Mean)?; // [B, D]
        mean.through("dropout", &self.dropout, ctx)?.through("head", &self.head, ctx)
    }
}

impl Layer for TransformerClassifier {
    /// [`TransformerClassifier::logits`] of sequences of one length.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.logits(x, None, ctx)
    }
}

/// `[B, T]` of `u8` for [`Masks::keys`] of tokens `x [B, T]`: 1 at each sequence's own places.
///
/// # Errors
/// If `x` is of another shape, or there is not one length a sequence.
pub fn padding_mask(lengths: &[usize], x: &Tensor) -> Result<Tensor> {
    let (batch, steps) = x.dims2()?;
    ensure!(lengths.len() == batch, "padding_mask: one length a sequence of {batch}, got {}", lengths.len());
    let own = lengths.iter().flat_map(|&length| (0..steps).map(move |t| u8::from(t < length)));
    Tensor::from_vec(own.collect(), (batch, steps), x.device())
}
