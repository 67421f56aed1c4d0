//! MobileNetV1: every 3×3 convolution split into one a channel and a 1×1 across channels.
//!
//! Source: Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications",
//! arXiv:1704.04861, Table 1. Parameters are named as in timm.
//! Differs: activations are clipped at 6, as in TensorFlow's and timm's models; the paper's are not.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::weights::NameMap;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, Bias, ConvNorm, Flatten, HE_FAN_IN, Linear, LinearConfig, Padding,
    Sequential,
};

use crate::classifier::renew;
use crate::mobilenet_v2::scaled;
use crate::unit::{Unit, unit};
use crate::{Classifier, Entry, Network};

/// Options of [`MobileNetV1`].
#[derive(Clone, Copy, Debug)]
pub struct MobileNetV1Config {
    /// The width multiplier: channels are so many times the table's, rounded to multiples of eight.
    pub width: f64,
    /// Around the 3×3 convolutions: PyTorch's one pixel on every side, or TensorFlow's `Same`.
    pub padding: Padding,
    /// Added to the variance by every norm: TensorFlow's models have 1e-3.
    pub norm_eps: f64,
    /// After every norm.
    pub activation: Activation,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// As in timm.
pub const MOBILENET_V1: MobileNetV1Config = MobileNetV1Config {
    width: 1.0,
    padding: Padding::Symmetric([1, 1]),
    norm_eps: 1e-5,
    activation: Activation::Relu6,
    in_channels: 3,
    num_classes: 1000,
};

/// `[channels, blocks, stride of the first]` of the five stages, after a stem of 32 channels.
const TABLE: [[usize; 3]; 5] = [[64, 1, 1], [128, 2, 2], [256, 2, 2], [512, 6, 2], [1024, 2, 2]];
const STEM: usize = 32;

pub(crate) const ZOO: &[Entry] = &[
    row("mobilenet_v1", 4_231_976, |vb, n| build(MOBILENET_V1, vb, n)),
    row("mobilenet_v1_0.25", 470_072, |vb, n| build(thin(0.25), vb, n)),
    row("mobilenet_v1_0.5", 1_331_592, |vb, n| build(thin(0.5), vb, n)),
    row("mobilenet_v1_0.75", 2_585_560, |vb, n| build(thin(0.75), vb, n)),
];

/// What others call the parameters. RetinaFace's backbone has three stages of blocks `stageS.B`, whose layers are 0, 1, 3 and 4;
/// transformers counts convolutions, whose norms have TensorFlow's epsilon of 1e-3 and whose padding is [`Padding::Same`].
pub(crate) fn names() -> [NameMap; 2] {
    const STAGES: [usize; 3] = [5, 6, 2];
    let stages = STAGES.iter().zip(1..);
    let theirs = stages.flat_map(|(&blocks, stage)| {
        // The stem is block 0 of stage 1.
        let first = usize::from(stage == 1);
        (first..first + blocks).map(move |block| format!("stage{stage}.{block}"))
    });
    let ours = TABLE
        .iter()
        .zip(0..)
        .flat_map(|([_, blocks, _], stage)| (0..*blocks).map(move |block| format!("blocks.{stage}.{block}")));
    let mut rules = vec![
        ("stage1.0.0.{p}".to_owned(), "conv_stem.{p}".to_owned()),
        ("stage1.0.1.{p}".to_owned(), "bn1.{p}".to_owned()),
        ("fc.{p}".to_owned(), "classifier.{p}".to_owned()),
    ];
    for (theirs, ours) in theirs.zip(ours) {
        for (layer, name) in [(0, "conv_dw"), (1, "bn1"), (3, "conv_pw"), (4, "bn2")] {
            rules.push((format!("{theirs}.{layer}.{{p}}"), format!("{ours}.{name}.{{p}}")));
        }
    }
    [NameMap::new("RetinaFace", rules), transformers()]
}

fn transformers() -> NameMap {
    let mut rules = Vec::new();
    let mut rule =
        |theirs: String, ours: &str| rules.push((format!("{theirs}.{{p}}"), format!("{ours}.{{p}}")));
    rule("classifier".to_owned(), "classifier");
    rule("mobilenet_v1.conv_stem.convolution".to_owned(), "conv_stem");
    rule("mobilenet_v1.conv_stem.normalization".to_owned(), "bn1");
    let blocks =
        TABLE.iter().enumerate().flat_map(|(stage, row)| (0..row[1]).map(move |block| (stage, block)));
    for (n, (stage, block)) in blocks.enumerate() {
        for (layer, conv, norm) in [(2 * n, "conv_dw", "bn1"), (2 * n + 1, "conv_pw", "bn2")] {
            let theirs = format!("mobilenet_v1.layer.{layer}");
            rule(format!("{theirs}.convolution"), &format!("blocks.{stage}.{block}.{conv}"));
            rule(format!("{theirs}.normalization"), &format!("blocks.{stage}.{block}.{norm}"));
        }
    }
    NameMap::new("transformers", rules)
}

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Howard et al. 2017";
    Entry { name, paper, input: [3, 224, 224], least: [64, 64], num_classes: 1000, parameters, build }
}

