//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod activation;
mod bce_with_logits;
mod cross_entropy;
mod dropout;
mod kernel;
mod loss;
mod mse;
#[cfg(test)]
mod oracle;
mod pointwise;
mod reduction;
mod softmax;

pub use activation::{Activation, leaky_relu, relu, relu6, sigmoid, tanh};
pub use bce_with_logits::bce_with_logits;
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use kernel::update_in_place;
pub use mse::mse;
pub use reduction::Reduction;
pub use softmax::{log_softmax, softmax};
