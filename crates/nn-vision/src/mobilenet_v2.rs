//! MobileNetV2: blocks that widen, filter each channel on its own, and narrow again without an activation.
//!
//! Source: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", arXiv:1801.04381, Table 2.
//! Parameters are named as in torchvision.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::add;
use nn_core::weights::NameMap;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, Bias, ConvNorm, Dropout, Flatten, Linear, LinearConfig, Padding, normal,
};

use crate::classifier::renew;
use crate::unit::{Unit, unit};
use crate::{Classifier, Entry, Network};

/// Options of [`MobileNetV2`].
#[derive(Clone, Copy, Debug)]
pub struct MobileNetV2Config {
    /// The width multiplier: channels are so many times the table's, rounded to multiples of eight.
    pub width: f64,
    /// Around the 3×3 convolutions: PyTorch's one pixel on every side, or TensorFlow's `Same`.
    pub padding: Padding,
    /// Added to the variance by every norm: TensorFlow's models have 1e-3.
    pub norm_eps: f64,
    /// Probability of dropping a number before the last layer, in training.
    pub dropout: f64,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// As in torchvision.
pub const MOBILENET_V2: MobileNetV2Config = MobileNetV2Config {
    width: 1.0,
    padding: Padding::Symmetric([1, 1]),
    norm_eps: 1e-5,
    dropout: 0.2,
    in_channels: 3,
    num_classes: 1000,
};

/// `[t, c, n, s]`: `n` blocks that widen `t` times and end with `c` channels, the first of stride `s`.
const TABLE: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// Channels before and after the table.
const STEM: usize = 32;
const LAST: usize = 1280;

/// The last layers of each stride: of the table's blocks, counted from 1, and what follows.
const STAGES: [usize; 5] = [1, 3, 6, 13, 18];

pub(crate) const ZOO: &[Entry] = &[
    row("mobilenet_v2", 3_504_872, |vb, n| build(MOBILENET_V2, vb, n)),
    row("mobilenet_v2_0.35", 1_677_128, |vb, n| build(thin(0.35), vb, n)),
    row("mobilenet_v2_0.5", 1_968_680, |vb, n| build(thin(0.5), vb, n)),
    row("mobilenet_v2_1.4", 6_108_776, |vb, n| build(thin(1.4), vb, n)),
];

/// What timm and transformers call the parameters. transformers' are TensorFlow's, which pads by [`Padding::Same`], and whose
/// norms have an epsilon of 1e-3.
pub(crate) fn names() -> [NameMap; 2] {
    const EXPANDING: [&str; 6] = ["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"];
    const FIRST: [&str; 4] = ["conv.0.0", "conv.0.1", "conv.1", "conv.2"];
    let rule = |theirs: String, ours: String| (format!("{theirs}.{{p}}"), format!("{ours}.{{p}}"));
    let around = |theirs: [&str; 4]| -> Vec<(String, String)> {
        let ours = ["features.0.0", "features.0.1", "features.18.0", "features.18.1", "classifier.1"];
        let theirs = theirs.into_iter().chain(["classifier"]);
        theirs.zip(ours).map(|(theirs, ours)| rule(theirs.to_owned(), ours.to_owned())).collect()
    };
    let tf =
        |unit: &str| ["convolution", "normalization"].map(|layer| format!("mobilenet_v2.{unit}.{layer}"));
    let ([stem, stem_norm], [last, last_norm]) = (tf("conv_stem.first_conv"), tf("conv_1x1"));
    let mut timm = around(["conv_stem", "bn1", "conv_head", "bn2"]);
    let mut transformers = around([&stem, &stem_norm, &last, &last_norm]);
    let blocks =
        TABLE.iter().enumerate().flat_map(|(stage, row)| (0..row[2]).map(move |block| (stage, block)));
    for (n, (stage, block)) in (1..).zip(blocks) {
        let (ours, of_timm, of_tf): (&[&str], &[&str], Vec<String>) = match n {
            1 => {
                let units = ["conv_3x3", "reduce_1x1"].map(|unit| tf(&format!("conv_stem.{unit}")));
                (&FIRST, &["conv_dw", "bn1", "conv_pw", "bn2"], units.concat())
            }
            _ => {
                let units = ["expand_1x1", "conv_3x3", "reduce_1x1"];
                let units = units.map(|unit| tf(&format!("layer.{}.{unit}", n - 2)));
                (&EXPANDING, &["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"], units.concat())
            }
        };
        for ((ours, of_timm), of_tf) in ours.iter().zip(of_timm).zip(of_tf) {
            let ours = format!("features.{n}.{ours}");
            timm.push(rule(format!("blocks.{stage}.{block}.{of_timm}"), ours.clone()));
            transformers.push(rule(of_tf, ours));
        }
    }
    [NameMap::new("timm", timm), NameMap::new("transformers", transformers)]
}

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Sandler et al. 2018";
    Entry { name, paper, input: [3, 224, 224], least: [64, 64], num_classes: 1000, parameters, build }
}

const fn thin(width: f64) -> MobileNetV2Config {
    MobileNetV2Config { width, ..MOBILENET_V2 }
}

