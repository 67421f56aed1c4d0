//! Dropout as a layer.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, Layer, ensure, ops};

/// In training each number is zeroed with probability `p` and the others are scaled by `1/(1 − p)`; in evaluation
/// nothing happens. See [`ops::dropout`].
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Units: `p` is a probability in [0, 1].
    ///
    /// # Errors
    /// If `p` is outside [0, 1].
    pub fn new(p: f64) -> Result<Self> {
        ensure!((0.0..=1.0).contains(&p), "Dropout: p must be in [0, 1], got {p}");
        Ok(Self { p })
    }
}

impl Layer for Dropout {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        ops::dropout(x, self.p, ctx)
    }
}
