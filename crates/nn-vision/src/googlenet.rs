//! GoogLeNet, 22 layers of convolutions of several sizes side by side.
//!
//! Source: Szegedy et al. 2015, arXiv:1409.4842, Table 1. Names and numbers are torchvision's.
//! Differs, with torchvision: batch norm (eps 1e-3) follows every convolution and there is no local response norm; the
//! branch that the paper calls 5×5 has a 3×3 kernel; max pooling rounds sizes up; auxiliary heads pool to 4×4 whatever
//! the size. torchvision's `transform_input` is left to the preparation of images: its weights expect mean ½ and
//! deviation ½ a channel.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, Mode, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, Bias, ConvNorm, Dropout, Flatten, Linear, LinearConfig, MaxPool2d,
    Rounding, normal,
};

use crate::branches::{Branch, Branches, Conv, Pool, chain, conv};
use crate::classifier::{at_least, renew};
use crate::trunk::Trunk;
use crate::{Auxiliary, Classifier, Entry, Weighted};

/// Options of [`GoogLeNet`].
#[derive(Clone, Copy, Debug)]
pub struct GoogLeNetConfig {
    /// Whether there are the two heads that help training.
    pub auxiliary: Auxiliary,
    /// Probability of dropping a number before the last layer, in [0, 1].
    pub dropout: f64,
    /// The same in the auxiliary heads.
    pub auxiliary_dropout: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// 13 004 888 parameters, of which 6 379 984 are in the auxiliary heads.
pub const GOOGLENET: GoogLeNetConfig = GoogLeNetConfig {
    auxiliary: Auxiliary::Heads,
    dropout: 0.2,
    auxiliary_dropout: 0.7,
    in_channels: 3,
    num_classes: 1000,
};

/// What the loss of each auxiliary head is multiplied by before it is added to the main one (section 5).
pub const AUXILIARY_WEIGHT: f64 = 0.3;

/// A row of Table 1.
enum Row {
    Conv(Conv),
    /// Max pooling with stride 2 and a square window; pixels left over at the edge make one more.
    Pool(&'static str, usize),
    /// Channels: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool projection.
    Inception(&'static str, [usize; 6]),
}

const LAYERS: [Row; 16] = [
    Row::Conv(conv("conv1", 64, [7, 7]).strided()),
    Row::Pool("maxpool1", 3),
    Row::Conv(conv("conv2", 64, [1, 1])),
    Row::Conv(conv("conv3", 192, [3, 3])),
    Row::Pool("maxpool2", 3),
    Row::Inception("inception3a", [64, 96, 128, 16, 32, 32]),
    Row::Inception("inception3b", [128, 128, 192, 32, 96, 64]),
    Row::Pool("maxpool3", 3),
    Row::Inception("inception4a", [192, 96, 208, 16, 48, 64]),
    Row::Inception("inception4b", [160, 112, 224, 24, 64, 64]),
    Row::Inception("inception4c", [128, 128, 256, 24, 64, 64]),
    Row::Inception("inception4d", [112, 144, 288, 32, 64, 64]),
    Row::Inception("inception4e", [256, 160, 320, 32, 128, 128]),
    Row::Pool("maxpool4", 2),
    Row::Inception("inception5a", [256, 160, 320, 32, 128, 128]),
    Row::Inception("inception5b", [384, 192, 384, 48, 128, 128]),
];

/// The last layer of each stride, 4 to 32.
const STAGES: [&str; 4] = ["conv3", "inception3b", "inception4e", "inception5b"];
/// The auxiliary heads and what they read.
const AUXILIARY: [(&str, &str); 2] = [("aux1", "inception4a"), ("aux2", "inception4d")];
/// Of the start values of weights; torchvision cuts them off at ±2, where there are none.
const STDEV: f64 = 0.01;
const LINEAR: LinearConfig = LinearConfig { bias: Bias::Learned, init: Some(normal(STDEV)) };
/// torchvision's weights are not for smaller images.
const LEAST: usize = 15;

pub(crate) const ZOO: &[Entry] = &[Entry {
    name: "googlenet",
    paper: "Szegedy et al. 2015",
    input: [3, 224, 224],
    least: [64, 64],
    num_classes: 1000,
    parameters: 13_004_888,
    build: |vb, num_classes| Ok(GoogLeNet::new(&GoogLeNetConfig { num_classes, ..GOOGLENET }, vb)?.into()),
}];

/// conv 7×7 → pool → conv 1×1 → conv 3×3 → pool → 2 inceptions → pool → 5 → pool → 2 → mean → classes.
pub struct GoogLeNet {
    trunk: Trunk,
    auxiliary: Vec<AuxiliaryHead>,
    dropout: Dropout,
    fc: Linear,
}

impl GoogLeNet {
    /// # Errors
    /// If `vb` has the names with other shapes, or a dropout is no probability.
    pub fn new(cfg: &GoogLeNetConfig, vb: VarBuilder) -> Result<Self> {
        let (mut trunk, mut auxiliary) = (Trunk::default(), Vec::new());
        let mut channels = cfg.in_channels;
        for row in &LAYERS {
            match row {
                Row::Conv(conv) => {
                    trunk.push(conv.name, conv.build(channels, STDEV, &vb)?);
                    channels = conv.channels;
                }
                Row::Pool(name, kernel) => trunk.push(
                    name,
                    MaxPool2d { stride: [2, 2], rounding: Rounding::Ceil, ..MaxPool2d::new([*kernel; 2]) },
                ),
                Row::Inception(name, widths) => {
                    let inception = Branches::new(channels, &inception(*widths), STDEV, &vb.pp(name))?;
                    channels = inception.channels();
                    trunk.push(name, inception);
                    let head = AUXILIARY.iter().find(|(_, reads)| reads == name);
                    if let (Auxiliary::Heads, Some((head, _))) = (cfg.auxiliary, head) {
                        auxiliary.push(AuxiliaryHead::new(channels, cfg, vb.pp(head))?);
                    }
                }
            }
        }
        Ok(Self {
            trunk,
            auxiliary,
            dropout: Dropout::new(cfg.dropout)?,
            fc: Linear::new(channels, cfg.num_classes, LINEAR, vb.pp("fc"))?,
        })
    }

    fn classify(&self, maps: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        pooled(maps, ctx)?.through("dropout", &self.dropout, ctx)?.through("fc", &self.fc, ctx)
    }
}

impl Classifier for GoogLeNet {
    /// `[B, C, H, W]` → the output of the stem and of inceptions 3b, 4e and 5b, at strides 4, 8, 16 and 32.
    ///
    /// # Errors
    /// If the image is smaller than 15×15 pixels.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("GoogLeNet", [LEAST; 2], x)?;
        self.trunk.taps(x, &STAGES, ctx)
    }

    /// `[B, C, H, W]` → the means of inception 5b, `[B, 1024]`
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        at_least("GoogLeNet", [LEAST; 2], x)?;
        pooled(&self.trunk.call(x, ctx)?, ctx)
    }