const fn thin(width: f64) -> MobileNetV1Config {
    MobileNetV1Config { width, ..MOBILENET_V1 }
}

fn build(cfg: MobileNetV1Config, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(MobileNetV1::new(&MobileNetV1Config { num_classes, ..cfg }, vb)?.into())
}

/// conv 3×3 → five stages of separable convolutions → mean of the map → dense classes.
pub struct MobileNetV1 {
    stem: ConvNorm,
    stages: Vec<Sequential>,
    classifier: Linear,
}

/// timm's start of the last layer: uniform in `±1/√classes`, no bias.
fn head(num_classes: usize) -> LinearConfig {
    let bound = 1.0 / (num_classes.max(1) as f64).sqrt();
    LinearConfig { bias: Bias::StartsAt(0.0), init: Some(Init::Uniform { lo: -bound, up: bound }) }
}

impl MobileNetV1 {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(cfg: &MobileNetV1Config, vb: VarBuilder) -> Result<Self> {
        let norm = Unit { eps: cfg.norm_eps, activation: Some(cfg.activation), ..unit(3) };
        let wide = Unit { padding: Some(cfg.padding), ..norm };
        let mut channels = scaled(STEM, cfg.width);
        let stem = Unit { stride: 2, ..wide };
        let stem = stem.build([cfg.in_channels, channels], ["conv_stem", "bn1"], vb.clone())?;
        let mut stages = Vec::with_capacity(TABLE.len());
        for (n, [c, blocks, stride]) in TABLE.into_iter().enumerate() {
            let mut stage = Sequential::default();
            for index in 0..blocks {
                let stride = if index == 0 { stride } else { 1 };
                let filter = Unit { stride, ..wide };
                let c_out = scaled(c, cfg.width);
                let vb = vb.pp("blocks").pp(n).pp(index);
                stage = stage.then(index.to_string(), Separable::new([channels, c_out], filter, vb)?);
                channels = c_out;
            }
            stages.push(stage);
        }
        let classifier = Linear::new(channels, cfg.num_classes, head(cfg.num_classes), vb.pp("classifier"))?;
        Ok(Self { stem, stages, classifier })
    }
}

impl Classifier for MobileNetV1 {
    /// `[B, C, H, W]` → the outputs of the five stages, at strides 2, 4, 8, 16 and 32, with 64, 128, 256, 512 and
    /// 1024 channels at width 1.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let mut x = self.stem.call(x, ctx)?;
        let ctx = &ctx.at("blocks");
        let mut outputs = Vec::with_capacity(self.stages.len());
        for (n, stage) in self.stages.iter().enumerate() {
            x = x.through(&n.to_string(), stage, ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let mean = features[4].through("global_pool", &AdaptiveAvgPool2d::GLOBAL, ctx)?; // [B, D, 1, 1]
        mean.through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.classifier, "classifier", num_classes, head(num_classes), store)
    }
}

impl Layer for MobileNetV1 {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("classifier", &self.classifier, ctx)
    }
}

/// A 3×3 on each channel, then a 1×1 across them, each with its norm and activation.
struct Separable {
    depthwise: ConvNorm,
    pointwise: ConvNorm,
}

impl Separable {
    /// `filter` is the 3×3 but for its groups.
    fn new([c_in, c_out]: [usize; 2], filter: Unit, vb: VarBuilder) -> Result<Self> {
        // Of each group both fans are 9; timm starts it from the fan of its own outputs.
        let depthwise = Unit { groups: c_in, init: Some(HE_FAN_IN), ..filter };
        let pointwise = Unit { activation: filter.activation, eps: filter.eps, ..unit(1) };
        Ok(Self {
            depthwise: depthwise.build([c_in, c_in], ["conv_dw", "bn1"], vb.clone())?,
            pointwise: pointwise.build([c_in, c_out], ["conv_pw", "bn2"], vb)?,
        })
    }
}

impl Layer for Separable {
    /// `[B, c_in, H, W]` → `[B, c_out, H / stride, W / stride]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.pointwise.call(&self.depthwise.call(x, ctx)?, ctx)
    }
}
