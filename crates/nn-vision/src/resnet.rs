//! ResNet, wide ResNet and ResNeXt: blocks that add to what they are given.
//!
//! Source: He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1;
//! Zagoruyko & Komodakis 2016, arXiv:1605.07146; Xie et al. 2016, arXiv:1611.05431, Table 1; dilation in place of
//! strides: Yu, Koltun & Funkhouser 2017, arXiv:1705.09914.
//! Differs: a bottleneck strides in its 3×3 and not in its first 1×1, and a wide ResNet is one whose bottlenecks
//! are twice as wide, as in torchvision.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::add_activate;
use nn_core::weights::NameMap;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{Activation, AdaptiveAvgPool2d, Bias, ConvNorm, Flatten, Linear, MaxPool2d, Sequential};

use crate::classifier::renew;
use crate::unit::{Unit, unit};
use crate::{Classifier, Entry, Network};

/// One convolution of a block.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    kernel: usize,
    width: Width,
    step: Step,
}

/// Channels that come out of a convolution.
#[derive(Clone, Copy, Debug)]
enum Width {
    /// So many times the stage's width.
    Stage(usize),
    /// The bottleneck's own: `groups` groups of `width_per_group` for every 64 of the stage's width.
    Inner,
}

/// Whether a convolution takes its stage's stride and groups.
#[derive(Clone, Copy, Debug)]
enum Step {
    One,
    Stage,
}

/// The convolutions of a block, first to last.
pub type Block = &'static [Row];

/// Two 3×3.
pub const BASIC: Block = &[conv(3, Width::Stage(1)).strided(), conv(3, Width::Stage(1))];

/// 1×1 to few channels, 3×3 between those, 1×1 to four times the stage's width.
pub const BOTTLENECK: Block =
    &[conv(1, Width::Inner), conv(3, Width::Inner).strided(), conv(1, Width::Stage(4))];

const fn conv(kernel: usize, width: Width) -> Row {
    Row { kernel, width, step: Step::One }
}

impl Row {
    const fn strided(self) -> Self {
        Self { step: Step::Stage, ..self }
    }
}

/// The widths of the four stages.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// How a stage covers more of the image than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its first block strides by two.
    Stride,
    /// Its taps lie twice as far apart and no pixel is skipped, which keeps the maps large for segmentation.
    Dilation,
}

