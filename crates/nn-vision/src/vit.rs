//! The vision transformer: an image as a sequence of patches. And DeiT, which learns from a teacher too.
//!
//! Source: Dosovitskiy et al. 2021, arXiv:2010.11929, Table 1 and equations 1 to 4; Touvron et al. 2021, arXiv:2012.12877,
//! for widths 192 and 384 and the distillation token; Beyer et al. 2022, arXiv:2205.01580, for the mean of all patches.
//! Names are torchvision's; where it has none, `distillation_token` and `heads.head_dist` follow its pattern.
//! Differs, with torchvision: the classification head of pre-training has no hidden layer. Biases of the MLPs start at
//! 0 and not within 1e-6 of it.

mod encoder;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{self, OverTime};
use nn_core::weights::NameMap;
use nn_core::{Ctx, Layer, Mode, ParamStore, Through, ensure};
use nn_layers::{Bias, Conv2d, Conv2dConfig, Linear, LinearConfig, normal};

use self::encoder::Encoder;
use crate::classifier::renew;
use crate::{Classifier, Entry, Network, Weighted};

/// What of the last layer the classes are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// A token that stands for the whole image: parameter `class_token`.
    ClassToken,
    /// The class token and a second one that follows a teacher (`distillation_token`): each has a head, and the logits
    /// are their mean.
    Distilled,
    /// The mean of all patches; there is no token but them.
    Mean,
}

