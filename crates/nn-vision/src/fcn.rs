//! The fully convolutional network: a class for every pixel, from the maps of any classifier.
//!
//! Source: Long, Shelhamer & Darrell 2015, arXiv:1411.4038, sections 3.3 and 4.1, figure 3.
//! Differs: the image gets zeros below and to the right up to a multiple of the coarsest stride, and convolutions keep
//! their maps' size, so that maps lie on each other without the crops that the paper's 100 pixels of padding call for.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{self, TransposedConvolution};
use nn_core::{Ctx, Layer, Through, ensure};
use nn_layers::{
    Activation, Bias, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dropout, HE_FAN_OUT,
    Padding, Sequential, Start,
};

use crate::backbone::{Backbone, Stage};
use crate::mobilenet_v2::{MOBILENET_V2, MobileNetV2};
use crate::vgg::{VGG16, Vgg, VggConfig};
use crate::{Classifier, Entry, Network, Segmenter};

/// Options of [`Fcn`].
#[derive(Clone, Copy, Debug)]
pub struct FcnConfig {
    /// The finest stride whose map is scored: a half, a quarter … of the coarsest, or that itself.
    pub stride: usize,
    /// Side of the head's first kernel, an odd number; fc6 in the paper.
    pub kernel: usize,
    /// Channels of the head's two hidden convolutions, fc6 and fc7.
    pub width: usize,
    /// Probability of dropping one of their numbers, in [0, 1].
    pub dropout: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// Scores at stride 32 alone, with the head of VGG.
pub const FCN32S: FcnConfig =
    FcnConfig { stride: 32, kernel: 7, width: 4096, dropout: 0.5, in_channels: 3, num_classes: 21 };
/// Scores at strides 32 and 16.
pub const FCN16S: FcnConfig = FcnConfig { stride: 16, ..FCN32S };
/// Scores at strides 32, 16 and 8.
pub const FCN8S: FcnConfig = FcnConfig { stride: 8, ..FCN32S };
/// [`FCN8S`] with a head that suits a small network.
pub const FCN8S_SMALL: FcnConfig = FcnConfig { kernel: 3, width: 256, dropout: 0.1, ..FCN8S };

pub(crate) const ZOO: &[Entry] = &[
    row("fcn32s_vgg16", 136_152_917, |vb, n| vgg16(FCN32S, vb, n)),
    row("fcn16s_vgg16", 134_815_994, |vb, n| vgg16(FCN16S, vb, n)),
    row("fcn8s_vgg16", 134_489_759, |vb, n| vgg16(FCN8S, vb, n)),
    row("fcn_mobilenet_v2", 5_374_175, |vb, n| {
        let cfg = FcnConfig { num_classes: n, ..FCN8S_SMALL };
        Ok(Network::segmenter(Fcn::new(&cfg, |vb| MobileNetV2::new(&MOBILENET_V2, vb), vb)?))
    }),
];

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Long, Shelhamer & Darrell 2015";
    Entry { name, paper, input: [3, 224, 224], least: [64, 64], num_classes: 21, parameters, build }
}

/// VGG's dense layers, of which an FCN makes convolutions of its own, are built as small as can be.
fn vgg16(cfg: FcnConfig, vb: VarBuilder<'static>, num_classes: usize) -> Result<Network> {
    let body = VggConfig { hidden: 1, num_classes: 1, ..VGG16 };
    Ok(Network::segmenter(Fcn::new(&FcnConfig { num_classes, ..cfg }, |vb| Vgg::new(&body, vb), vb)?))
}

/// backbone → conv → conv → scores, and finer maps' scores added to the coarser ones' on the way up to the image.
///
/// Parameters: the backbone's under `backbone`; `classifier.0`, `.3` and `.6`, the head; `skips.0` for the second
/// coarsest map, `skips.1` … each with `upsample`, which doubles the coarser scores, and `score`; `upsample` to the image.
/// Scores start at 0, and transposed convolutions as bilinear interpolation.
///
/// The dense layers of a trained VGG are the head's convolutions, with their weights in another shape: `classifier.0`
/// `[4096, 25088]` as `[4096, 512, 7, 7]`, and `classifier.3` `[4096, 4096]` as `[4096, 4096, 1, 1]`.
pub struct Fcn {
    backbone: Backbone,
    classifier: Sequential,
    skips: Vec<Skip>,
    upsample: ConvTranspose2d,
    coarsest: usize,
}

