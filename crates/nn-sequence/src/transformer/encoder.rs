//! Tokens that have seen each other.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ensure};
use nn_layers::{KeyValues, LayerNorm, Masks, MultiHeadAttention};

use super::parts::{FeedForward, Residual, attend, attention, ending};
use super::{TransformerConfig, end};

/// Attention among the tokens, then two linear layers for each.
///
/// Parameters: `self_attn.*` of a [`MultiHeadAttention`], `linear1.*`, `linear2.*`, `norm1.*` and `norm2.*`.
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    residuals: [Residual; 2],
}

impl TransformerEncoderLayer {
    /// For tokens of `width` numbers.
    ///
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(width: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            attention: attention(width, cfg, vb.pp("self_attn"))?,
            feed_forward: FeedForward::new(width, cfg, &vb)?,
            residuals: [Residual::new(1, width, cfg, &vb)?, Residual::new(2, width, cfg, &vb)?],
        })
    }

    /// `[B, T, D]` → `[B, T, D]`; tokens see each other as `masks` say.
    ///
    /// # Errors
    /// If `x` or a mask is of another shape.
    pub fn run(&self, x: &Tensor, masks: Masks<'_>, ctx: &Ctx) -> Result<Tensor> {
        self.with(x, ctx, |x| {
            attend(&self.attention, "self_attn", (x, ctx), |ctx| self.attention.attend(x, masks, ctx))
        })
    }

    /// Tokens `x [B, T, D]` that follow those in `past`, each of which sees those before it → `[B, T, D]`; they are in
    /// `past` after it.
    ///
    /// # Errors
    /// If `x` is of another shape.
    pub fn continue_after(&self, x: &Tensor, past: &mut Option<KeyValues>, ctx: &Ctx) -> Result<Tensor> {
        self.with(x, ctx, |x| {
            attend(&self.attention, "self_attn", (x, ctx), |ctx| self.attention.continue_after(x, past, ctx))
        })
    }

    fn with(&self, x: &Tensor, ctx: &Ctx, own: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let [first, second] = &self.residuals;
        let x = first.around(x, ctx, own)?;
        second.around(&x, ctx, |x| self.feed_forward.run(x, ctx))
    }
}

impl Layer for TransformerEncoderLayer {
    /// `[B, T, D]` → `[B, T, D]`; everyone sees everyone.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.run(x, Masks::default(), ctx)
    }
}

/// Layers one above the other.
///
/// Parameters: `layers.{i}.*` of a [`TransformerEncoderLayer`], and `norm.*` if there is a norm at the end.
#[derive(Clone, Debug)]
pub struct TransformerEncoder {
    layers: Vec<TransformerEncoderLayer>,
    norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// For tokens of `width` numbers, with so many `layers`.
    ///
    /// # Errors
    /// Those of [`TransformerEncoderLayer::new`].
    pub fn new(width: usize, layers: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<Self> {
        let layer = |i: usize| TransformerEncoderLayer::new(width, cfg, vb.pp("layers").pp(i));
        Ok(Self { layers: (0..layers).map(layer).collect::<Result<_>>()?, norm: ending(width, cfg, &vb)? })
    }

    /// `[B, T, D]` → `[B, T, D]`; tokens see each other as `masks` say.
    ///
    /// # Errors
    /// If `x` or a mask is of another shape.
    pub fn run(&self, x: &Tensor, masks: Masks<'_>, ctx: &Ctx) -> Result<Tensor> {
        let inside = ctx.at("layers");
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.run(&x, masks, &inside.at(&i.to_string()))?;
        }
        end(self.norm.as_ref(), x, ctx)
    }

    /// Tokens `x [B, T, D]` that follow those in `past`, each of which sees those before it → `[B, T, D]`; they are in
    /// `past` after it, which starts empty.
    ///
    /// # Errors
    /// If `x` is of another shape, or `past` is another encoder's.
    pub fn continue_after(&self, x: &Tensor, past: &mut Vec<KeyValues>, ctx: &Ctx) -> Result<Tensor> {
        let (got, needed) = (past.len(), self.layers.len());
        ensure!(
            got == 0 || got == needed,
            "TransformerEncoder: the past must be of {needed} layers, got {got}"
        );
        let inside = ctx.at("layers");
        let mut before = std::mem::take(past).into_iter();
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let mut own = before.next();
            x = layer.continue_after(&x, &mut own, &inside.at(&i.to_string()))?;
            past.extend(own);
        }
        end(self.norm.as_ref(), x, ctx)
    }
}

impl Layer for TransformerEncoder {
    /// `[B, T, D]` → `[B, T, D]`; everyone sees everyone.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.run(x, Masks::default(), ctx)
    }
}
