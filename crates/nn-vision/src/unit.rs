//! The unit that papers tabulate: a square convolution, batch norm, an activation.
//!
//! Source: Ioffe & Szegedy 2015, arXiv:1502.03167, §3.2: the norm's shift makes the convolution's bias idle.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};
use nn_layers::{Activation, BatchNorm, Bias, Conv2dConfig, ConvNorm, ConvNormConfig, HE_FAN_OUT, Padding};

/// A row of a table; channels come when it is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
    /// `None` centres the windows: the maps keep their size at stride 1.
    pub(crate) padding: Option<Padding>,
    pub(crate) activation: Option<Activation>,
    pub(crate) eps: f64,
    pub(crate) init: Option<Init>,
}

/// Stride 1, all channels connected, ReLU, weights as He et al. start them.
pub(crate) const fn unit(kernel: usize) -> Unit {
    Unit {
        kernel,
        stride: 1,
        dilation: 1,
        groups: 1,
        padding: None,
        activation: Some(Activation::Relu),
        eps: 1e-5,
        init: Some(HE_FAN_OUT),
    }
}

impl Unit {
    /// From `channels[0]` to `channels[1]` channels, with the parameters of convolution and norm under `names`.
    pub(crate) fn build(self, channels: [usize; 2], names: [&str; 2], vb: VarBuilder) -> Result<ConvNorm> {
        let Self { kernel, stride, dilation, groups, padding, activation, eps, init } = self;
        let conv = Conv2dConfig {
            stride: [stride; 2],
            padding: padding.unwrap_or(Padding::Symmetric([dilation * (kernel / 2); 2])),
            dilation: [dilation; 2],
            groups,
            bias: Bias::None,
            init,
        };
        let norm = BatchNorm { eps, activation, ..BatchNorm::default() };
        ConvNorm::new(channels, [kernel; 2], ConvNormConfig { names, conv, norm }, vb)
    }
}
