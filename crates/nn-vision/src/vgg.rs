//! VGG: nothing but 3×3 convolutions, 2×2 pooling and three dense layers.
//!
//! Source: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
//! arXiv:1409.1556, Table 1, configurations A, B, D and E. Parameters are named as in torchvision.
//! Differs: batch norm, where there is one, and average pooling to 7×7, which lets images have any size, are
//! torchvision's.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::weights::NameMap;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, BatchNorm, Bias, Conv2d, Conv2dConfig, ConvNorm, ConvNormConfig, Dropout,
    Flatten, HE_FAN_OUT, Linear, LinearConfig, MaxPool2d, Padding, Sequential, normal,
};

use crate::classifier::{at_least, renew};
use crate::{Classifier, Entry, Network};

/// Whether a batch norm stands between convolution and ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// As in the paper.
    None,
    /// As everybody trains it since.
    Batch,
}

/// Options of [`Vgg`].
#[derive(Clone, Copy, Debug)]
pub struct VggConfig {
    /// Convolutions in each of the five stages.
    pub depths: [usize; 5],
    /// After each convolution.
    pub norm: Norm,
    /// Width of the two hidden dense layers.
    pub hidden: usize,
    /// Probability of dropping a hidden dense number in training.
    pub dropout: f64,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// Channels of the five stages.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Configuration A.
pub const VGG11: VggConfig = VggConfig {
    depths: [1, 1, 2, 2, 2],
    norm: Norm::None,
    hidden: 4096,
    dropout: 0.5,
    in_channels: 3,
    num_classes: 1000,
};
/// Configuration B.
pub const VGG13: VggConfig = VggConfig { depths: [2, 2, 2, 2, 2], ..VGG11 };
/// Configuration D.
pub const VGG16: VggConfig = VggConfig { depths: [2, 2, 3, 3, 3], ..VGG11 };
/// Configuration E.
pub const VGG19: VggConfig = VggConfig { depths: [2, 2, 4, 4, 4], ..VGG11 };
/// Configuration A with batch norm.
pub const VGG11_BN: VggConfig = VggConfig { norm: Norm::Batch, ..VGG11 };
/// Configuration B with batch norm.
pub const VGG13_BN: VggConfig = VggConfig { norm: Norm::Batch, ..VGG13 };
/// Configuration D with batch norm.
pub const VGG16_BN: VggConfig = VggConfig { norm: Norm::Batch, ..VGG16 };
/// Configuration E with batch norm.
pub const VGG19_BN: VggConfig = VggConfig { norm: Norm::Batch, ..VGG19 };

pub(crate) const ZOO: &[Entry] = &[
    row("vgg11", 132_863_336, |vb, n| build(VGG11, vb, n)),
    row("vgg13", 133_047_848, |vb, n| build(VGG13, vb, n)),
    row("vgg16", 138_357_544, |vb, n| build(VGG16, vb, n)),
    row("vgg19", 143_667_240, |vb, n| build(VGG19, vb, n)),
    row("vgg11_bn", 132_868_840, |vb, n| build(VGG11_BN, vb, n)),
    row("vgg13_bn", 133_053_736, |vb, n| build(VGG13_BN, vb, n)),
    row("vgg16_bn", 138_365_992, |vb, n| build(VGG16_BN, vb, n)),
    row("vgg19_bn", 143_678_248, |vb, n| build(VGG19_BN, vb, n)),
];

/// What timm calls the parameters: its dense layers are convolutions as large as what they see.
pub(crate) fn names() -> [NameMap; 1] {
    let rules = [
        ("features.{n}.{p}", "features.{n}.{p}"),
        ("pre_logits.fc1.{p}", "classifier.0.{p}@7x7"),
        ("pre_logits.fc2.{p}", "classifier.3.{p}@1x1"),
        ("head.fc.{p}", "classifier.6.{p}"),
    ];
    [NameMap::new("timm", rules)]
}

const fn row(
    name: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    let paper = "Simonyan & Zisserman 2014";
    Entry { name, paper, input: [3, 224, 224], least: LEAST, num_classes: 1000, parameters, build }
}

fn build(cfg: VggConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(Vgg::new(&VggConfig { num_classes, ..cfg }, vb)?.into())
}

/// A pixel is left after five halvings.
const LEAST: [usize; 2] = [32, 32];

/// Five stages of 3×3 convolutions and a max pool each → mean on a 7×7 grid → two hidden dense layers → dense
/// classes.
pub struct Vgg {
    stages: Vec<Stage>,
    hidden: Sequential,
    head: Linear,
}

/// The last layer, and the hidden ones.
const DENSE: LinearConfig = LinearConfig { bias: Bias::StartsAt(0.0), init: Some(normal(0.01)) };

impl Vgg {
    /// # Errors
    /// If the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &VggConfig, vb: VarBuilder) -> Result<Self> {
        let (mut stages, mut channels, mut index) = (Vec::with_capacity(5), cfg.in_channels, 0);
        for (depth, c_out) in cfg.depths.into_iter().zip(WIDTHS) {
            let mut convs = Vec::with_capacity(depth);
            for _ in 0..depth {
                let conv = Conv::new([channels, c_out], cfg.norm, index, vb.pp("features"))?;
                index += conv.places();
                convs.push(conv);
                channels = c_out;
            }
            stages.push(Stage { convs, pool: index.to_string() });
            index += 1;
        }
        let (vb, dropout) = (vb.pp("classifier"), Dropout::new(cfg.dropout)?);
        let hidden = Sequential::default()
            .then("0", Linear::new(channels * 7 * 7, cfg.hidden, DENSE, vb.pp(0))?)
            .then("1", Activation::Relu)
            .then("2", dropout)
            .then("3", Linear::new(cfg.hidden, cfg.hidden, DENSE, vb.pp(3))?)
            .then("4", Activation::Relu)
            .then("5", dropout);
        Ok(Self { stages, hidden, head: Linear::new(cfg.hidden, cfg.num_classes, DENSE, vb.pp(6))? })
    }
}