/// Options of [`Vit`].
#[derive(Clone, Copy, Debug)]
pub struct VitConfig {
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Layers.
    pub depth: usize,
    /// Numbers a token.
    pub width: usize,
    /// Heads of attention; each has `width / heads` numbers.
    pub heads: usize,
    /// What the classes are read from.
    pub pooling: Pooling,
    /// Side of the images that have a position embedding a patch; others interpolate between them.
    pub image_size: usize,
    /// Probability of dropping a number after the embedding, in an MLP and after every block of a layer, in [0, 1].
    pub dropout: f64,
    /// Probability of dropping a weight of attention, in [0, 1].
    pub attention_dropout: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// 86 567 656 parameters.
pub const VIT_B_16: VitConfig = VitConfig {
    patch: 16,
    depth: 12,
    width: 768,
    heads: 12,
    pooling: Pooling::ClassToken,
    image_size: 224,
    dropout: 0.0,
    attention_dropout: 0.0,
    in_channels: 3,
    num_classes: 1000,
};
/// 88 224 232 parameters.
pub const VIT_B_32: VitConfig = VitConfig { patch: 32, ..VIT_B_16 };
/// 304 326 632 parameters.
pub const VIT_L_16: VitConfig = VitConfig { depth: 24, width: 1024, heads: 16, ..VIT_B_16 };
/// 306 535 400 parameters.
pub const VIT_L_32: VitConfig = VitConfig { patch: 32, ..VIT_L_16 };
/// 22 050 664 parameters.
pub const VIT_S_16: VitConfig = VitConfig { width: 384, heads: 6, ..VIT_B_16 };
/// 22 878 952 parameters.
pub const VIT_S_32: VitConfig = VitConfig { patch: 32, ..VIT_S_16 };
/// 5 717 416 parameters.
pub const VIT_T_16: VitConfig = VitConfig { width: 192, heads: 3, ..VIT_B_16 };
/// 6 131 560 parameters.
pub const VIT_T_32: VitConfig = VitConfig { patch: 32, ..VIT_T_16 };
/// 5 910 800 parameters.
pub const DEIT_T_16_DISTILLED: VitConfig = VitConfig { pooling: Pooling::Distilled, ..VIT_T_16 };
/// 22 436 432 parameters.
pub const DEIT_S_16_DISTILLED: VitConfig = VitConfig { pooling: Pooling::Distilled, ..VIT_S_16 };
/// 87 338 192 parameters.
pub const DEIT_B_16_DISTILLED: VitConfig = VitConfig { pooling: Pooling::Distilled, ..VIT_B_16 };

/// Maps that [`Vit::features`] returns.
const STAGES: usize = 4;
const ZEROS: LinearConfig = LinearConfig { bias: Bias::StartsAt(0.0), init: Some(Init::Const(0.0)) };

pub(crate) const ZOO: &[Entry] = &[
    row("vit_t_16", 5_717_416, |vb, n| build(VIT_T_16, vb, n)),
    row("vit_t_32", 6_131_560, |vb, n| build(VIT_T_32, vb, n)),
    row("vit_s_16", 22_050_664, |vb, n| build(VIT_S_16, vb, n)),
    row("vit_s_32", 22_878_952, |vb, n| build(VIT_S_32, vb, n)),
    row("vit_b_16", 86_567_656, |vb, n| build(VIT_B_16, vb, n)),
    row("vit_b_32", 88_224_232, |vb, n| build(VIT_B_32, vb, n)),
    row("vit_l_16", 304_326_632, |vb, n| build(VIT_L_16, vb, n)),
    row("vit_l_32", 306_535_400, |vb, n| build(VIT_L_32, vb, n)),
    row("deit_t_16_distilled", 5_910_800, |vb, n| build(DEIT_T_16_DISTILLED, vb, n)),
    row("deit_s_16_distilled", 22_436_432, |vb, n| build(DEIT_S_16_DISTILLED, vb, n)),
    row("deit_b_16_distilled", 87_338_192, |vb, n| build(DEIT_B_16_DISTILLED, vb, n)),
];

/// What timm and transformers call the parameters.
pub(crate) fn names() -> [NameMap; 2] {
    let timm = [
        ("cls_token", "class_token"),
        ("dist_token", "distillation_token"),
        ("pos_embed", "encoder.pos_embedding"),
        ("patch_embed.proj.{p}", "conv_proj.{p}"),
        ("blocks.{i}.norm1.{p}", "encoder.layers.encoder_layer_{i}.ln_1.{p}"),
        ("blocks.{i}.attn.qkv.{p}", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_{p}"),
        ("blocks.{i}.attn.proj.{p}", "encoder.layers.encoder_layer_{i}.self_attention.out_proj.{p}"),
        ("blocks.{i}.norm2.{p}", "encoder.layers.encoder_layer_{i}.ln_2.{p}"),
        ("blocks.{i}.mlp.fc1.{p}", "encoder.layers.encoder_layer_{i}.mlp.0.{p}"),
        ("blocks.{i}.mlp.fc2.{p}", "encoder.layers.encoder_layer_{i}.mlp.3.{p}"),
        ("norm.{p}", "encoder.ln.{p}"),
        ("head.{p}", "heads.head.{p}"),
        ("head_dist.{p}", "heads.head_dist.{p}"),
    ];
    // Those of the files on the hub; the library itself has had others since version 5.
    let layer = |theirs: &str, ours: &str| {
        (format!("vit.encoder.layer.{{i}}.{theirs}"), format!("encoder.layers.encoder_layer_{{i}}.{ours}"))
    };
    let transformers = [
        ("vit.embeddings.cls_token".to_owned(), "class_token".to_owned()),
        ("vit.embeddings.position_embeddings".to_owned(), "encoder.pos_embedding".to_owned()),
        ("vit.embeddings.patch_embeddings.projection.{p}".to_owned(), "conv_proj.{p}".to_owned()),
        layer("attention.attention.query.{p}", "self_attention.in_proj_{p}#0"),
        layer("attention.attention.key.{p}", "self_attention.in_proj_{p}#1"),
        layer("attention.attention.value.{p}", "self_attention.in_proj_{p}#2"),
        layer("attention.output.dense.{p}", "self_attention.out_proj.{p}"),
        layer("layernorm_before.{p}", "ln_1.{p}"),
        layer("layernorm_after.{p}", "ln_2.{p}"),
        layer("intermediate.dense.{p}", "mlp.0.{p}"),
        layer("output.dense.{p}", "mlp.3.{p}"),
        ("vit.layernorm.{p}".to_owned(), "encoder.ln.{p}".to_owned()),
        ("classifier.{p}".to_owned(), "heads.head.{p}".to_owned()),
    ];
    [NameMap::new("timm", timm), NameMap::new("transformers", transformers)]
}

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Dosovitskiy et al. 2021; Touvron et al. 2021";
    Entry { name, paper, input: [3, 224, 224], least: [96, 96], num_classes: 1000, parameters, build }
}

fn build(cfg: VitConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(Vit::new(&VitConfig { num_classes, ..cfg }, vb)?.into())
}

/// patches → tokens + positions → (attention → MLP) × depth → norm → classes.
pub struct Vit {
    patches: Conv2d,
    encoder: Encoder,
    heads: Vec<(&'static str, Linear)>,
    pooling: Pooling,
    patch: usize,
}

impl Vit {
    /// # Errors
    /// If `vb` has the names with other shapes, `patch` does not divide `image_size`, `heads` does not divide `width`, or a
    /// dropout is no probability.
    pub fn new(cfg: &VitConfig, vb: VarBuilder) -> Result<Self> {
        let &VitConfig { patch, width, image_size, in_channels, .. } = cfg;
        ensure!(
            patch > 0 && image_size >= patch && image_size.is_multiple_of(patch),
            "Vit: the patch must divide the image size, got {patch} and {image_size}"
        );
        let fan_in = (in_channels * patch * patch) as f64;
        let conv = Conv2dConfig {
            stride: [patch; 2],
            bias: Bias::StartsAt(0.0),
            init: Some(normal(fan_in.powf(-0.5))),
            ..Conv2dConfig::default()
        };
        let head = |name| Ok((name, Linear::new(width, cfg.num_classes, ZEROS, vb.pp("heads").pp(name))?));
        let names: &[&str] = match cfg.pooling {
            Pooling::Distilled => &["head", "head_dist"],
            Pooling::ClassToken | Pooling::Mean => &["head"],
        };
        Ok(Self {
            patches: Conv2d::new([in_channels, width], [patch; 2], conv, vb.pp("conv_proj"))?,
            encoder: Encoder::new(cfg, &vb)?,
            heads: names.iter().copied().map(head).collect::<Result<_>>()?,
            pooling: cfg.pooling,
            patch,
        })
    }

