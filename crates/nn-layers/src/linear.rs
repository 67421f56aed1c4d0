//! The fully connected layer.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::{Ctx, Layer, ops};

use crate::init::{Bias, weight_and_bias};

/// Options of [`Linear`]; the defaults are PyTorch's. A [`Bias`] alone is one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinearConfig {
    /// Whether each output has a bias.
    pub bias: Bias,
    /// What the weight starts from; `None` is uniform in `±1/√c_in`.
    pub init: Option<Init>,
}

impl From<Bias> for LinearConfig {
    fn from(bias: Bias) -> Self {
        Self { bias, ..Self::default() }
    }
}

/// `y = x · wᵀ + b`
///
/// Parameters: `weight [c_out, c_in]`, `bias [c_out]`, both uniform in `±1/√c_in` at the start.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(c_in: usize, c_out: usize, cfg: impl Into<LinearConfig>, vb: VarBuilder) -> Result<Self> {
        let LinearConfig { bias, init } = cfg.into();
        let (weight, bias) = weight_and_bias(&vb, &[c_out, c_in], bias, init)?;
        Ok(Self { weight, bias })
    }

    /// `[c_out, c_in]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl Layer for Linear {
    /// `[…, c_in]` → `[…, c_out]`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }

    fn multiply_adds(&self, _x: &Tensor, y: &Tensor) -> u64 {
        (y.elem_count() * self.weight.dims()[1]) as u64
    }
}
