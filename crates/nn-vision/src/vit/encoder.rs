//! From a map of patches to tokens that have seen each other.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{self, Interpolation, Sampling, interpolate};
use nn_core::{Ctx, Layer, Through};
use nn_layers::{
    Activation, Bias, Dropout, LayerNorm, Linear, LinearConfig, MultiHeadAttention, normal, xavier_uniform,
};

use super::{Pooling, VitConfig};

/// The MLP of a layer is this many times as wide as a token.
const MLP_RATIO: usize = 4;
const EPS: f64 = 1e-6;

/// tokens + positions → layers → norm.
///
/// Parameters of its own: `pos_embedding [1, T, D]`, the special tokens' first, normal with deviation 0.02 at the start.
pub(super) struct Encoder {
    /// Tokens before the patches, `[1, 1, D]` each.
    special: Vec<Tensor>,
    positions: Tensor,
    /// Patches along height and width that have a position each.
    grid: usize,
    dropout: Dropout,
    layers: Vec<EncoderLayer>,
    norm: LayerNorm,
}

impl Encoder {
    /// `vb` is the model's: the special tokens are its parameters.
    pub(super) fn new(cfg: &VitConfig, vb: &VarBuilder) -> Result<Self> {
        let names: &[&str] = match cfg.pooling {
            Pooling::ClassToken => &["class_token"],
            Pooling::Distilled => &["class_token", "distillation_token"],
            Pooling::Mean => &[],
        };
        let token = |name: &&str| vb.get_with_hints((1, 1, cfg.width), name, Init::Const(0.0));
        let grid = cfg.image_size / cfg.patch;
        let positions = (1, names.len() + grid * grid, cfg.width);
        let inside = vb.pp("encoder");
        let layer = |i: usize| EncoderLayer::new(cfg, inside.pp("layers").pp(format!("encoder_layer_{i}")));
        Ok(Self {
            special: names.iter().map(token).collect::<Result<_>>()?,
            positions: inside.get_with_hints(positions, "pos_embedding", normal(0.02))?,
            grid,
            dropout: Dropout::new(cfg.dropout)?,
            layers: (0..cfg.depth).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::new(cfg.width, EPS, inside.pp("ln"))?,
        })
    }

    pub(super) fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What [`Layer::call`] returns; `visit` sees the tokens after layers 1, 2, … before.
    pub(super) fn walk(
        &self,
        map: &Tensor,
        ctx: &Ctx,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = self.tokens(map)?.through("dropout", &self.dropout, ctx)?; // [B, T, D]
        let inside = ctx.at("layers");
        for (i, layer) in self.layers.iter().enumerate() {
            x = x.through(&format!("encoder_layer_{i}"), layer, &inside)?;
            visit(i + 1, &x)?;
        }
        x.through("ln", &self.norm, ctx)
    }

    /// Special tokens and patches, each with its position.
    fn tokens(&self, map: &Tensor) -> Result<Tensor> {
        let (batch, width, h, w) = map.dims4()?;
        let patches = as_tokens(map)?;
        let mut tokens = Vec::with_capacity(self.special.len() + 1);
        for token in &self.special {
            tokens.push(ops::expand(token, (batch, 1, width))?);
        }
        tokens.push(patches);
        ops::add(&ops::concat(&tokens, 1)?, &self.positions(h, w)?)
    }

    /// Those of a grid of `h` × `w` patches, `[1, T, D]`: the special tokens' as they are, the patches' resized like an image,
    /// as timm does it.
    fn positions(&self, h: usize, w: usize) -> Result<Tensor> {
        if [h, w] == [self.grid; 2] {
            return Ok(self.positions.clone());
        }
        let (_, tokens, width) = self.positions.dims3()?;
        let patches = self.grid * self.grid;
        let special = ops::narrow(&self.positions, 1, 0, tokens - patches)?;
        let map = ops::transpose(&ops::narrow(&self.positions, 1, tokens - patches, patches)?, 1, 2)?;
        let map = ops::reshape(&map, (1, width, self.grid, self.grid))?;
        let map = interpolate(&map, [h, w], Interpolation::Bicubic(Sampling::Antialiased))?; // [1, D, h, w]
        ops::concat(&[special, as_tokens(&map)?], 1)
    }
}

impl Layer for Encoder {
    /// `[B, D, h, w]` → `[B, T, D]`, `T` being the special tokens and `h · w`.
    fn call(&self, map: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.walk(map, ctx, |_, _| Ok(()))
    }
}

/// `[B, D, h, w]` → `[B, h · w, D]`
fn as_tokens(map: &Tensor) -> Result<Tensor> {
    ops::transpose(&ops::flatten(map, 2)?, 1, 2)
}

/// `x ← x + attention(norm(x))`, `x ← x + mlp(norm(x))`; equations 2 and 3.
struct EncoderLayer {
    ln_1: LayerNorm,
    attention: MultiHeadAttention,
    ln_2: LayerNorm,
    mlp: Mlp,
    dropout: Dropout,
}

impl EncoderLayer {
    fn new(cfg: &VitConfig, vb: VarBuilder) -> Result<Self> {
        let &VitConfig { width, heads, attention_dropout, dropout, .. } = cfg;
        Ok(Self {
            ln_1: LayerNorm::new(width, EPS, vb.pp("ln_1"))?,
            attention: MultiHeadAttention::new(width, heads, attention_dropout, vb.pp("self_attention"))?,
            ln_2: LayerNorm::new(width, EPS, vb.pp("ln_2"))?,
            mlp: Mlp::new(width, dropout, vb.pp("mlp"))?,
            dropout: Dropout::new(dropout)?,
        })
    }
}

impl Layer for EncoderLayer {
    /// `[B, T, D]` → `[B, T, D]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let y = x.through("ln_1", &self.ln_1, ctx)?.through("self_attention", &self.attention, ctx)?;
        let x = ops::add(x, &y.through("dropout", &self.dropout, ctx)?)?;
        let y = x.through("ln_2", &self.ln_2, ctx)?.through("mlp", &self.mlp, ctx)?;
        ops::add(&x, &y)
    }
}

/// dense → GELU → dropout → dense → dropout, named by their places as in torchvision.
struct Mlp {
    wide: Linear,
    narrow: Linear,
    dropout: Dropout,
}

impl Mlp {
    fn new(width: usize, dropout: f64, vb: VarBuilder) -> Result<Self> {
        let wide = MLP_RATIO * width;
        let cfg = LinearConfig { bias: Bias::StartsAt(0.0), init: Some(xavier_uniform(width, wide)) };
        Ok(Self {
            wide: Linear::new(width, wide, cfg, vb.pp("0"))?,
            narrow: Linear::new(wide, width, cfg, vb.pp("3"))?,
            dropout: Dropout::new(dropout)?,
        })
    }
}

impl Layer for Mlp {
    /// `[B, T, D]` → `[B, T, D]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = x.through("0", &self.wide, ctx)?.through("1", &Activation::Gelu, ctx)?; // [B, T, 4 · D]
        let x = x.through("2", &self.dropout, ctx)?.through("3", &self.narrow, ctx)?;
        x.through("4", &self.dropout, ctx)
    }
}