/// Options of [`ResNet`].
#[derive(Clone, Copy, Debug)]
pub struct ResNetConfig {
    /// What the stages are made of.
    pub block: Block,
    /// Blocks in each of the four stages.
    pub depths: [usize; 4],
    /// Groups of a bottleneck's 3×3.
    pub groups: usize,
    /// Channels of each group in the first stage.
    pub width_per_group: usize,
    /// Of the second to fourth stage.
    pub reach: [Reach; 3],
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// 18 layers.
pub const RESNET18: ResNetConfig = ResNetConfig {
    block: BASIC,
    depths: [2, 2, 2, 2],
    groups: 1,
    width_per_group: 64,
    reach: [Reach::Stride; 3],
    in_channels: 3,
    num_classes: 1000,
};
/// 34 layers.
pub const RESNET34: ResNetConfig = ResNetConfig { depths: [3, 4, 6, 3], ..RESNET18 };
/// 50 layers.
pub const RESNET50: ResNetConfig = ResNetConfig { block: BOTTLENECK, depths: [3, 4, 6, 3], ..RESNET18 };
/// 101 layers.
pub const RESNET101: ResNetConfig = ResNetConfig { depths: [3, 4, 23, 3], ..RESNET50 };
/// 152 layers.
pub const RESNET152: ResNetConfig = ResNetConfig { depths: [3, 8, 36, 3], ..RESNET50 };
/// 50 layers, bottlenecks twice as wide.
pub const WIDE_RESNET50_2: ResNetConfig = ResNetConfig { width_per_group: 128, ..RESNET50 };
/// 101 layers, bottlenecks twice as wide.
pub const WIDE_RESNET101_2: ResNetConfig = ResNetConfig { width_per_group: 128, ..RESNET101 };
/// 50 layers, 32 groups of 4 channels.
pub const RESNEXT50_32X4D: ResNetConfig = ResNetConfig { groups: 32, width_per_group: 4, ..RESNET50 };
/// 101 layers, 32 groups of 8 channels.
pub const RESNEXT101_32X8D: ResNetConfig = ResNetConfig { groups: 32, width_per_group: 8, ..RESNET101 };

pub(crate) const ZOO: &[Entry] = &[
    row("resnet18", 11_689_512, |vb, n| build(RESNET18, vb, n)),
    row("resnet34", 21_797_672, |vb, n| build(RESNET34, vb, n)),
    row("resnet50", 25_557_032, |vb, n| build(RESNET50, vb, n)),
    row("resnet101", 44_549_160, |vb, n| build(RESNET101, vb, n)),
    row("resnet152", 60_192_808, |vb, n| build(RESNET152, vb, n)),
    row("wide_resnet50_2", 68_883_240, |vb, n| build(WIDE_RESNET50_2, vb, n)),
    row("wide_resnet101_2", 126_886_696, |vb, n| build(WIDE_RESNET101_2, vb, n)),
    row("resnext50_32x4d", 25_028_904, |vb, n| build(RESNEXT50_32X4D, vb, n)),
    row("resnext101_32x8d", 88_791_336, |vb, n| build(RESNEXT101_32X8D, vb, n)),
];

/// What transformers calls the parameters; timm's names are torchvision's.
pub(crate) fn names() -> [NameMap; 1] {
    let block = "resnet.encoder.stages.{s}.layers.{l}";
    let inside = |theirs: &str, ours: &str| {
        (format!("{block}.{theirs}.{{p}}"), format!("layer{{s+1}}.{{l}}.{ours}.{{p}}"))
    };
    let rules = [
        ("resnet.embedder.embedder.convolution.{p}".to_owned(), "conv1.{p}".to_owned()),
        ("resnet.embedder.embedder.normalization.{p}".to_owned(), "bn1.{p}".to_owned()),
        inside("layer.{k}.convolution", "conv{k+1}"),
        inside("layer.{k}.normalization", "bn{k+1}"),
        inside("shortcut.convolution", "downsample.0"),
        inside("shortcut.normalization", "downsample.1"),
        ("classifier.1.{p}".to_owned(), "fc.{p}".to_owned()),
    ];
    [NameMap::new("transformers", rules)]
}

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "He et al. 2015";
    Entry { name, paper, input: [3, 224, 224], least: [64, 64], num_classes: 1000, parameters, build }
}

fn build(cfg: ResNetConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(ResNet::new(&ResNetConfig { num_classes, ..cfg }, vb)?.into())
}

/// conv 7×7 → max pool 3×3 → four stages of blocks → mean of the map → dense classes.
pub struct ResNet {
    stages: Stages,
    fc: Linear,
}

impl ResNet {
    /// # Errors
    /// If `groups` does not divide the channels of a 3×3, or `vb` has the names with other shapes.
    pub fn new(cfg: &ResNetConfig, vb: VarBuilder) -> Result<Self> {
        let stages = Stages::new(cfg, vb.clone())?;
        let fc = Linear::new(stages.channels, cfg.num_classes, Bias::Learned, vb.pp("fc"))?;
        Ok(Self { stages, fc })
    }
}

/// The network without its last layer, for those who read its maps.
pub(crate) struct Stages {
    stem: ConvNorm,
    stages: [Sequential; 4],
    channels: usize,
}

impl Stages {
    pub(crate) fn new(cfg: &ResNetConfig, vb: VarBuilder) -> Result<Self> {
        let stem = Unit { stride: 2, ..unit(7) }.build([cfg.in_channels, 64], NAMES[0], vb.clone())?;
        let (mut channels, mut dilation) = (64, 1);
        let mut stage = |n: usize| -> Result<Sequential> {
            let mut at = Place { width: WIDTHS[n], stride: 1, dilation };
            match n.checked_sub(1).map(|n| cfg.reach[n]) {
                Some(Reach::Stride) => at.stride = 2,
                Some(Reach::Dilation) => dilation *= 2,
                None => {}
            }
            let vb = vb.pp(format!("layer{}", n + 1));
            let mut blocks = Sequential::default();
            for index in 0..cfg.depths[n] {
                let (block, c_out) = residual(channels, cfg, at, vb.pp(index))?;
                blocks = blocks.then(index.to_string(), block);
                channels = c_out;
                at = Place { stride: 1, dilation, ..at };
            }
            Ok(blocks)
        };
        let stages = [stage(0)?, stage(1)?, stage(2)?, stage(3)?];
        Ok(Self { stem, stages, channels })
    }

