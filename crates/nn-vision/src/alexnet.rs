//! AlexNet, which won ImageNet 2012: five convolutions, three pools, three dense layers.
//!
//! Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
//! §3.5; torchvision's is that of Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
//! arXiv:1404.5997. Parameters are numbered as in torchvision.
//! Differs: dropout precedes the hidden dense layers and average pooling to 6×6 lets images have any size, as in
//! torchvision; the paper's two towers are one network whose convolutions have two groups.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, Bias, Conv2d, Conv2dConfig, Dropout, Flatten, Linear, LinearConfig,
    LocalResponseNorm, MaxPool2d, Padding, Sequential, normal,
};

use crate::classifier::{at_least, renew};
use crate::{Classifier, Entry, Network};

/// A convolution and ReLU, and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    c_out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
    response_norm: Option<LocalResponseNorm>,
    pool: Option<MaxPool2d>,
    bias: Bias,
}

/// Stride 1 and padding that keeps the size.
const fn conv(c_out: usize, kernel: usize) -> Row {
    Row {
        c_out,
        kernel,
        stride: 1,
        padding: kernel / 2,
        groups: 1,
        response_norm: None,
        pool: None,
        bias: Bias::Learned,
    }
}

impl Row {
    const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    const fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Local response norm (§3.3).
    const fn normed(self) -> Self {
        let norm = LocalResponseNorm { size: 5, alpha: 5e-4, beta: 0.75, k: 2.0 };
        Self { response_norm: Some(norm), ..self }
    }

    /// Windows of 3×3 that overlap by a pixel (§3.4).
    const fn pooled(self) -> Self {
        Self { pool: Some(MaxPool2d { stride: [2, 2], ..MaxPool2d::new([3, 3]) }), ..self }
    }

    const fn bias(self, start: f64) -> Self {
        Self { bias: Bias::StartsAt(start), ..self }
    }
}

/// Options of [`AlexNet`].
#[derive(Clone, Copy, Debug)]
pub struct AlexNetConfig {
    /// The convolutions.
    pub rows: [Row; 5],
    /// What weights start from; `None` is PyTorch's default.
    pub init: Option<Init>,
    /// Of the hidden dense layers, and of the last.
    pub biases: [Bias; 2],
    /// Probability of dropping a dense number in training.
    pub dropout: f64,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// torchvision's, one tower.
pub const ALEXNET: AlexNetConfig = AlexNetConfig {
    rows: [
        conv(64, 11).stride(4).padding(2).pooled(),
        conv(192, 5).pooled(),
        conv(384, 3),
        conv(256, 3),
        conv(256, 3).pooled(),
    ],
    init: None,
    biases: [Bias::Learned; 2],
    dropout: 0.5,
    in_channels: 3,
    num_classes: 1000,
};

/// As in 2012.
pub const ALEXNET_2012: AlexNetConfig = AlexNetConfig {
    rows: [
        conv(96, 11).stride(4).padding(2).normed().pooled().bias(0.0),
        conv(256, 5).groups(2).normed().pooled().bias(1.0),
        conv(384, 3).bias(0.0),
        conv(384, 3).groups(2).bias(1.0),
        conv(256, 3).groups(2).pooled().bias(1.0),
    ],
    init: Some(normal(0.01)),
    biases: [Bias::StartsAt(1.0), Bias::StartsAt(0.0)],
    ..ALEXNET
};

pub(crate) const ZOO: &[Entry] = &[
    row("alexnet", "Krizhevsky 2014", 61_100_840, |vb, n| build(ALEXNET, vb, n)),
    row("alexnet_2012", "Krizhevsky et al. 2012", 60_965_224, |vb, n| build(ALEXNET_2012, vb, n)),
];

const fn row(
    name: &'static str,
    paper: &'static str,
    parameters: usize,
    build: fn(VarBuilder<'static>, usize) -> Result<Network>,
) -> Entry {
    Entry { name, paper, input: [3, 224, 224], least: LEAST, num_classes: 1000, parameters, build }
}

fn build(cfg: AlexNetConfig, vb: VarBuilder, num_classes: usize) -> Result<Network> {
    Ok(AlexNet::new(&AlexNetConfig { num_classes, ..cfg }, vb)?.into())
}

/// The last pool has one window then.
const LEAST: [usize; 2] = [63, 63];

/// Width of the hidden dense layers.
const HIDDEN: usize = 4096;

/// Five convolutions with three pools among them → mean on a 6×6 grid → two hidden dense layers → dense classes.
pub struct AlexNet {
    /// Each ends with a pool.
    stages: Vec<Sequential>,
    hidden: Sequential,
    head: Linear,
    dense: LinearConfig,
}

impl AlexNet {
    /// # Errors
    /// If the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &AlexNetConfig, vb: VarBuilder) -> Result<Self> {
        let (stages, channels) = stages(cfg, vb.pp("features"))?;
        let [hidden, dense] = cfg.biases.map(|bias| LinearConfig { bias, init: cfg.init });
        let (vb, dropout) = (vb.pp("classifier"), Dropout::new(cfg.dropout)?);
        let head = Linear::new(HIDDEN, cfg.num_classes, dense, vb.pp(6))?;
        let hidden = Sequential::default()
            .then("0", dropout)
            .then("1", Linear::new(channels * 6 * 6, HIDDEN, hidden, vb.pp(1))?)
            .then("2", Activation::Relu)
            .then("3", dropout)
            .then("4", Linear::new(HIDDEN, HIDDEN, hidden, vb.pp(4))?)
            .then("5", Activation::Relu);
        Ok(Self { stages, hidden, head, dense })
    }
}

/// The layers of the table, numbered in one sequence and cut after the pools, and the channels that come out.
fn stages(cfg: &AlexNetConfig, vb: VarBuilder) -> Result<(Vec<Sequential>, usize)> {
    let (mut stages, mut stage) = (Vec::new(), Sequential::default());
    let (mut channels, mut numbers) = (cfg.in_channels, (0..).map(|n: usize| n.to_string()));
    let mut next = || numbers.next().unwrap_or_default();
    for row in cfg.rows {
        let conv = Conv2dConfig {
            stride: [row.stride; 2],
            padding: Padding::Symmetric([row.padding; 2]),
            groups: row.groups,
            bias: row.bias,
            init: cfg.init,
            ..Conv2dConfig::default()
        };
        let name = next();
        let conv = Conv2d::new([channels, row.c_out], [row.kernel; 2], conv, vb.pp(&name))?;
        stage = stage.then(name, conv).then(next(), Activation::Relu);
        if let Some(norm) = row.response_norm {
            stage = stage.then(next(), norm);
        }
        if let Some(pool) = row.pool {
            stages.push(std::mem::take(&mut stage).then(next(), pool));
        }
        channels = row.c_out;
    }
    Ok((stages, channels))
}

impl Classifier for AlexNet {
    /// `[B, C, H, W]` → the outputs of the three pools, at strides 8, 16 and 32.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("AlexNet", LEAST, x)?;
        let ctx = &ctx.at("features");
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            x = stage.call(&x, ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    /// The second hidden layer, `D` = 4096.
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.features(x, ctx)?;
        let grid = features[2].through("avgpool", &AdaptiveAvgPool2d { output: [6, 6] }, ctx)?; // [B, 256, 6, 6]
        grid.through("flatten", &Flatten, ctx)?.through("classifier", &self.hidden, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.head, "classifier.6", num_classes, self.dense, store)
    }
}

impl Layer for AlexNet {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("6", &self.head, &ctx.at("classifier"))
    }
}
