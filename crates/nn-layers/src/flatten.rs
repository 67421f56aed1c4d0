//! From feature maps to vectors.

use candle_core::{Module, Result, Tensor};
use nn_core::ops::flatten;

/// `[B, …]` → `[B, N]`: all axes but the first become one, in row-major order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        flatten(x, 1)
    }
}
