//! The slim residual networks for 32×32 images.
//!
//! Source: He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385, §4.2. Parameters are
//! named as in Yerlan Idelbayev's re-implementation, whose trained weights most people have.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::pad;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    AdaptiveAvgPool2d, AvgPool2d, Bias, ConvNorm, Flatten, HE_FAN_IN, Linear, LinearConfig, Sequential,
};

use crate::classifier::renew;
use crate::resnet::{NAMES, Residual};
use crate::unit::{Unit, unit};
use crate::{Classifier, Entry, Network};

/// How the input of a block gets the shape of its output (§3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Option A: every other pixel, between channels of zeros; no parameters.
    Pad,
    /// Option B: a 1×1 convolution of stride 2 and a batch norm.
    Project,
}

/// Options of [`CifarResNet`].
#[derive(Clone, Copy, Debug)]
pub struct CifarResNetConfig {
    /// Blocks in each of the three stages: a network of `6 · blocks + 2` layers.
    pub blocks: usize,
    /// Where the shape changes.
    pub shortcut: Shortcut,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// Channels of the three stages.
const WIDTHS: [usize; 3] = [16, 32, 64];

/// 20 layers.
pub const CIFAR_RESNET20: CifarResNetConfig =
    CifarResNetConfig { blocks: 3, shortcut: Shortcut::Pad, in_channels: 3, num_classes: 10 };
/// 32 layers.
pub const CIFAR_RESNET32: CifarResNetConfig = CifarResNetConfig { blocks: 5, ..CIFAR_RESNET20 };
/// 44 layers.
pub const CIFAR_RESNET44: CifarResNetConfig = CifarResNetConfig { blocks: 7, ..CIFAR_RESNET20 };
/// 56 layers.
pub const CIFAR_RESNET56: CifarResNetConfig = CifarResNetConfig { blocks: 9, ..CIFAR_RESNET20 };
/// 110 layers.
pub const CIFAR_RESNET110: CifarResNetConfig = CifarResNetConfig { blocks: 18, ..CIFAR_RESNET20 };

pub(crate) const ZOO: &[Entry] = &[
    row("cifar_resnet20", 269_722, |vb, n| build(CIFAR_RESNET20, vb, n)),
    row("cifar_resnet32", 464_154, |vb, n| build(CIFAR_RESNET32, vb, n)),
    row("cifar_resnet44", 658_586, |vb, n| build(CIFAR_RESNET44, vb, n)),
    row("cifar_resnet56", 853_018, |vb, n| build(CIFAR_RESNET56, vb, n)),
    row("cifar_resnet110", 1_727_962, |vb, n| build(CIFAR_RESNET110, vb, n)),
    row("cifar_resnet20_b", 272_474, |vb, n| build(projecting(CIFAR_RESNET20), vb, n)),
    row("cifar_resnet32_b", 466_906, |vb, n| build(projecting(CIFAR_RESNET32), vb, n)),
    row("cifar_resnet44_b", 661_338, |vb, n| build(projecting(CIFAR_RESNET44), vb, n)),
    row("cifar_resnet56_b", 855_770, |vb, n| build(projecting(CIFAR_RESNET56), vb, n)),
    row("cifar_resnet110_b", 1_730_714, |vb, n| build(projecting(CIFAR_RESNET110), vb, n)),
];

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "He et al. 2015";
    Entry { name, paper, input: [3, 32, 32], least: [32, 32], num_classes: 10, parameters, build }
}

fn projecting(cfg: CifarResNetConfig) -> CifarResNetConfig {
    CifarResNetConfig { shortcut: Shortcut::Project, ..cfg }
}

fn build(cfg: CifarResNetConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(CifarResNet::new(&CifarResNetConfig { num_classes, ..cfg }, vb)?.into())
}

/// conv 3×3 → three stages of blocks of two 3×3 → mean of the map → dense classes.
pub struct CifarResNet {
    stem: ConvNorm,
    stages: [Sequential; 3],
    linear: Linear,
}

const HEAD: LinearConfig = LinearConfig { bias: Bias::Learned, init: Some(HE_FAN_IN) };

impl CifarResNet {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(cfg: &CifarResNetConfig, vb: VarBuilder) -> Result<Self> {
        let stem = conv(3).build([cfg.in_channels, WIDTHS[0]], NAMES[0], vb.clone())?;
        let mut channels = WIDTHS[0];
        let mut stage = |n: usize| -> Result<Sequential> {
            let vb = vb.pp(format!("layer{}", n + 1));
            let mut blocks = Sequential::default();
            for block in 0..cfg.blocks {
                let stride = if n > 0 && block == 0 { 2 } else { 1 };
                let residual = residual([channels, WIDTHS[n]], stride, cfg.shortcut, vb.pp(block))?;
                blocks = blocks.then(block.to_string(), residual);
                channels = WIDTHS[n];
            }
            Ok(blocks)
        };
        let stages = [stage(0)?, stage(1)?, stage(2)?];
        Ok(Self { stem, stages, linear: Linear::new(WIDTHS[2], cfg.num_classes, HEAD, vb.pp("linear"))? })
    }
}

impl Classifier for CifarResNet {
    /// `[B, C, H, W]` → the outputs of the three stages, at strides 1, 2 and 4, with 16, 32 and 64 channels.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let mut x = self.stem.call(x, ctx)?;
        let mut outputs = Vec::with_capacity(self.stages.len());
        for (stage, name) in self.stages.iter().zip(["layer1", "layer2", "layer3"]) {
            x = x.through(name, stage, ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let mean = features[2].through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?; // [B, 64, 1, 1]
        mean.through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.linear, "linear", num_classes, HEAD, store)
    }
}

impl Layer for CifarResNet {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("linear", &self.linear, ctx)
    }
}

fn residual(
    [c_in, c_out]: [usize; 2],
    stride: usize,
    shortcut: Shortcut,
    vb: VarBuilder,
) -> Result<Residual> {
    let skip: Option<Box<dyn Layer>> = match shortcut {
        _ if stride == 1 && c_in == c_out => None,
        Shortcut::Pad => Some(Box::new(Pad { stride, channels: (c_out - c_in) / 2 })),
        Shortcut::Project => {
            let project = Unit { stride, activation: None, ..conv(1) };
            Some(Box::new(project.build([c_in, c_out], ["0", "1"], vb.pp("shortcut"))?))
        }
    };
    let first = Unit { stride, ..conv(3) }.build([c_in, c_out], NAMES[0], vb.clone())?;
    let second = Unit { activation: None, ..conv(3) }.build([c_out, c_out], NAMES[1], vb)?;
    Ok(Residual { convs: vec![first, second], skip: skip.map(|layer| ("shortcut", layer)) })
}

const fn conv(kernel: usize) -> Unit {
    Unit { init: Some(HE_FAN_IN), ..unit(kernel) }
}

/// One pixel in `stride` each way, between as many channels of zeros on either side.
struct Pad {
    stride: usize,
    channels: usize,
}

impl Module for Pad {
    /// `[B, C, H, W]` → `[B, C + 2 · channels, ⌈H / stride⌉, ⌈W / stride⌉]`
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let pixels = AvgPool2d { stride: [self.stride; 2], ..AvgPool2d::new([1, 1]) };
        pad(&pixels.forward(x)?, 1, [self.channels; 2])
    }
}