    /// Of the last stage.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let pool = MaxPool2d { stride: [2, 2], padding: [1, 1], ..MaxPool2d::new([3, 3]) };
        let mut x = self.stem.call(x, ctx)?.through("maxpool", &pool, ctx)?;
        let mut outputs = Vec::with_capacity(self.stages.len());
        for (stage, name) in self.stages.iter().zip(["layer1", "layer2", "layer3", "layer4"]) {
            x = x.through(name, stage, ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }
}

impl Classifier for ResNet {
    /// `[B, C, H, W]` → the outputs of the four stages, at strides 4, 8, 16 and 32, with 64, 128, 256 and 512
    /// channels, or four times as many from bottlenecks. A stage that dilates keeps the stride of the one before.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        self.stages.features(x, ctx)
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let mean = features[3].through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?; // [B, D, 1, 1]
        mean.through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.fc, "fc", num_classes, Bias::Learned, store)
    }
}

impl Layer for ResNet {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("fc", &self.fc, ctx)
    }
}

/// `relu(convs(x) + skip(x))`
pub(crate) struct Residual {
    /// One after the other, under the names they were built with.
    pub(crate) convs: Vec<ConvNorm>,
    /// What `x` goes through on its way around them, and how that is called; nothing if the shape stays.
    pub(crate) skip: Option<(&'static str, Box<dyn Layer>)>,
}

impl Layer for Residual {
    /// `[B, c_in, H, W]` → `[B, c_out, H / stride, W / stride]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let skip = match &self.skip {
            Some((name, layer)) => x.through(name, layer, ctx)?,
            None => x.clone(),
        };
        let y = self.convs.iter().try_fold(x.clone(), |x, conv| conv.call(&x, ctx))?;
        add_activate(&y, &skip, Activation::Relu)
    }
}

/// Where in the network a block is.
#[derive(Clone, Copy)]
struct Place {
    width: usize,
    stride: usize,
    dilation: usize,
}

/// Of the convolutions of a block and their norms.
pub(crate) const NAMES: [[&str; 2]; 3] = [["conv1", "bn1"], ["conv2", "bn2"], ["conv3", "bn3"]];

/// A block of the table and the channels that come out of it. Where the shape changes, a 1×1 convolution changes
/// that of the input too (§3.3, option B).
fn residual(c_in: usize, cfg: &ResNetConfig, at: Place, vb: VarBuilder) -> Result<(Residual, usize)> {
    let mut channels = c_in;
    let mut convs = Vec::with_capacity(cfg.block.len());
    for (n, row) in cfg.block.iter().enumerate() {
        let c_out = match row.width {
            Width::Stage(multiple) => at.width * multiple,
            Width::Inner => at.width * cfg.width_per_group / 64 * cfg.groups,
        };
        let mut conv = Unit { dilation: at.dilation, ..unit(row.kernel) };
        if let Step::Stage = row.step {
            conv = Unit { stride: at.stride, groups: cfg.groups, ..conv };
        }
        if n + 1 == cfg.block.len() {
            conv.activation = None;
        }
        convs.push(conv.build([channels, c_out], NAMES[n], vb.clone())?);
        channels = c_out;
    }
    let skip: Option<Box<dyn Layer>> = if at.stride == 1 && c_in == channels {
        None
    } else {
        let downsample = Unit { stride: at.stride, activation: None, ..unit(1) };
        Some(Box::new(downsample.build([c_in, channels], ["0", "1"], vb.pp("downsample"))?))
    };
    let skip = skip.map(|layer| ("downsample", layer));
    Ok((Residual { convs, skip }, channels))
}
