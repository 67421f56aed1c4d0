//! Network in network: 1×1 convolutions after each larger one, and the mean of a map a class in place of dense
//! layers.
//!
//! Source: Lin, Chen & Yan 2013, "Network in network", arXiv:1312.4400, §3. Sizes, start values and names of
//! parameters are those of the authors' Caffe models, for ImageNet and for CIFAR-10.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, Bias, Conv2d, Conv2dConfig, Dropout, Flatten, MaxPool2d,
    Padding, Rounding, Sequential, normal,
};

use crate::classifier::at_least;
use crate::{Classifier, Entry};

/// A convolution and 1×1 convolutions after it, ReLU after each (the paper's "mlpconv"), and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Channels of the convolution and of the 1×1 ones.
    widths: &'static [usize],
    pool: Pool,
    drop: Drop,
}

/// Windows of 3×3 and stride 2, the last of which may reach over the edge.
#[derive(Clone, Copy, Debug)]
enum Pool {
    None,
    Max,
    Mean,
}

/// Whether dropout follows the pool.
#[derive(Clone, Copy, Debug)]
enum Drop {
    No,
    Yes,
}

const fn mlpconv(kernel: usize, widths: &'static [usize]) -> Row {
    Row { kernel, stride: 1, padding: kernel / 2, widths, pool: Pool::None, drop: Drop::No }
}

impl Row {
    const fn stride(self, stride: usize) -> Self {
        Self { stride, padding: 0, ..self }
    }

    const fn max(self) -> Self {
        Self { pool: Pool::Max, ..self }
    }

    const fn mean(self) -> Self {
        Self { pool: Pool::Mean, ..self }
    }

    const fn dropped(self) -> Self {
        Self { drop: Drop::Yes, ..self }
    }
}

/// Options of [`Nin`].
#[derive(Clone, Copy, Debug)]
pub struct NinConfig {
    /// All convolutions but the last, which is as wide as there are classes.
    pub rows: &'static [Row],
    /// Height and width of the smallest images, in which every window finds a pixel.
    pub least: usize,
    /// Probability of dropping a number in training.
    pub dropout: f64,
    /// Of the image.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// For 224×224.
pub const NIN_IMAGENET: NinConfig = NinConfig {
    rows: &[
        mlpconv(11, &[96, 96, 96]).stride(4).max(),
        mlpconv(5, &[256, 256, 256]).max(),
        mlpconv(3, &[384, 384, 384]).max().dropped(),
        mlpconv(3, &[1024, 1024]),
    ],
    least: 39,
    dropout: 0.5,
    in_channels: 3,
    num_classes: 1000,
};

/// For 32×32.
pub const NIN_CIFAR: NinConfig = NinConfig {
    rows: &[
        mlpconv(5, &[192, 160, 96]).max().dropped(),
        mlpconv(5, &[192, 192, 192]).mean().dropped(),
        mlpconv(3, &[192, 192]),
    ],
    least: 4,
    num_classes: 10,
    ..NIN_IMAGENET
};

const PAPER: &str = "Lin et al. 2013";

pub(crate) const ZOO: &[Entry] = &[
    Entry {
        name: "nin",
        paper: PAPER,
        input: [3, 224, 224],
        least: [67, 67],
        num_classes: 1000,
        parameters: 7_595_176,
        build: |vb, num_classes| Ok(Nin::new(&NinConfig { num_classes, ..NIN_IMAGENET }, vb)?.into()),
    },
    Entry {
        name: "nin_cifar",
        paper: PAPER,
        input: [3, 32, 32],
        least: [32, 32],
        num_classes: 10,
        parameters: 966_986,
        build: |vb, num_classes| Ok(Nin::new(&NinConfig { num_classes, ..NIN_CIFAR }, vb)?.into()),
    },
];

/// The table's convolutions → 1×1 to the classes → mean of the map.
///
/// Convolutions of the table are `conv1`, `conv2`, …; 1×1 ones are `cccp1`, `cccp2`, … throughout.
pub struct Nin {
    stages: Vec<Sequential>,
    head: Conv2d,
    head_name: String,
    least: usize,
}

impl Nin {
    /// # Errors
    /// If the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &NinConfig, vb: VarBuilder) -> Result<Self> {
        let (mut stages, mut channels, mut pointwise) = (Vec::new(), cfg.in_channels, 0);
        for (n, row) in (1..).zip(cfg.rows) {
            let mut stage = Sequential::default();
            for (index, &c_out) in row.widths.iter().enumerate() {
                let (name, kernel, how) = if index == 0 {
                    let padding = Padding::Symmetric([row.padding; 2]);
                    (
                        format!("conv{n}"),
                        row.kernel,
                        Conv2dConfig { stride: [row.stride; 2], padding, ..conv() },
                    )
                } else {
                    pointwise += 1;
                    (format!("cccp{pointwise}"), 1, conv())
                };
                let layer = Conv2d::new([channels, c_out], [kernel; 2], how, vb.pp(&name))?;
                let relu = format!("relu_{name}");
                stage = stage.then(name, layer).then(relu, Activation::Relu);
                channels = c_out;
            }
            let (stride, rounding, name) = ([2, 2], Rounding::Ceil, format!("pool{n}"));
            stage = match row.pool {
                Pool::None => stage,
                Pool::Max => stage.then(name, MaxPool2d { stride, rounding, ..MaxPool2d::new([3, 3]) }),
                Pool::Mean => stage.then(name, AvgPool2d { stride, rounding, ..AvgPool2d::new([3, 3]) }),
            };
            if let Drop::Yes = row.drop {
                stage = stage.then(format!("drop{n}"), Dropout::new(cfg.dropout)?);
            }
            stages.push(stage);
        }
        let head_name = format!("cccp{}", pointwise + 1);
        let head = Conv2d::new([channels, cfg.num_classes], [1, 1], conv(), vb.pp(&head_name))?;
        Ok(Self { stages, head, head_name, least: cfg.least })
    }
}

fn conv() -> Conv2dConfig {
    Conv2dConfig { bias: Bias::StartsAt(0.0), init: Some(normal(0.05)), ..Conv2dConfig::default() }
}

impl Classifier for Nin {
    /// `[B, C, H, W]` → the outputs of the rows, each after its pool: at strides 8, 16, 32 and 32 for ImageNet, 2, 4 and
    /// 4 for CIFAR.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("Nin", [self.least; 2], x)?;
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            x = stage.call(&x, ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    /// The mean of the maps before the last convolution.
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        mean(&self.last_maps(x, ctx)?, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        let old = self.head.weight();
        let (width, vb) = (old.dim(1)?, store.vb(old.dtype(), old.device()));
        store.forget(&self.head_name);
        self.head = Conv2d::new([width, num_classes], [1, 1], conv(), vb.pp(&self.head_name))?;
        Ok(())
    }
}

impl Nin {
    fn last_maps(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let mut features = self.features(x, ctx)?;
        features.pop().map_or_else(|| Ok(x.clone()), Ok)
    }
}

impl Layer for Nin {
    /// `[B, C, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let maps = self.last_maps(x, ctx)?.through(&self.head_name, &self.head, ctx)?; // [B, num_classes, H', W']
        mean(&maps.through(&format!("relu_{}", self.head_name), &Activation::Relu, ctx)?, ctx)
    }
}

/// `[B, C, H, W]` → `[B, C]`
fn mean(maps: &Tensor, ctx: &Ctx) -> Result<Tensor> {
    maps.through("pool", &AdaptiveAvgPool2d::GLOBAL, ctx)?.through("flatten", &Flatten, ctx)
}
