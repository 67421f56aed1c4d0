//! Tokens that have seen each other and those of an encoder.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, ensure};
use nn_layers::{KeyValues, LayerNorm, Masks, MultiHeadAttention};

use super::parts::{FeedForward, Residual, attend, attention, ending};
use super::{TransformerConfig, end};

/// Attention among the tokens, attention to the encoder's, then two linear layers for each.
///
/// Parameters: `self_attn.*` and `multihead_attn.*` of a [`MultiHeadAttention`], the latter for the encoder's tokens,
/// `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*` and `norm3.*`.
#[derive(Clone, Debug)]
pub struct TransformerDecoderLayer {
    own: MultiHeadAttention,
    cross: MultiHeadAttention,
    feed_forward: FeedForward,
    residuals: [Residual; 3],
}

impl TransformerDecoderLayer {
    /// For tokens of `width` numbers.
    ///
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(width: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<Self> {
        let residual = |n| Residual::new(n, width, cfg, &vb);
        Ok(Self {
            own: attention(width, cfg, vb.pp("self_attn"))?,
            cross: attention(width, cfg, vb.pp("multihead_attn"))?,
            feed_forward: FeedForward::new(width, cfg, &vb)?,
            residuals: [residual(1)?, residual(2)?, residual(3)?],
        })
    }

    /// Tokens `x [B, T, D]` that see each other and `memory [B, S, D]` as the masks say, in this order → `[B, T, D]`.
    ///
    /// # Errors
    /// If a tensor or a mask is of another shape.
    pub fn run(&self, x: &Tensor, memory: &Tensor, masks: [Masks<'_>; 2], ctx: &Ctx) -> Result<Tensor> {
        let memory = self.cross.key_values(memory)?;
        self.with((x, &memory), masks[1], ctx, |x| {
            attend(&self.own, "self_attn", (x, ctx), |ctx| self.own.attend(x, masks[0], ctx))
        })
    }

    fn with(
        &self,
        (x, memory): (&Tensor, &KeyValues),
        masks: Masks<'_>,
        ctx: &Ctx,
        own: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let [first, second, third] = &self.residuals;
        let x = first.around(x, ctx, own)?;
        let x =
            second.around(&x, ctx, |x| self.cross.attend_to(x, memory, masks, &ctx.at("multihead_attn")))?;
        third.around(&x, ctx, |x| self.feed_forward.run(x, ctx))
    }
}

/// Layers one above the other.
///
/// Parameters: `layers.{i}.*` of a [`TransformerDecoderLayer`], and `norm.*` if there is a norm at the end.
#[derive(Clone, Debug)]
pub struct TransformerDecoder {
    layers: Vec<TransformerDecoderLayer>,
    norm: Option<LayerNorm>,
}

/// What a decoder that goes a few tokens at a time has worked out already: of each layer what the encoder's tokens and
/// its own offer.
#[derive(Clone, Debug)]
pub struct DecoderCache(Vec<(KeyValues, Option<KeyValues>)>);

impl DecoderCache {
    /// The cache whose tensors are `f` of these: other sequences of the batch.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let layers = self.0.iter().map(|(memory, own)| {
            Ok((memory.map(&mut f)?, own.as_ref().map(|own| own.map(&mut f)).transpose()?))
        });
        layers.collect::<Result<_>>().map(Self)
    }
}

impl TransformerDecoder {
    /// For tokens of `width` numbers, with so many `layers`.
    ///
    /// # Errors
    /// Those of [`TransformerDecoderLayer::new`].
    pub fn new(width: usize, layers: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<Self> {
        let layer = |i: usize| TransformerDecoderLayer::new(width, cfg, vb.pp("layers").pp(i));
        Ok(Self { layers: (0..layers).map(layer).collect::<Result<_>>()?, norm: ending(width, cfg, &vb)? })
    }

    /// Tokens `x [B, T, D]` that see each other and `memory [B, S, D]` as the masks say, in this order → `[B, T, D]`.
    ///
    /// # Errors
    /// If a tensor or a mask is of another shape.
    pub fn run(&self, x: &Tensor, memory: &Tensor, masks: [Masks<'_>; 2], ctx: &Ctx) -> Result<Tensor> {
        let inside = ctx.at("layers");
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.run(&x, memory, masks, &inside.at(&i.to_string()))?;
        }
        end(self.norm.as_ref(), x, ctx)
    }

    /// For [`TransformerDecoder::continue_after`]: no tokens yet, which see `memory [B, S, D]`.
    ///
    /// # Errors
    /// If it is of another shape.
    pub fn cache(&self, memory: &Tensor) -> Result<DecoderCache> {
        let layers = self.layers.iter().map(|layer| Ok((layer.cross.key_values(memory)?, None)));
        layers.collect::<Result<_>>().map(DecoderCache)
    }

    /// Tokens `x [B, T, D]` that follow those in the cache, each of which sees those before it, and of the encoder's those
    /// that `masks` let it → `[B, T, D]`; they are in the cache after it.
    ///
    /// # Errors
    /// If `x` or a mask is of another shape, or the cache is another decoder's.
    pub fn continue_after(
        &self,
        x: &Tensor,
        cache: &mut DecoderCache,
        masks: Masks<'_>,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let (got, needed) = (cache.0.len(), self.layers.len());
        ensure!(got == needed, "TransformerDecoder: the cache must be of {needed} layers, got {got}");
        let inside = ctx.at("layers");
        let mut x = x.clone();
        for ((i, layer), (memory, own)) in self.layers.iter().enumerate().zip(&mut cache.0) {
            let name = i.to_string();
            let ctx = inside.at(&name);
            x = layer.with((&x, &*memory), masks, &ctx, |x| {
                attend(&layer.own, "self_attn", (x, &ctx), |ctx| layer.own.continue_after(x, own, ctx))
            })?;
        }
        end(self.norm.as_ref(), x, ctx)
    }
}
