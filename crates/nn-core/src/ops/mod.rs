//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod activation;
mod adaptive_avg_pool2d;
mod attention;
mod avg_pool2d;
mod bce_with_logits;
mod conv2d;
mod cross_entropy;
mod dropout;
mod kernel;
mod linear;
mod loss;
mod max_pool2d;
mod mse;
#[cfg(test)]
mod oracle;
mod padding;
mod pointwise;
mod pooling;
mod precision;
mod reduction;
mod saved;
mod softmax;
pub(crate) mod window;

pub use activation::{Activation, leaky_relu, relu, relu6, sigmoid, tanh};
pub use adaptive_avg_pool2d::{AdaptiveAvgPool2d, adaptive_avg_pool2d};
pub use attention::{Attention, scaled_dot_product_attention};
pub use avg_pool2d::{AvgPool2d, Divisor, avg_pool2d};
pub use bce_with_logits::bce_with_logits;
pub use conv2d::{Convolution, conv2d};
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use kernel::update_in_place;
pub use linear::linear;
pub use max_pool2d::{MaxPool2d, max_pool2d};
pub use mse::mse;
pub use padding::Padding;
pub use reduction::Reduction;
pub use softmax::{log_softmax, softmax};
pub use window::Rounding;
