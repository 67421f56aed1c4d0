//! DenseNet-121/161/169/201: every layer of a block reads what all layers before it made.
//!
//! Source: Huang, Liu, van der Maaten & Weinberger 2017, arXiv:1608.06993, Table 1 (the form called DenseNet-BC).
//! Names and numbers are torchvision's.
//! Differs: a transition pools before its 1×1 convolution instead of after it, which is the same sum for a quarter of the
//! work; a block carries its concatenation along instead of a list, so that a layer adds one copy and not one a
//! predecessor.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::concat;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, BatchNorm, BatchNorm2d, Bias, Conv2d, Conv2dConfig, ConvNorm,
    ConvNormConfig, Dropout, Flatten, HE_FAN_IN, Linear, MaxPool2d, Padding,
};

use crate::classifier::{at_least, renew};
use crate::{Classifier, Entry, Network};

/// Options of [`DenseNet`].
#[derive(Clone, Copy, Debug)]
pub struct DenseNetConfig {
    /// Layers of the four blocks.
    pub blocks: [usize; 4],
    /// Channels that each layer adds: `k` in the paper.
    pub growth: usize,
    /// Channels of the first convolution.
    pub stem: usize,
    /// Probability of dropping a number that a layer adds, in [0, 1].
    pub dropout: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// 7 978 856 parameters.
pub const DENSENET121: DenseNetConfig = DenseNetConfig {
    blocks: [6, 12, 24, 16],
    growth: 32,
    stem: 64,
    dropout: 0.0,
    in_channels: 3,
    num_classes: 1000,
};

/// 28 681 000 parameters.
pub const DENSENET161: DenseNetConfig =
    DenseNetConfig { blocks: [6, 12, 36, 24], growth: 48, stem: 96, ..DENSENET121 };

/// 14 149 480 parameters.
pub const DENSENET169: DenseNetConfig = DenseNetConfig { blocks: [6, 12, 32, 32], ..DENSENET121 };

/// 20 013 928 parameters.
pub const DENSENET201: DenseNetConfig = DenseNetConfig { blocks: [6, 12, 48, 32], ..DENSENET121 };

/// The 1×1 convolution of a layer makes this many times the channels that its 3×3 keeps.
const BOTTLENECK: usize = 4;
/// Smaller images have no pixel left in the last block.
const LEAST: usize = 29;
const NORM_RELU: BatchNorm = BatchNorm { eps: 1e-5, momentum: Some(0.1), activation: Some(Activation::Relu) };

pub(crate) const ZOO: &[Entry] = &[
    row("densenet121", 7_978_856, |vb, n| build(DENSENET121, vb, n)),
    row("densenet161", 28_681_000, |vb, n| build(DENSENET161, vb, n)),
    row("densenet169", 14_149_480, |vb, n| build(DENSENET169, vb, n)),
    row("densenet201", 20_013_928, |vb, n| build(DENSENET201, vb, n)),
];

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Huang et al. 2017";
    Entry { name, paper, input: [3, 224, 224], least: [64, 64], num_classes: 1000, parameters, build }
}

fn build(cfg: DenseNetConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(DenseNet::new(&DenseNetConfig { num_classes, ..cfg }, vb)?.into())
}

/// conv 7×7 → max pool → (dense block → transition) × 3 → dense block → mean → classes.
pub struct DenseNet {
    stem: ConvNorm,
    blocks: Vec<DenseBlock>,
    transitions: Vec<Transition>,
    norm: BatchNorm2d,
    classifier: Linear,
}

impl DenseNet {
    /// # Errors
    /// If `vb` has the names with other shapes, or `cfg.dropout` is no probability.
    pub fn new(cfg: &DenseNetConfig, vb: VarBuilder) -> Result<Self> {
        let features = vb.pp("features");
        let stem = ConvNormConfig {
            names: ["conv0", "norm0"],
            conv: Conv2dConfig { stride: [2, 2], padding: Padding::Symmetric([3, 3]), ..plain() },
            norm: NORM_RELU,
        };
        let stem = ConvNorm::new([cfg.in_channels, cfg.stem], [7, 7], stem, features.clone())?;
        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        let mut channels = cfg.stem;
        for (n, layers) in (1..).zip(cfg.blocks) {
            blocks.push(DenseBlock::new(channels, layers, cfg, features.pp(format!("denseblock{n}")))?);
            channels += layers * cfg.growth;
            if n < cfg.blocks.len() {
                transitions.push(Transition::new(channels, features.pp(format!("transition{n}")))?);
                channels /= 2;
            }
        }
        Ok(Self {
            stem,
            blocks,
            transitions,
            norm: BatchNorm2d::new(channels, NORM_RELU, features.pp("norm5"))?,
            classifier: Linear::new(channels, cfg.num_classes, Bias::StartsAt(0.0), vb.pp("classifier"))?,
        })
    }
}

