//! Layer normalisation as a layer.

use candle_core::{Result, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::{Ctx, Layer, ops};

/// `(x − mean) / √(variance + eps) · weight + bias` over the last axes; see [`ops::layer_norm`].
///
/// Parameters, of the shape of those axes: `weight`, 1 at the start, `bias`, 0.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Over last axes of the shape `normalized`. PyTorch's `eps` is 1e-5, that of vision transformers 1e-6.
    ///
    /// # Errors
    /// If `vb` has the names with other shapes.
    pub fn new(normalized: impl Into<Shape>, eps: f64, vb: VarBuilder) -> Result<Self> {
        let shape = normalized.into();
        Ok(Self {
            weight: vb.get_with_hints(&shape, "weight", Init::Const(1.0))?,
            bias: vb.get_with_hints(&shape, "bias", Init::Const(0.0))?,
            eps,
        })
    }
}

impl Layer for LayerNorm {
    /// `[…, normalized]` → `[…, normalized]`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        ops::layer_norm(x, self.weight.rank(), Some(&self.weight), Some(&self.bias), self.eps)
    }
}
