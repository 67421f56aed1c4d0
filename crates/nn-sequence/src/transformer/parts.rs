//! What encoder and decoder layers are made of: a part, what it was given added to it, and a norm.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Through, ops};
use nn_layers::{
    Activation, Bias, Dropout, LayerNorm, Linear, LinearConfig, MultiHeadAttention, MultiHeadAttentionConfig,
    xavier_uniform,
};

use super::{Ending, NormPlace, Start, TransformerConfig};

/// Linear layers as a configuration wants them.
fn linear(c_in: usize, c_out: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<Linear> {
    let init = (cfg.start == Start::Xavier).then(|| xavier_uniform(c_in, c_out));
    Linear::new(c_in, c_out, LinearConfig { bias: Bias::Learned, init }, vb)
}

pub(super) fn attention(width: usize, cfg: &TransformerConfig, vb: VarBuilder) -> Result<MultiHeadAttention> {
    let out_init = (cfg.start == Start::Xavier).then(|| xavier_uniform(width, width));
    MultiHeadAttention::new(width, cfg.heads, MultiHeadAttentionConfig { dropout: cfg.dropout, out_init }, vb)
}

/// The attention called `name`, as `f` runs it on `x`, and heard by who watches the pass.
pub(super) fn attend(
    attention: &MultiHeadAttention,
    name: &str,
    (x, ctx): (&Tensor, &Ctx),
    f: impl FnOnce(&Ctx) -> Result<Tensor>,
) -> Result<Tensor> {
    let ctx = ctx.at(name);
    let y = f(&ctx)?;
    ctx.report(attention, x, &y);
    Ok(y)
}

/// The norm after the last layer, if there is one.
pub(super) fn ending(width: usize, cfg: &TransformerConfig, vb: &VarBuilder) -> Result<Option<LayerNorm>> {
    match cfg.ending {
        Ending::Plain => Ok(None),
        Ending::Norm => LayerNorm::new(width, cfg.eps, vb.pp("norm")).map(Some),
    }
}

/// `linear2(dropout(f(linear1(x))))`, each token alone.
///
/// Parameters: `linear1.*` and `linear2.*`, of the layer it is a part of.
#[derive(Clone, Debug)]
pub(super) struct FeedForward {
    linear1: Linear,
    linear2: Linear,
    activation: Activation,
    dropout: Dropout,
}

impl FeedForward {
    pub(super) fn new(width: usize, cfg: &TransformerConfig, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            linear1: linear(width, cfg.feed_forward, cfg, vb.pp("linear1"))?,
            linear2: linear(cfg.feed_forward, width, cfg, vb.pp("linear2"))?,
            activation: cfg.activation,
            dropout: Dropout::new(cfg.dropout)?,
        })
    }

    pub(super) fn run(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = x.through("linear1", &self.linear1, ctx)?.through("activation", &self.activation, ctx)?;
        x.through("dropout", &self.dropout, ctx)?.through("linear2", &self.linear2, ctx)
    }
}

/// How a part is added to what it was given. Part `n` of a layer has the parameters `norm{n}.*`.
#[derive(Clone, Debug)]
pub(super) struct Residual {
    names: [String; 2],
    norm: LayerNorm,
    dropout: Dropout,
    place: NormPlace,
}

impl Residual {
    pub(super) fn new(n: usize, width: usize, cfg: &TransformerConfig, vb: &VarBuilder) -> Result<Self> {
        let names = [format!("norm{n}"), format!("dropout{n}")];
        Ok(Self {
            norm: LayerNorm::new(width, cfg.eps, vb.pp(&names[0]))?,
            names,
            dropout: Dropout::new(cfg.dropout)?,
            place: cfg.norm,
        })
    }

    /// `norm(x + dropout(part(x)))`, or `x + dropout(part(norm(x)))`.
    pub(super) fn around(
        &self,
        x: &Tensor,
        ctx: &Ctx,
        part: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let [norm, dropout] = &self.names;
        let sum = |y: Tensor| ops::add(x, &y.through(dropout, &self.dropout, ctx)?);
        match self.place {
            NormPlace::First => sum(part(&x.through(norm, &self.norm, ctx)?)?),
            NormPlace::Last => sum(part(x)?)?.through(norm, &self.norm, ctx),
        }
    }
}
