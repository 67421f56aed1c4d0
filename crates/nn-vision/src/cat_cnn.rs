//! The small network of the tutorials that tells cats from everything else, by one number.
//!
//! Source: the introductory lessons on pictures in two folders, in Keras's layers and with its start values; no paper claims it.
//! Differs: the number is a logit, whose sigmoid belongs to the loss; rows of `fc.weight` see channels before places, where
//! Keras's see places before channels.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ParamStore, Through};
use nn_layers::{
    Activation, Bias, Conv2d, Conv2dConfig, Flatten, Linear, LinearConfig, MaxPool2d, xavier_uniform,
};

use crate::classifier::{at_least, exactly, renew};
use crate::{Classifier, Entry};

/// Options of [`CatCnn`].
#[derive(Clone, Copy, Debug)]
pub struct CatCnnConfig {
    /// Channels of the three blocks.
    pub channels: [usize; 3],
    /// Width of the dense layer.
    pub hidden: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output: 1 for two classes.
    pub num_classes: usize,
}

/// 3 → 32 → 64 → 128 channels, 128 dense: 683 329 parameters.
pub const CAT_CNN: CatCnnConfig =
    CatCnnConfig { channels: [32, 64, 128], hidden: 128, in_channels: 3, num_classes: 1 };

pub(crate) const ZOO: &[Entry] = &[Entry {
    name: "cat_cnn",
    paper: "the tutorials' cat or not",
    input: [3, 64, 64],
    least: SIZE,
    num_classes: 1,
    parameters: 683_329,
    build: |vb, num_classes| Ok(CatCnn::new(&CatCnnConfig { num_classes, ..CAT_CNN }, vb)?.into()),
}];

/// Of the images.
const SIZE: [usize; 2] = [64, 64];
/// A pixel is left after three blocks.
const LEAST: [usize; 2] = [22, 22];
/// What a side has become after three blocks: 64 → 31 → 14 → 6.
const SIDE: usize = 6;

/// Three blocks of convolution 3×3 without padding, ReLU and max-pooling 2×2, a dense layer, one logit; for 64×64 photos.
pub struct CatCnn {
    convs: [Conv2d; 3],
    fc: Linear,
    out: Linear,
}

impl CatCnn {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(cfg: &CatCnnConfig, vb: VarBuilder) -> Result<Self> {
        let conv = |c_in: usize, c_out: usize, name: &str| {
            let init = Some(xavier_uniform(9 * c_in, 9 * c_out));
            let cfg = Conv2dConfig { bias: Bias::StartsAt(0.0), init, ..Conv2dConfig::default() };
            Conv2d::new([c_in, c_out], [3, 3], cfg, vb.pp(name))
        };
        let [a, b, c] = cfg.channels;
        let flat = c * SIDE * SIDE;
        Ok(Self {
            convs: [conv(cfg.in_channels, a, "conv1")?, conv(a, b, "conv2")?, conv(b, c, "conv3")?],
            fc: Linear::new(flat, cfg.hidden, dense(flat, cfg.hidden), vb.pp("fc"))?,
            out: Linear::new(cfg.hidden, cfg.num_classes, dense(cfg.hidden, cfg.num_classes), vb.pp("out"))?,
        })
    }
}

fn dense(c_in: usize, c_out: usize) -> LinearConfig {
    LinearConfig { bias: Bias::StartsAt(0.0), init: Some(xavier_uniform(c_in, c_out)) }
}

impl Classifier for CatCnn {
    /// `[B, C, H, W]` → the three blocks' outputs at strides 2, 4 and 8: of 64×64 pixels `[B, 32, 31, 31]`, `[B, 64, 14, 14]` and
    /// `[B, 128, 6, 6]`.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("CatCnn", LEAST, x)?;
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.convs.len());
        for (n, conv) in (1..).zip(&self.convs) {
            x = x
                .through(&format!("conv{n}"), conv, ctx)?
                .through(&format!("act{n}"), &Activation::Relu, ctx)?
                .through(&format!("pool{n}"), &MaxPool2d::new([2, 2]), ctx)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    /// `[B, C, 64, 64]` → the dense layer, `D` = 128.
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        exactly("CatCnn", SIZE, x)?;
        self.features(x, ctx)?[2].through("flatten", &Flatten, ctx)?.through("fc", &self.fc, ctx)?.through(
            "act4",
            &Activation::Relu,
            ctx,
        )
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        let width = self.out.weight().dim(1)?;
        renew(&mut self.out, "out", num_classes, dense(width, num_classes), store)
    }
}

impl Layer for CatCnn {
    /// `[B, C, 64, 64]` → logits `[B, num_classes]`; a single one is that of the second of two classes.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.embed(x, ctx)?.through("out", &self.out, ctx)
    }
}
