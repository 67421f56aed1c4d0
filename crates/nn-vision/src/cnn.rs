//! The two-block convolutional network that tutorials begin with.
//!
//! Source: common to the introductory MNIST lessons of the field; no paper claims it.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{Activation, Bias, Conv2d, Conv2dConfig, Flatten, Linear, MaxPool2d, Padding};

use crate::classifier::{exactly, renew};
use crate::{Classifier, Entry};

/// Options of [`Cnn`].
#[derive(Clone, Copy, Debug)]
pub struct CnnConfig {
    /// Channels of the two blocks.
    pub channels: [usize; 2],
    /// Width of the output.
    pub num_classes: usize,
}

/// 1 → 16 → 32 channels: 28 938 parameters.
pub const CNN: CnnConfig = CnnConfig { channels: [16, 32], num_classes: 10 };

pub(crate) const ZOO: &[Entry] = &[Entry {
    name: "cnn",
    paper: "the tutorials' two-block network",
    input: [1, 28, 28],
    least: [28, 28],
    num_classes: 10,
    parameters: 28_938,
    build: |vb, num_classes| Ok(Cnn::new(&CnnConfig { num_classes, ..CNN }, vb)?.into()),
}];

/// Two blocks of convolution 5×5, ReLU and max-pooling 2×2, then one linear layer, for 28×28 grey images.
pub struct Cnn {
    convs: [Conv2d; 2],
    out: Linear,
}

impl Cnn {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(cfg: &CnnConfig, vb: VarBuilder) -> Result<Self> {
        let same = Conv2dConfig { padding: Padding::Symmetric([2, 2]), ..Default::default() };
        let [a, b] = cfg.channels;
        Ok(Self {
            convs: [
                Conv2d::new([1, a], [5, 5], same, vb.pp("conv1"))?,
                Conv2d::new([a, b], [5, 5], same, vb.pp("conv2"))?,
            ],
            out: Linear::new(b * 7 * 7, cfg.num_classes, Bias::Learned, vb.pp("out"))?,
        })
    }
}

impl Classifier for Cnn {
    /// `[B, 1, 28, 28]` → the two blocks' outputs, `[B, 16, 14, 14]` and `[B, 32, 7, 7]`, at strides 2 and 4.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        exactly("Cnn", [28, 28], x)?;
        let block = |x: &Tensor, n: usize| {
            x.through(&format!("conv{n}"), &self.convs[n - 1], ctx)?
                .through(&format!("act{n}"), &Activation::Relu, ctx)?
                .through(&format!("pool{n}"), &MaxPool2d::new([2, 2]), ctx)
        };
        let first = block(x, 1)?;
        let second = block(&first, 2)?;
        Ok(vec![first, second])
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.features(x, ctx)?[1].through("flatten", &Flatten, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        renew(&mut self.out, "out", num_classes, Bias::Learned, store)
    }
}

impl Layer for Cnn {
    /// `[B, 1, 28, 28]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("out", &self.out, ctx)
    }
}
