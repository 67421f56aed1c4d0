//! Branches that read the same maps and lay their own side by side: the block of GoogLeNet and Inception v3.
//!
//! Source: Szegedy et al. 2015, arXiv:1409.4842, figure 2.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::concat;
use nn_core::{Ctx, Layer, Through};
use nn_layers::{
    Activation, AvgPool2d, BatchNorm, Bias, Conv2dConfig, ConvNorm, ConvNormConfig, MaxPool2d, Padding,
    normal,
};

/// A convolution with batch norm and ReLU: a row of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) name: &'static str,
    pub(crate) channels: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
}

/// To `channels` channels with a `[height, width]` kernel of odd sides, padded so that the size stays.
pub(crate) const fn conv(name: &'static str, channels: usize, kernel: [usize; 2]) -> Conv {
    Conv { name, channels, kernel, stride: 1, padding: [kernel[0] / 2, kernel[1] / 2] }
}

impl Conv {
    /// The same on every second pixel.
    pub(crate) const fn strided(self) -> Self {
        Self { stride: 2, ..self }
    }

    /// The same without padding.
    pub(crate) const fn valid(self) -> Self {
        Self { padding: [0, 0], ..self }
    }

    /// Its layer on `c_in` channels, whose weight starts normal with deviation `stdev`; `vb` is the block's.
    pub(crate) fn build(&self, c_in: usize, stdev: f64, vb: &VarBuilder) -> Result<ConvNorm> {
        let cfg = ConvNormConfig {
            names: ["conv", "bn"],
            conv: Conv2dConfig {
                stride: [self.stride; 2],
                padding: Padding::Symmetric(self.padding),
                bias: Bias::None,
                init: Some(normal(stdev)),
                ..Conv2dConfig::default()
            },
            norm: BatchNorm { eps: 1e-3, activation: Some(Activation::Relu), ..BatchNorm::default() },
        };
        ConvNorm::new([c_in, self.channels], self.kernel, cfg, vb.pp(self.name))
    }
}

/// What a branch does to its input before its first convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    /// The largest of each window.
    Max(MaxPool2d),
    /// The mean of each window.
    Average(AvgPool2d),
}

/// A branch as a row of a table: pooling, convolutions one after the other, and what reads the last of them side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    pub(crate) pool: Option<Pool>,
    pub(crate) convs: Vec<Conv>,
    pub(crate) fork: Vec<Conv>,
}

/// A branch of convolutions only.
pub(crate) fn chain<const N: usize>(convs: [Conv; N]) -> Branch {
    Branch { convs: convs.to_vec(), ..Branch::default() }
}

impl Branch {
    /// The same with `pool` in front.
    pub(crate) fn after(self, pool: Pool) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// The same with `convs` at its end, all reading what comes before.
    pub(crate) fn fork<const N: usize>(self, convs: [Conv; N]) -> Self {
        Self { fork: convs.to_vec(), ..self }
    }

    /// Channels it makes of `c_in`.
    fn channels(&self, c_in: usize) -> usize {
        match (self.fork.as_slice(), self.convs.last()) {
            ([], Some(last)) => last.channels,
            ([], None) => c_in,
            (fork, _) => fork.iter().map(|conv| conv.channels).sum(),
        }
    }
}

/// Branches by the names of their convolutions; their outputs are concatenated in the order of the table.
pub(crate) struct Branches {
    branches: Vec<Built>,
    channels: usize,
}

struct Built {
    pool: Option<Pool>,
    convs: Vec<(&'static str, ConvNorm)>,
    fork: Vec<(&'static str, ConvNorm)>,
}

impl Branches {
    pub(crate) fn new(c_in: usize, table: &[Branch], stdev: f64, vb: &VarBuilder) -> Result<Self> {
        let build = |branch: &Branch| {
            let mut c = c_in;
            let mut convs = Vec::new();
            for conv in &branch.convs {
                convs.push((conv.name, conv.build(c, stdev, vb)?));
                c = conv.channels;
            }
            let fork = branch.fork.iter().map(|conv| Ok((conv.name, conv.build(c, stdev, vb)?)));
            Ok(Built { pool: branch.pool, convs, fork: fork.collect::<Result<_>>()? })
        };
        Ok(Self {
            branches: table.iter().map(build).collect::<Result<_>>()?,
            channels: table.iter().map(|branch| branch.channels(c_in)).sum(),
        })
    }

    /// Channels of the output.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }
}

impl Layer for Branches {
    /// `[B, c_in, H, W]` → `[B, channels, H', W']`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let mut outputs = Vec::new();
        for branch in &self.branches {
            let mut y = match &branch.pool {
                None => x.clone(),
                Some(Pool::Max(pool)) => x.through("pool", pool, ctx)?,
                Some(Pool::Average(pool)) => x.through("pool", pool, ctx)?,
            };
            for (name, conv) in &branch.convs {
                y = y.through(name, conv, ctx)?;
            }
            if branch.fork.is_empty() {
                outputs.push(y);
                continue;
            }
            for (name, conv) in &branch.fork {
                outputs.push(y.through(name, conv, ctx)?);
            }
        }
        concat(&outputs, 1)
    }
}
