//! Layers one after the other, of which some outputs are wanted by name.
//!
//! Source: torchvision's `create_feature_extractor`, for the idea of outputs by the names of layers.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, Layer, Through};

/// A network without its heads.
#[derive(Default)]
pub(crate) struct Trunk {
    layers: Vec<(&'static str, Box<dyn Layer>)>,
}

impl Trunk {
    pub(crate) fn push(&mut self, name: &'static str, layer: impl Layer + 'static) {
        self.layers.push((name, Box::new(layer)));
    }

    /// The outputs of the layers called `names`, which are in the order of the layers.
    pub(crate) fn taps(&self, x: &Tensor, names: &[&str], ctx: &Ctx) -> Result<Vec<Tensor>> {
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(names.len());
        for (name, layer) in &self.layers {
            x = x.through(name, layer, ctx)?;
            if names.contains(name) {
                outputs.push(x.clone());
            }
        }
        Ok(outputs)
    }
}

impl Layer for Trunk {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, (name, layer)| x.through(name, layer, ctx))
    }
}
