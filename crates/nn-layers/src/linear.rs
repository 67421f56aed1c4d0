//! The fully connected layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ops};

use crate::init::{Bias, fan_in_uniform};

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
    pub fn new(c_in: usize, c_out: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let (weight, bias) = fan_in_uniform(&vb, &[c_out, c_in], bias)?;
        Ok(Self { weight, bias })
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
