//! What every network that names what is in an image offers besides the names.
//!
//! Source: the tutorials on transfer learning: features for another head, and a head for other classes.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, Layer, ParamStore, ensure};
use nn_layers::{Linear, LinearConfig};

use crate::Weighted;

/// A network from images `[B, C, H, W]` to logits `[B, classes]`.
pub trait Classifier: Layer {
    /// The outputs of the stages, finest first; the network's own documentation tells their strides.
    ///
    /// # Errors
    /// If the image has another number of channels, or is too small for the network.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>>;

    /// `[B, C, H, W]` → `[B, D]`, what the last layer sees.
    ///
    /// # Errors
    /// As for [`Classifier::features`].
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor>;

    /// `[B, C, H, W]` → the logits `[B, classes]` of every head that learns, the main one first, and what their losses weigh.
    /// In evaluation those of [`Layer::call`] alone.
    ///
    /// # Errors
    /// As for [`Classifier::features`].
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        Ok(vec![Weighted::main(self.call(x, ctx)?)])
    }

    /// Puts a new last layer for `num_classes` classes in place of the old one, which leaves `store`; on every head.
    ///
    /// The network must have been built at the root of `store`. The new layer starts as that of a network built
    /// for so many classes.
    ///
    /// # Errors
    /// If the device has no memory for it.
    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()>;
}

impl Layer for Box<dyn Classifier> {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        (**self).call(x, ctx)
    }

    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn multiply_adds(&self, x: &Tensor, y: &Tensor) -> u64 {
        (**self).multiply_adds(x, y)
    }
}

impl Classifier for Box<dyn Classifier> {
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        (**self).features(x, ctx)
    }

    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        (**self).embed(x, ctx)
    }

    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        (**self).all_logits(x, ctx)
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        (**self).reset_head(num_classes, store)
    }
}

/// Refuses images that leave nothing after all strides.
pub(crate) fn at_least(who: &str, [height, width]: [usize; 2], x: &Tensor) -> Result<()> {
    let (_, _, h, w) = x.dims4()?;
    ensure!(h >= height && w >= width, "{who}: images must be at least {height}×{width}, got {h}×{w}");
    Ok(())
}

/// Refuses images of another size, for networks whose dense layers see every pixel.
pub(crate) fn exactly(who: &str, [height, width]: [usize; 2], x: &Tensor) -> Result<()> {
    let (_, _, h, w) = x.dims4()?;
    ensure!([h, w] == [height, width], "{who}: images must be {height}×{width}, got {h}×{w}");
    Ok(())
}

/// A linear layer for `num_classes` classes in place of `head`, whose parameters are found under `name`.
pub(crate) fn renew(
    head: &mut Linear,
    name: &str,
    num_classes: usize,
    cfg: impl Into<LinearConfig>,
    store: &ParamStore,
) -> Result<()> {
    let old = head.weight();
    let (width, vb) = (old.dim(1)?, store.vb(old.dtype(), old.device()));
    store.forget(name);
    *head = Linear::new(width, num_classes, cfg, vb.pp(name))?;
    Ok(())
}
