//! The Transformer: encoder, decoder, and both together.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, §3; Xiong et al. 2020, arXiv:2002.04745, for the norm in front. Names, start
//! values and numbers are those of `torch.nn.Transformer` and its parts.
//! Differs: the batch comes first.

mod decoder;
mod encoder;
mod parts;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Through};
use nn_layers::{Activation, Masks};

pub use decoder::{DecoderCache, TransformerDecoder, TransformerDecoderLayer};
pub use encoder::{TransformerEncoder, TransformerEncoderLayer};

/// Options of a Transformer and its parts; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct TransformerConfig {
    /// Heads of attention, which share the width.
    pub heads: usize,
    /// Numbers a token has between the two linear layers.
    pub feed_forward: usize,
    /// Probability in [0, 1] of dropping a weight of attention, and a number after each part, in training.
    pub dropout: f64,
    /// Between the two linear layers.
    pub activation: Activation,
    /// Where norms are.
    pub norm: NormPlace,
    /// Added to a variance.
    pub eps: f64,
    /// Whether there is a norm after the last layer.
    pub ending: Ending,
    /// What linear layers start from.
    pub start: Start,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            heads: 8,
            feed_forward: 2048,
            dropout: 0.1,
            activation: Activation::Relu,
            norm: NormPlace::Last,
            eps: 1e-5,
            ending: Ending::Plain,
            start: Start::Layers,
        }
    }
}

/// Where a layer has its norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormPlace {
    /// `x ← norm(x + part(x))`
    #[default]
    Last,
    /// `x ← x + part(norm(x))`
    First,
}

/// What follows the last layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    #[default]
    Plain,
    /// A norm: parameters `norm.weight` and `norm.bias`.
    Norm,
}

/// What the weights of linear layers start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Those of each layer, as in `torch.nn.TransformerEncoder`.
    #[default]
    Layers,
    /// Uniform in `±√(6 / (fan_in + fan_out))`, as in `torch.nn.Transformer`.
    Xavier,
}

/// Masks of a [`Transformer`]; everyone sees everyone by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransformerMasks<'a> {
    /// Of source tokens that see source tokens.
    pub source: Masks<'a>,
    /// Of target tokens that see target tokens; most often causal.
    pub target: Masks<'a>,
    /// Of target tokens that see the encoder's.
    pub memory: Masks<'a>,
}

/// An encoder of source tokens, and a decoder of target tokens that see them.
///
/// Parameters: `encoder.*` of a [`TransformerEncoder`] and `decoder.*` of a [`TransformerDecoder`], both with a norm at the
/// end, their matrices as in [`Start::Xavier`].
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_layers::Masks;
/// use nn_sequence::{Transformer, TransformerConfig, TransformerMasks};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let cfg = TransformerConfig { heads: 2, feed_forward: 16, ..TransformerConfig::default() };
/// let model = Transformer::new(8, [2, 2], &cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let source = Tensor::zeros((1, 5, 8), DType::F32, &Device::Cpu)?;
/// let target = Tensor::zeros((1, 3, 8), DType::F32, &Device::Cpu)?;
/// let causal = Masks { causal: true, ..Masks::default() };
/// let masks = TransformerMasks { target: causal, ..TransformerMasks::default() };
/// assert_eq!(model.run(&source, &target, masks, &Ctx::eval())?.dims(), [1, 3, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Transformer {
    encoder: TransformerEncoder,
    decoder: TransformerDecoder,
}

impl Transformer {
    /// For tokens of `width` numbers, with so many layers in the encoder and in the decoder; `ending` and `start` are
    /// those of a Transformer, whatever `cfg` says.
    ///
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(
        width: usize,
        [encoder, decoder]: [usize; 2],
        cfg: &TransformerConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let cfg = &TransformerConfig { ending: Ending::Norm, start: Start::Xavier, ..*cfg };
        Ok(Self {
            encoder: TransformerEncoder::new(width, encoder, cfg, vb.pp("encoder"))?,
            decoder: TransformerDecoder::new(width, decoder, cfg, vb.pp("decoder"))?,
        })
    }

    /// Source tokens `[B, S, D]` and target tokens `[B, T, D]` → `[B, T, D]`
    ///
    /// # Errors
    /// If a tensor or a mask is of another shape.
    pub fn run(
        &self,
        source: &Tensor,
        target: &Tensor,
        masks: TransformerMasks<'_>,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let memory = self.encode(source, masks.source, ctx)?;
        self.decoder.run(target, &memory, [masks.target, masks.memory], &ctx.at("decoder"))
    }

    /// What the decoder sees of the source: `[B, S, D]` → `[B, S, D]`.
    ///
    /// # Errors
    /// If a tensor or a mask is of another shape.
    pub fn encode(&self, source: &Tensor, masks: Masks<'_>, ctx: &Ctx) -> Result<Tensor> {
        self.encoder.run(source, masks, &ctx.at("encoder"))
    }

    /// For target tokens a few at a time.
    pub fn decoder(&self) -> &TransformerDecoder {
        &self.decoder
    }
}

/// Sends tokens through the norm at the end, if there is one.
fn end(norm: Option<&nn_layers::LayerNorm>, x: Tensor, ctx: &Ctx) -> Result<Tensor> {
    match norm {
        Some(norm) => x.through("norm", norm, ctx),
        None => Ok(x),
    }
}