    /// A token a patch: `[B, width, H / patch, W / patch]`.
    fn map(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let ((_, _, h, w), p) = (x.dims4()?, self.patch);
        ensure!(
            h >= p && w >= p && h.is_multiple_of(p) && w.is_multiple_of(p),
            "Vit: the sides of an image must be multiples of {p} pixels, at least {p}×{p}, got {h}×{w}"
        );
        x.through("conv_proj", &self.patches, ctx)
    }

    /// What each head reads: `[B, width]`.
    fn read(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let tokens = self.map(x, ctx)?.through("encoder", &self.encoder, ctx)?; // [B, T, width]
        match self.pooling {
            Pooling::Mean => Ok(vec![ops::over_time(&tokens, None, OverTime::Mean)?]),
            Pooling::ClassToken | Pooling::Distilled => {
                (0..self.heads.len()).map(|i| ops::select(&tokens, 1, i)).collect()
            }
        }
    }

    /// Of each head: `[B, num_classes]`.
    fn logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let heads = self.heads.iter().zip(self.read(x, ctx)?);
        let ctx = &ctx.at("heads");
        heads.map(|((name, head), x)| x.through(name, head, ctx)).collect()
    }
}

impl Classifier for Vit {
    /// `[B, C, H, W]` → the patches after each quarter of the layers, four times `[B, width, H / patch, W / patch]` at stride
    /// `patch`; the last ones normalised.
    ///
    /// # Errors
    /// If `patch` does not divide the sides of the image.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let map = self.map(x, ctx)?;
        let (batch, width, h, w) = map.dims4()?;
        let as_map = |tokens: &Tensor| {
            let patches = ops::narrow(tokens, 1, tokens.dim(1)? - h * w, h * w)?;
            ops::reshape(&ops::transpose(&patches, 1, 2)?, (batch, width, h, w))
        };
        let mut outputs = Vec::with_capacity(STAGES);
        let depth = self.encoder.depth();
        let last = self.encoder.walk(&map, &ctx.at("encoder"), |n, tokens| {
            if n < depth && n * STAGES / depth > (n - 1) * STAGES / depth {
                outputs.push(as_map(tokens)?);
            }
            Ok(())
        })?;
        outputs.push(as_map(&last)?);
        Ok(outputs)
    }

    /// `[B, C, H, W]` → what the classes are read from, `[B, width]`; the mean of both tokens where there are two.
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        mean(&self.read(x, ctx)?)
    }

    /// `[B, C, H, W]` → logits `[B, num_classes]` of the class token's head and, where a distilled model is trained, those of the
    /// distillation token's, which learn from the teacher's answers; each loss weighs a half (Touvron et al. 2021, equation 3).
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        if ctx.mode() == Mode::Eval {
            return Ok(vec![Weighted::main(self.call(x, ctx)?)]);
        }
        let logits = self.logits(x, ctx)?;
        let weight = 1.0 / logits.len() as f64;
        Ok(logits.into_iter().map(|logits| Weighted { logits, weight }).collect())
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        let mut heads = self.heads.iter_mut();
        heads.try_for_each(|(name, head)| renew(head, &format!("heads.{name}"), num_classes, ZEROS, store))
    }
}

impl Layer for Vit {
    /// `[B, C, H, W]` → logits `[B, num_classes]`, of two heads their mean.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        mean(&self.logits(x, ctx)?)
    }
}

/// Of what one token or two gave.
fn mean(tensors: &[Tensor]) -> Result<Tensor> {
    match tensors {
        [a, b] => ops::scale(&ops::add(a, b)?, 0.5),
        tensors => Ok(tensors[0].clone()),
    }
}
