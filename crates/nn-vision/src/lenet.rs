//! LeNet-5, the convolutional network that read cheques.
//!
//! Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition", §II.B.
//! Differs, as every re-implementation since: all maps of S2 feed all maps of C3; pooling has no coefficients of
//! its own; the output is a linear layer, not radial basis functions; tanh is not scaled.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ParamStore, Through, ensure};
use nn_layers::{Activation, AvgPool2d, Bias, Conv2d, Conv2dConfig, Flatten, Linear, MaxPool2d, Padding};

use crate::classifier::{exactly, renew};
use crate::{Classifier, Entry, Network};

/// How S2 and S4 halve their maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of each 2×2 block, as in 1998.
    Average,
    /// The largest of each 2×2 block.
    Max,
}

/// Options of [`LeNet5`].
#[derive(Clone, Copy, Debug)]
pub struct LeNetConfig {
    /// Pixels of zeros around the image: 2 for 28×28 images, 0 for 32×32.
    pub padding: usize,
    /// After every layer but the last.
    pub activation: Activation,
    /// In S2 and S4.
    pub pooling: Pooling,
    /// Width of the output.
    pub num_classes: usize,
}

/// As in 1998, for 28×28 images: 61 706 parameters.
pub const LENET5: LeNetConfig =
    LeNetConfig { padding: 2, activation: Activation::Tanh, pooling: Pooling::Average, num_classes: 10 };

/// With what came after: ReLU and max pooling.
pub const LENET5_RELU: LeNetConfig =
    LeNetConfig { activation: Activation::Relu, pooling: Pooling::Max, ..LENET5 };

pub(crate) const ZOO: &[Entry] = &[
    row("lenet5", "LeCun et al. 1998", |vb, n| build(LENET5, vb, n)),
    row("lenet5_relu", "LeCun et al. 1998, with ReLU and max pooling", |vb, n| build(LENET5_RELU, vb, n)),
];

const fn row(
    name: &'static str,
    paper: &'static str,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    Entry { name, paper, input: [1, 28, 28], least: [28, 28], num_classes: 10, parameters: 61_706, build }
}

fn build(cfg: LeNetConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(LeNet5::new(&LeNetConfig { num_classes, ..cfg }, vb)?.into())
}

/// conv 5×5 → pool → conv 5×5 → pool → conv 5×5 → dense 84 → dense classes.
///
/// | layer | maps | from 32×32 |
/// | --- | --- | --- |
/// | C1 `conv1` | 6 | 28×28 |
/// | S2 | 6 | 14×14 |
/// | C3 `conv2` | 16 | 10×10 |
/// | S4 | 16 | 5×5 |
/// | C5 `conv3` | 120 | 1×1 |
/// | F6 `fc1` | 84 | |
/// | output `fc2` | classes | |
pub struct LeNet5 {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    pooling: Pooling,
    /// Of the images.
    side: usize,
}

impl LeNet5 {
    /// # Errors
    /// If the padding leaves no image, or `vb` has the names with other shapes.
    pub fn new(cfg: &LeNetConfig, vb: VarBuilder) -> Result<Self> {
        ensure!(cfg.padding < 16, "LeNet5: padding must be less than 16 pixels, got {}", cfg.padding);
        let plain = Conv2dConfig::default();
        let padded = Conv2dConfig { padding: Padding::Symmetric([cfg.padding; 2]), ..plain };
        Ok(Self {
            conv1: Conv2d::new([1, 6], [5, 5], padded, vb.pp("conv1"))?,
            conv2: Conv2d::new([6, 16], [5, 5], plain, vb.pp("conv2"))?,
            conv3: Conv2d::new([16, 120], [5, 5], plain, vb.pp("conv3"))?,
            fc1: Linear::new(120, 84, Bias::Learned, vb.pp("fc1"))?,
            fc2: Linear::new(84, cfg.num_classes, Bias::Learned, vb.pp("fc2"))?,
            activation: cfg.activation,
            pooling: cfg.pooling,
            side: 32 - 2 * cfg.padding,
        })
    }

    fn halve(&self, name: &str, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        match self.pooling {
            Pooling::Average => x.through(name, &AvgPool2d::new([2, 2]), ctx),
            Pooling::Max => x.through(name, &MaxPool2d::new([2, 2]), ctx),
        }
    }
}

impl Classifier for LeNet5 {
    /// `[B, 1, 32 − 2·padding, 32 − 2·padding]` → the maps of S2 `[B, 6, 14, 14]`, S4 `[B, 16, 5, 5]` and C5
    /// `[B, 120, 1, 1]`, at strides 2, 4 and 20.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        exactly("LeNet5", [self.side; 2], x)?;
        let act = &self.activation;
        let c1 = x.through("conv1", &self.conv1, ctx)?.through("act1", act, ctx)?;
        let s2 = self.halve("pool1", &c1, ctx)?;
        let c3 = s2.through("conv2", &self.conv2, ctx)?.through("act2", act, ctx)?;
        let s4 = self.halve("pool2", &c3, ctx)?;
        let c5 = s4.through("conv3", &self.conv3, ctx)?.through("act3", act, ctx)?;
        Ok(vec![s2, s4, c5])
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let c5 = features[2].through("flatten", &Flatten, ctx)?; // [B, 120]
        c5.through("fc1", &self.fc1, ctx)?.through("act4", &self.activation, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.fc2, "fc2", num_classes, Bias::Learned, store)
    }
}

impl Layer for LeNet5 {
    /// `[B, 1, 32 − 2·padding, 32 − 2·padding]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("fc2", &self.fc2, ctx)
    }
}
