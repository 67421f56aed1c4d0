//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod kernel;
mod window;

pub use kernel::update_in_place;
pub use window::Rounding;
