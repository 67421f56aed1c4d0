//! What every network that names each pixel of an image offers.
//!
//! Source: Long, Shelhamer & Darrell 2015, arXiv:1411.4038; auxiliary heads as in torchvision's segmentation models.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, Layer};

use crate::Weighted;

/// A network from images `[B, C, H, W]` to scores `[B, classes, H, W]`.
pub trait Segmenter: Layer {
    /// `[B, C, H, W]` → the scores `[B, classes, H, W]` of every head that learns, the main one first, and what their losses
    /// weigh. In evaluation those of [`Layer::call`] alone.
    ///
    /// # Errors
    /// If the image has another number of channels, or is too small for the network.
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        Ok(vec![Weighted::main(self.call(x, ctx)?)])
    }
}