impl Classifier for DenseNet {
    /// `[B, C, H, W]` → the four blocks' outputs, at strides 4, 8, 16 and 32; the last one normalised and rectified.
    ///
    /// # Errors
    /// If the image is smaller than 29×29 pixels.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("DenseNet", [LEAST; 2], x)?;
        let ctx = ctx.at("features");
        let pool = MaxPool2d { stride: [2, 2], padding: [1, 1], ..MaxPool2d::new([3, 3]) };
        let mut x = self.stem.call(x, &ctx)?.through("pool0", &pool, &ctx)?; // [B, stem, H/4, W/4]
        let mut outputs = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let n = i + 1;
            x = x.through(&format!("denseblock{n}"), block, &ctx)?;
            match self.transitions.get(i) {
                Some(transition) => {
                    outputs.push(x.clone());
                    x = x.through(&format!("transition{n}"), transition, &ctx)?; // [B, C/2, H/2, W/2]
                }
                None => outputs.push(x.through("norm5", &self.norm, &ctx)?),
            }
        }
        Ok(outputs)
    }

    /// `[B, C, H, W]` → the last block's means, `[B, D]`
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let last = &features[features.len() - 1];
        last.through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?.through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.classifier, "classifier", num_classes, Bias::StartsAt(0.0), store)
    }
}

impl Layer for DenseNet {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("classifier", &self.classifier, ctx)
    }
}

/// `x ← [x, layer(x)]`, layer by layer.
struct DenseBlock {
    layers: Vec<DenseLayer>,
}

impl DenseBlock {
    fn new(channels: usize, layers: usize, cfg: &DenseNetConfig, vb: VarBuilder) -> Result<Self> {
        let layers = (0..layers)
            .map(|i| DenseLayer::new(channels + i * cfg.growth, cfg, vb.pp(format!("denselayer{}", i + 1))))
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }
}

impl Layer for DenseBlock {
    /// `[B, c, H, W]` → `[B, c + layers · growth, H, W]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let mut x = x.clone();
        for (n, layer) in (1..).zip(&self.layers) {
            let new = x.through(&format!("denselayer{n}"), layer, ctx)?; // [B, growth, H, W]
            x = concat(&[x, new], 1)?;
        }
        Ok(x)
    }
}

/// norm → ReLU → conv 1×1 → norm → ReLU → conv 3×3.
struct DenseLayer {
    norm: BatchNorm2d,
    squeeze: ConvNorm,
    conv: Conv2d,
    dropout: Dropout,
}

impl DenseLayer {
    fn new(channels: usize, cfg: &DenseNetConfig, vb: VarBuilder) -> Result<Self> {
        let squeezed = BOTTLENECK * cfg.growth;
        let squeeze = ConvNormConfig { names: ["conv1", "norm2"], conv: plain(), norm: NORM_RELU };
        let same = Conv2dConfig { padding: Padding::Symmetric([1, 1]), ..plain() };
        Ok(Self {
            norm: BatchNorm2d::new(channels, NORM_RELU, vb.pp("norm1"))?,
            squeeze: ConvNorm::new([channels, squeezed], [1, 1], squeeze, vb.clone())?,
            conv: Conv2d::new([squeezed, cfg.growth], [3, 3], same, vb.pp("conv2"))?,
            dropout: Dropout::new(cfg.dropout)?,
        })
    }
}

impl Layer for DenseLayer {
    /// `[B, c, H, W]` → `[B, growth, H, W]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = x.through("norm1", &self.norm, ctx)?;
        let x = self.squeeze.call(&x, ctx)?;
        x.through("conv2", &self.conv, ctx)?.through("dropout", &self.dropout, ctx)
    }
}

/// norm → ReLU → average pool 2×2 → conv 1×1 to half the channels.
struct Transition {
    norm: BatchNorm2d,
    conv: Conv2d,
}

impl Transition {
    fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            norm: BatchNorm2d::new(channels, NORM_RELU, vb.pp("norm"))?,
            conv: Conv2d::new([channels, channels / 2], [1, 1], plain(), vb.pp("conv"))?,
        })
    }
}

impl Layer for Transition {
    /// `[B, c, H, W]` → `[B, c/2, H/2, W/2]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = x.through("norm", &self.norm, ctx)?.through("pool", &AvgPool2d::new([2, 2]), ctx)?;
        x.through("conv", &self.conv, ctx)
    }
}

/// A convolution without bias: a norm follows each of them.
fn plain() -> Conv2dConfig {
    Conv2dConfig { bias: Bias::None, init: Some(HE_FAN_IN), ..Conv2dConfig::default() }
}
