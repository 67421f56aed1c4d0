//! A fully convolutional network on a dilated ResNet: a class for every pixel.
//!
//! Source: Long, Shelhamer & Darrell 2015, arXiv:1411.4038, for the idea. Names and numbers are torchvision's
//! `fcn_resnet50` and `fcn_resnet101`.
//! Differs, with torchvision: the last two stages dilate instead of striding, and scores at stride 8 are interpolated to the
//! size of the image at once, without skips or transposed convolutions.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{Interpolation, Sampling, interpolate};
use nn_core::{Ctx, Layer, Mode, Through};
use nn_layers::{Bias, Conv2d, Conv2dConfig, ConvNorm, Dropout};

use crate::resnet::{RESNET50, RESNET101, Reach, ResNetConfig, Stages};
use crate::unit::{Unit, unit};
use crate::{Auxiliary, Entry, Network, Segmenter, Weighted};

/// Options of [`FcnResNet`].
#[derive(Clone, Copy, Debug)]
pub struct FcnResNetConfig {
    /// What makes the features; its number of classes does not matter.
    pub backbone: ResNetConfig,
    /// Whether a second head reads the third stage in training.
    pub auxiliary: Auxiliary,
    /// Probability of dropping a number before the scores, in [0, 1].
    pub dropout: f64,
    /// Width of the output.
    pub num_classes: usize,
}

/// 35 322 218 parameters.
pub const FCN_RESNET50: FcnResNetConfig = FcnResNetConfig {
    backbone: ResNetConfig { reach: [Reach::Stride, Reach::Dilation, Reach::Dilation], ..RESNET50 },
    auxiliary: Auxiliary::Heads,
    dropout: 0.1,
    num_classes: 21,
};

/// 54 314 346 parameters.
pub const FCN_RESNET101: FcnResNetConfig = FcnResNetConfig {
    backbone: ResNetConfig { reach: FCN_RESNET50.backbone.reach, ..RESNET101 },
    ..FCN_RESNET50
};

pub(crate) const ZOO: &[Entry] = &[
    row("fcn_resnet50", 35_322_218, |vb, n| build(FCN_RESNET50, vb, n)),
    row("fcn_resnet101", 54_314_346, |vb, n| build(FCN_RESNET101, vb, n)),
];

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Long, Shelhamer & Darrell 2015";
    Entry { name, paper, input: [3, 520, 520], least: [40, 56], num_classes: 21, parameters, build }
}

fn build(cfg: FcnResNetConfig, vb: VarBuilder<'static>, num_classes: usize) -> Result<Network> {
    Ok(Network::segmenter(FcnResNet::new(&FcnResNetConfig { num_classes, ..cfg }, vb)?))
}

/// What the loss of the auxiliary head is multiplied by before it is added to the main one.
pub const AUXILIARY_WEIGHT: f64 = 0.5;

/// stages → conv 3×3 → scores 1×1 → interpolation.
pub struct FcnResNet {
    backbone: Stages,
    classifier: Head,
    auxiliary: Option<Head>,
}

impl FcnResNet {
    /// # Errors
    /// If `vb` has the names with other shapes, or `cfg.dropout` is no probability.
    pub fn new(cfg: &FcnResNetConfig, vb: VarBuilder) -> Result<Self> {
        let backbone = Stages::new(&cfg.backbone, vb.pp("backbone"))?;
        let channels = backbone.channels();
        let auxiliary = match cfg.auxiliary {
            Auxiliary::Heads => Some(Head::new(channels / 2, cfg, vb.pp("aux_classifier"))?),
            Auxiliary::None => None,
        };
        Ok(Self { backbone, classifier: Head::new(channels, cfg, vb.pp("classifier"))?, auxiliary })
    }
}

impl Segmenter for FcnResNet {
    /// `[B, C, H, W]` → the scores `[B, num_classes, H, W]` of every head that learns, the main one first; in evaluation it is
    /// the only one. The auxiliary head's loss is added to the main one [`AUXILIARY_WEIGHT`] times.
    ///
    /// # Errors
    /// If the image has another number of channels, or no pixels.
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        let (_, _, h, w) = x.dims4()?;
        let features = self.backbone.features(x, &ctx.at("backbone"))?;
        let large = |scores: &Tensor| interpolate(scores, [h, w], Interpolation::Bilinear(Sampling::Centers));
        let scores = large(&features[3].through("classifier", &self.classifier, ctx)?)?;
        let mut logits = vec![Weighted::main(scores)];
        if let Some(head) = self.auxiliary.as_ref().filter(|_| ctx.mode() == Mode::Train) {
            let scores = large(&features[2].through("aux_classifier", head, ctx)?)?;
            logits.push(Weighted { logits: scores, weight: AUXILIARY_WEIGHT });
        }
        Ok(logits)
    }
}

impl Layer for FcnResNet {
    /// `[B, C, H, W]` → scores `[B, num_classes, H, W]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        Ok(self.all_logits(x, ctx)?.swap_remove(0).logits)
    }
}

/// conv 3×3 to a quarter of the channels → dropout → scores.
struct Head {
    conv: ConvNorm,
    dropout: Dropout,
    scores: Conv2d,
}

impl Head {
    fn new(channels: usize, cfg: &FcnResNetConfig, vb: VarBuilder) -> Result<Self> {
        let inner = channels / 4;
        Ok(Self {
            conv: Unit { init: None, ..unit(3) }.build([channels, inner], ["0", "1"], vb.clone())?,
            dropout: Dropout::new(cfg.dropout)?,
            scores: Conv2d::new(
                [inner, cfg.num_classes],
                [1, 1],
                Conv2dConfig { bias: Bias::Learned, ..Conv2dConfig::default() },
                vb.pp("4"),
            )?,
        })
    }
}

impl Layer for Head {
    /// `[B, c, H, W]` → `[B, num_classes, H, W]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.conv.call(x, ctx)?.through("3", &self.dropout, ctx)?.through("4", &self.scores, ctx)
    }
}