impl Classifier for Vgg {
    /// `[B, C, H, W]` → the outputs of the five stages, at strides 2, 4, 8, 16 and 32, with 64, 128, 256, 512 and 512
    /// channels.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("Vgg", LEAST, x)?;
        let ctx = &ctx.at("features");
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.stages.len());
        for Stage { convs, pool } in &self.stages {
            x = convs.iter().try_fold(x, |x, conv| conv.call(&x, ctx))?;
            x = x.through(pool, &MaxPool2d::new([2, 2]), ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    /// The second hidden layer, `D` = 4096.
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let grid = features[4].through("avgpool", &AdaptiveAvgPool2d { output: [7, 7] }, ctx)?; // [B, 512, 7, 7]
        grid.through("flatten", &Flatten, ctx)?.through("classifier", &self.hidden, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.head, "classifier.6", num_classes, DENSE, store)
    }
}

impl Layer for Vgg {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("6", &self.head, &ctx.at("classifier"))
    }
}

struct Stage {
    convs: Vec<Conv>,
    /// What its max pool is called.
    pool: String,
}

/// A 3×3 convolution and ReLU, in numbered places of a sequence.
enum Conv {
    Plain { conv: Conv2d, names: [String; 2] },
    Normed(ConvNorm),
}

impl Conv {
    /// `index` is the first of its places.
    fn new(channels: [usize; 2], norm: Norm, index: usize, vb: VarBuilder) -> Result<Self> {
        let conv = Conv2dConfig {
            padding: Padding::Symmetric([1, 1]),
            bias: Bias::StartsAt(0.0),
            init: Some(HE_FAN_OUT),
            ..Conv2dConfig::default()
        };
        let names = [index.to_string(), (index + 1).to_string()];
        match norm {
            Norm::None => Ok(Self::Plain { conv: Conv2d::new(channels, [3, 3], conv, vb.pp(index))?, names }),
            Norm::Batch => {
                let norm = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
                let cfg = ConvNormConfig { names: [&names[0], &names[1]], conv, norm };
                Ok(Self::Normed(ConvNorm::new(channels, [3, 3], cfg, vb)?))
            }
        }
    }

    /// How many layers torchvision counts: convolution, norm if any, ReLU.
    fn places(&self) -> usize {
        match self {
            Self::Plain { .. } => 2,
            Self::Normed(_) => 3,
        }
    }

    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        match self {
            Self::Plain { conv, names: [name, relu] } => {
                x.through(name, conv, ctx)?.through(relu, &Activation::Relu, ctx)
            }
            Self::Normed(conv) => conv.call(x, ctx),
        }
    }
}
