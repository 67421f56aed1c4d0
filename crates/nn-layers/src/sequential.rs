//! Layers one after the other.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, Layer, Through};

/// Layers called in the order they were added, each under its own name.
///
/// ```
/// # use nn_core::candle_core::{DType, Device, Result, Tensor};
/// # use nn_core::{Ctx, Layer, ParamStore};
/// # use nn_layers::{Activation, Bias, Flatten, Linear, Sequential};
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let vb = store.vb(DType::F32, &Device::Cpu);
/// let model = Sequential::default()
///     .then("flatten", Flatten)
///     .then("fc", Linear::new(4, 2, Bias::Learned, vb.pp("fc"))?)
///     .then("act", Activation::Relu);
/// let y = model.call(&Tensor::zeros((3, 2, 2), DType::F32, &Device::Cpu)?, &Ctx::eval())?;
/// assert_eq!(y.dims(), [3, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Sequential {
    /// The same with `layer` at the end; `name` is the last part of its path, usually that of its parameters.
    #[must_use]
    pub fn then(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// How many layers there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none; the input is then the output.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Sequential {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, (name, layer)| x.through(name, layer, ctx))
    }
}
