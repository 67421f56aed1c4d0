//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod activation;
mod adaptive_avg_pool2d;
mod avg_pool2d;
mod bce_with_logits;
mod conv2d;
mod cross_entropy;
mod dropout;
mod embedding;
mod gather;
mod indexing;
mod kernel;
mod linear;
mod log_sum_exp;
mod loss;
mod max_pool2d;
mod mse;
#[cfg(test)]
mod oracle;
mod padding;
mod pointwise;
mod pooling;
mod precision;
mod prelu;
mod recurrent;
mod reduction;
mod saved;
mod softmax;
pub(crate) mod window;

pub use activation::{
    Activation, elu, gelu, gelu_tanh, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, log_sigmoid, mish,
    relu, relu6, selu, sigmoid, silu, softplus, softsign, tanh,
};
pub use adaptive_avg_pool2d::{AdaptiveAvgPool2d, adaptive_avg_pool2d};
pub use avg_pool2d::{AvgPool2d, Divisor, avg_pool2d};
pub use bce_with_logits::bce_with_logits;
pub use conv2d::{Convolution, conv2d};
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use embedding::embedding;
pub use gather::{gather, one_hot, scatter_add};
pub use kernel::update_in_place;
pub use linear::linear;
pub use log_sum_exp::log_sum_exp;
pub use max_pool2d::{MaxPool2d, max_pool2d};
pub use mse::mse;
pub use padding::Padding;
pub use prelu::prelu;
pub use recurrent::{Direction, LstmState, Nonlinearity, RecurrentOptions, RecurrentWeights, gru, lstm, rnn};
pub use reduction::Reduction;
pub use softmax::{log_softmax, softmax};
pub use window::Rounding;