impl Fcn {
    /// On the network that `build` makes.
    ///
    /// # Errors
    /// If the backbone has no map at `cfg.stride`, or at a stride between that and its coarsest; if the kernel is even; if
    /// the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new<C: Classifier + 'static>(
        cfg: &FcnConfig,
        build: impl Fn(VarBuilder<'static>) -> Result<C>,
        vb: VarBuilder<'static>,
    ) -> Result<Self> {
        let &FcnConfig { stride, kernel, width, in_channels, num_classes, .. } = cfg;
        ensure!(kernel % 2 == 1, "Fcn: the kernel must be odd, got {kernel}");
        let backbone = Backbone::new(in_channels, build, vb.pp("backbone"))?;
        let Some(&coarsest) = backbone.stages().last() else {
            candle_core::bail!("Fcn: a backbone without maps")
        };
        let dropout = Dropout::new(cfg.dropout)?;
        let head = vb.pp("classifier");
        let hidden = |channels, kernel: usize, vb| {
            let padding = Padding::Symmetric([kernel / 2; 2]);
            let cfg = Conv2dConfig {
                padding,
                init: Some(HE_FAN_OUT),
                bias: Bias::StartsAt(0.0),
                ..Conv2dConfig::default()
            };
            Conv2d::new(channels, [kernel; 2], cfg, vb)
        };
        let classifier = Sequential::default()
            .then("0", hidden([coarsest.channels, width], kernel, head.pp(0))?)
            .then("1", Activation::Relu)
            .then("2", dropout)
            .then("3", hidden([width, width], 1, head.pp(3))?)
            .then("4", Activation::Relu)
            .then("5", dropout)
            .then("6", scores(width, num_classes, head.pp(6))?);
        ensure!(
            coarsest
                .stride
                .checked_div(stride)
                .is_some_and(|n| n.is_power_of_two() && n * stride == coarsest.stride),
            "Fcn: the stride must be {} or a half, a quarter … of it, got {stride}",
            coarsest.stride
        );
        let (mut skips, mut reached) = (Vec::new(), coarsest.stride);
        while reached > stride {
            reached /= 2;
            skips.push(Skip::new(reached, backbone.stages(), num_classes, vb.pp("skips").pp(skips.len()))?);
        }
        let upsample = upsample(num_classes, stride, vb.pp("upsample"))?;
        Ok(Self { backbone, classifier, skips, upsample, coarsest: coarsest.stride })
    }
}

impl Segmenter for Fcn {}

impl Layer for Fcn {
    /// `[B, C, H, W]` → scores `[B, num_classes, H, W]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let missing = |side: usize| [0, side.next_multiple_of(self.coarsest) - side];
        let whole = ops::pad(&ops::pad(x, 2, missing(h))?, 3, missing(w))?;
        let mut maps = self.backbone.features(&whole, &ctx.at("backbone"))?;
        let Some(last) = maps.pop() else { candle_core::bail!("Fcn: a backbone without maps") };
        let mut scores = last.through("classifier", &self.classifier, ctx)?; // [B, num_classes, H/32, W/32]
        let inside = ctx.at("skips");
        for (i, skip) in self.skips.iter().enumerate() {
            let name = i.to_string();
            let ctx = &inside.at(&name);
            let fine = maps[skip.stage].through("score", &skip.score, ctx)?;
            scores = ops::add(&scores.through("upsample", &skip.upsample, ctx)?, &fine)?;
        }
        let scores = scores.through("upsample", &self.upsample, ctx)?;
        ops::narrow(&ops::narrow(&scores, 2, 0, h)?, 3, 0, w)
    }
}

/// Coarser scores at twice their size, and the scores of a finer map.
struct Skip {
    stage: usize,
    upsample: ConvTranspose2d,
    score: Conv2d,
}

impl Skip {
    fn new(stride: usize, stages: &[Stage], num_classes: usize, vb: VarBuilder) -> Result<Self> {
        let Some(stage) = stages.iter().rposition(|stage| stage.stride == stride) else {
            candle_core::bail!("Fcn: the backbone must have a map at stride {stride}, it has {stages:?}")
        };
        Ok(Self {
            stage,
            upsample: upsample(num_classes, 2, vb.pp("upsample"))?,
            score: scores(stages[stage].channels, num_classes, vb.pp("score"))?,
        })
    }
}

fn scores(channels: usize, num_classes: usize, vb: VarBuilder) -> Result<Conv2d> {
    let cfg =
        Conv2dConfig { bias: Bias::StartsAt(0.0), init: Some(Init::Const(0.0)), ..Conv2dConfig::default() };
    Conv2d::new([channels, num_classes], [1, 1], cfg, vb)
}

/// To `factor` times the size.
fn upsample(num_classes: usize, factor: usize, vb: VarBuilder) -> Result<ConvTranspose2d> {
    let how = TransposedConvolution {
        stride: [factor; 2],
        padding: [factor / 2; 2],
        ..TransposedConvolution::default()
    };
    let cfg = ConvTranspose2dConfig { how, bias: Bias::None, start: Start::Bilinear };
    ConvTranspose2d::new([num_classes; 2], [2 * factor; 2], cfg, vb)
}
