//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod adaptive_avg_pool2d;
mod avg_pool2d;
mod kernel;
mod max_pool2d;
mod pooling;
pub(crate) mod window;

pub use adaptive_avg_pool2d::{AdaptiveAvgPool2d, adaptive_avg_pool2d};
pub use avg_pool2d::{AvgPool2d, Divisor, avg_pool2d};
pub use kernel::update_in_place;
pub use max_pool2d::{MaxPool2d, max_pool2d};
pub use window::Rounding;
