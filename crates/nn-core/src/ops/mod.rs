//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod conv2d;
mod kernel;
mod linear;
mod padding;
pub(crate) mod window;

pub use conv2d::{Convolution, conv2d};
pub use kernel::update_in_place;
pub use linear::linear;
pub use padding::Padding;
pub use window::Rounding;