    /// In training the logits of `aux1` and `aux2` follow the main ones; their losses are added to the main one
    /// [`AUXILIARY_WEIGHT`] times.
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        if ctx.mode() == Mode::Eval || self.auxiliary.is_empty() {
            return Ok(vec![Weighted::main(self.call(x, ctx)?)]);
        }
        at_least("GoogLeNet", [LEAST; 2], x)?;
        let [(_, first), (_, second)] = AUXILIARY;
        let maps = self.trunk.taps(x, &[first, second, STAGES[3]], ctx)?;
        let mut logits = vec![Weighted::main(self.classify(&maps[2], ctx)?)];
        for (((name, _), head), x) in AUXILIARY.iter().zip(&self.auxiliary).zip(&maps) {
            logits.push(Weighted { logits: x.through(name, head, ctx)?, weight: AUXILIARY_WEIGHT });
        }
        Ok(logits)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        for ((name, _), head) in AUXILIARY.iter().zip(&mut self.auxiliary) {
            renew(&mut head.fc2, &format!("{name}.fc2"), num_classes, LINEAR, store)?;
        }
        renew(&mut self.fc, "fc", num_classes, LINEAR, store)
    }
}

impl Layer for GoogLeNet {
    /// `[B, C, H, W]` → logits `[B, num_classes]`, without the auxiliary ones.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        at_least("GoogLeNet", [LEAST; 2], x)?;
        self.classify(&self.trunk.call(x, ctx)?, ctx)
    }
}

/// The branches of an inception.
fn inception([one, reduce3, three, reduce5, five, projection]: [usize; 6]) -> [Branch; 4] {
    let pool =
        MaxPool2d { stride: [1, 1], padding: [1, 1], rounding: Rounding::Ceil, ..MaxPool2d::new([3, 3]) };
    [
        chain([conv("branch1", one, [1, 1])]),
        chain([conv("branch2.0", reduce3, [1, 1]), conv("branch2.1", three, [3, 3])]),
        chain([conv("branch3.0", reduce5, [1, 1]), conv("branch3.1", five, [3, 3])]),
        chain([conv("branch4.1", projection, [1, 1])]).after(Pool::Max(pool)),
    ]
}

fn pooled(x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
    x.through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?.through("flatten", &Flatten, ctx)
}

/// pool to 4×4 → conv 1×1 → dense 1024 → ReLU → dropout → classes.
struct AuxiliaryHead {
    conv: ConvNorm,
    fc1: Linear,
    dropout: Dropout,
    fc2: Linear,
}

impl AuxiliaryHead {
    fn new(channels: usize, cfg: &GoogLeNetConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            conv: conv("conv", 128, [1, 1]).build(channels, STDEV, &vb)?,
            fc1: Linear::new(128 * 4 * 4, 1024, LINEAR, vb.pp("fc1"))?,
            dropout: Dropout::new(cfg.auxiliary_dropout)?,
            fc2: Linear::new(1024, cfg.num_classes, LINEAR, vb.pp("fc2"))?,
        })
    }
}

impl Layer for AuxiliaryHead {
    /// `[B, c, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = x
            .through("pool", &AdaptiveAvgPool2d { output: [4, 4] }, ctx)?
            .through("conv", &self.conv, ctx)?;
        let x = x.through("flatten", &Flatten, ctx)?.through("fc1", &self.fc1, ctx)?; // [B, 1024]
        let x = x.through("act", &Activation::Relu, ctx)?.through("dropout", &self.dropout, ctx)?;
        x.through("fc2", &self.fc2, ctx)
    }
}
