//! The two-dimensional convolution layer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{Activation, Convolution, Padding, conv2d, conv2d_scale_shift};
use nn_core::{Ctx, Layer, ensure};

use crate::init::{Bias, weight_and_bias};

/// Options of [`Conv2d`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dConfig {
    /// From a window to the next, `[height, width]`, in input pixels.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// From a tap of the kernel to the next, `[height, width]`, in input pixels.
    pub dilation: [usize; 2],
    /// `1` connects all channels, `c_in` makes a depthwise convolution.
    pub groups: usize,
    /// Whether each output channel has a bias.
    pub bias: Bias,
    /// What the weight starts from; `None` is uniform in `±1/√fan_in`.
    pub init: Option<Init>,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        let Convolution { stride, padding, dilation, groups } = Convolution::default();
        Self { stride, padding, dilation, groups, bias: Bias::Learned, init: None }
    }
}

/// `y[o] = b[o] + Σ w[o, i] ⋆ x[i]`; see [`conv2d`].
///
/// Parameters: `weight [c_out, c_in / groups, kh, kw]`, `bias [c_out]`, both uniform in
/// `±1/√(c_in / groups · kh · kw)` at the start.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    how: Convolution,
}

impl Conv2d {
    /// A convolution from `channels[0]` to `channels[1]` channels with a `[height, width]` kernel.
    ///
    /// # Errors
    /// If `groups` does not divide both channel counts, or `vb` has the names with other shapes.
    pub fn new(channels: [usize; 2], kernel: [usize; 2], cfg: Conv2dConfig, vb: VarBuilder) -> Result<Self> {
        let Conv2dConfig { stride, padding, dilation, groups, bias, init } = cfg;
        let [c_in, c_out] = channels;
        ensure!(
            groups > 0 && c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups),
            "Conv2d: groups must divide both channel counts, got {groups} groups and {c_in} → {c_out} channels"
        );
        let (weight, bias) = weight_and_bias(&vb, &[c_out, c_in / groups, kernel[0], kernel[1]], bias, init)?;
        Ok(Self { weight, bias, how: Convolution { stride, padding, dilation, groups } })
    }

    /// `[c_out, c_in / groups, kh, kw]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `f(self(x) · scale + shift)` in one pass, with numbers for each output channel.
    pub(crate) fn scaled(
        &self,
        x: &Tensor,
        [scale, shift]: [Tensor; 2],
        activation: Option<Activation>,
    ) -> Result<Tensor> {
        let shift = match &self.bias {
            Some(bias) => (shift + bias.mul(&scale)?)?,
            None => shift,
        };
        conv2d_scale_shift(x, &self.weight, [&scale, &shift], activation, self.how)
    }
}

impl Layer for Conv2d {
    /// `[B, c_in, H, W]` → `[B, c_out, H', W']`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        conv2d(x, &self.weight, self.bias.as_ref(), self.how)
    }

    fn multiply_adds(&self, _x: &Tensor, y: &Tensor) -> u64 {
        let per_output: usize = self.weight.dims()[1..].iter().product();
        (y.elem_count() * per_output) as u64
    }
}