fn build(cfg: MobileNetV2Config, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(MobileNetV2::new(&MobileNetV2Config { num_classes, ..cfg }, vb)?.into())
}

/// `channels` times `width`, to the nearest multiple of eight that is no more than a tenth less.
///
/// As in TensorFlow's and torchvision's models, whose weights depend on it.
pub(crate) fn scaled(channels: usize, width: f64) -> usize {
    let wanted = channels as f64 * width;
    let rounded = ((wanted + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * wanted { rounded + 8 } else { rounded }
}

/// conv 3×3 → the table's blocks → conv 1×1 → mean of the map → dense classes.
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    dropout: Dropout,
    head: Linear,
}

/// Under the names of a sequence: `0` a convolution, `1` its norm.
const PAIR: [&str; 2] = ["0", "1"];
const HEAD: LinearConfig = LinearConfig { bias: Bias::StartsAt(0.0), init: Some(normal(0.01)) };

impl MobileNetV2 {
    /// # Errors
    /// If the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &MobileNetV2Config, vb: VarBuilder) -> Result<Self> {
        let features = vb.pp("features");
        let mut channels = scaled(STEM, cfg.width);
        let stem = Unit { stride: 2, padding: Some(cfg.padding), ..cfg.relu6(3) };
        let stem = stem.build([cfg.in_channels, channels], PAIR, features.pp(0))?;
        let mut blocks = Vec::new();
        for [widen, c, n, stride] in TABLE {
            for index in 0..n {
                let shape = [channels, channels * widen, scaled(c, cfg.width)];
                let stride = if index == 0 { stride } else { 1 };
                let vb = features.pp(blocks.len() + 1).pp("conv");
                blocks.push(InvertedResidual::new(cfg, shape, stride, vb)?);
                channels = shape[2];
            }
        }
        let width = scaled(LAST, cfg.width.max(1.0));
        let last = cfg.relu6(1).build([channels, width], PAIR, features.pp(blocks.len() + 1))?;
        let head = Linear::new(width, cfg.num_classes, HEAD, vb.pp("classifier.1"))?;
        Ok(Self { stem, blocks, last, dropout: Dropout::new(cfg.dropout)?, head })
    }
}

impl Classifier for MobileNetV2 {
    /// `[B, C, H, W]` → the last maps at strides 2, 4, 8, 16 and 32, with 16, 24, 32, 96 and 1280 channels at width 1.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        let ctx = &ctx.at("features");
        let mut x = x.through("0", &self.stem, ctx)?;
        let mut outputs = Vec::with_capacity(STAGES.len());
        for (n, block) in (1..).zip(&self.blocks) {
            x = x.through(&n.to_string(), block, ctx)?;
            if STAGES.contains(&n) {
                outputs.push(x.clone());
            }
        }
        outputs.push(x.through(&(self.blocks.len() + 1).to_string(), &self.last, ctx)?);
        Ok(outputs)
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let mean = features[4].through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?; // [B, D, 1, 1]
        mean.through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.head, "classifier.1", num_classes, HEAD, store)
    }
}

impl Layer for MobileNetV2 {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = self.embed(x, ctx)?;
        let ctx = &ctx.at("classifier");
        x.through("0", &self.dropout, ctx)?.through("1", &self.head, ctx)
    }
}

impl MobileNetV2Config {
    const fn relu6(&self, kernel: usize) -> Unit {
        Unit { activation: Some(Activation::Relu6), eps: self.norm_eps, ..unit(kernel) }
    }
}

/// Widen by a 1×1, filter by a depthwise 3×3, narrow by a 1×1 without activation; the input is added where its
/// shape stays.
struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    skip: Skip,
}

/// Whether the input is added to the output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    Add,
    None,
}

impl InvertedResidual {
    fn new(
        cfg: &MobileNetV2Config,
        [c_in, hidden, c_out]: [usize; 3],
        stride: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let widens = hidden != c_in;
        let expand = widens.then(|| cfg.relu6(1).build([c_in, hidden], PAIR, vb.pp(0))).transpose()?;
        let depthwise = Unit { stride, groups: hidden, padding: Some(cfg.padding), ..cfg.relu6(3) };
        let project = Unit { activation: None, ..cfg.relu6(1) };
        let names = if widens { ["2", "3"] } else { ["1", "2"] };
        Ok(Self {
            expand,
            depthwise: depthwise.build([hidden, hidden], PAIR, vb.pp(usize::from(widens)))?,
            project: project.build([hidden, c_out], names, vb)?,
            skip: if stride == 1 && c_in == c_out { Skip::Add } else { Skip::None },
        })
    }
}

impl Layer for InvertedResidual {
    /// `[B, c_in, H, W]` → `[B, c_out, H / stride, W / stride]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let ctx = &ctx.at("conv");
        let wide = match &self.expand {
            Some(expand) => x.through("0", expand, ctx)?.through("1", &self.depthwise, ctx)?,
            None => x.through("0", &self.depthwise, ctx)?,
        };
        let y = self.project.call(&wide, ctx)?;
        match self.skip {
            Skip::Add => add(x, &y),
            Skip::None => Ok(y),
        }
    }
}
