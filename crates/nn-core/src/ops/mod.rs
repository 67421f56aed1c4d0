//! Differentiable functions of tensors. Each has a correct gradient, a portable form that runs wherever Candle
//! does, and a CPU kernel where that is faster.

mod activation;
mod adaptive_avg_pool2d;
mod avg_pool2d;
mod bce;
mod bce_with_logits;
mod conv2d;
mod cosine_embedding_loss;
mod cosine_similarity;
mod cross_entropy;
mod ctc_loss;
mod dropout;
mod embedding;
mod gather;
mod indexing;
mod huber;
mod kernel;
mod kl_div;
mod l1;
mod labels;
mod linear;
mod log_sum_exp;
mod loss;
mod max_pool2d;
mod mse;
mod nll_loss;
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
mod smooth_l1;
mod softmax;
mod triplet_margin_loss;
pub(crate) mod window;

pub use activation::{
    Activation, elu, gelu, gelu_tanh, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, log_sigmoid, mish,
    relu, relu6, selu, sigmoid, silu, softplus, softsign, tanh,
};
pub use adaptive_avg_pool2d::{AdaptiveAvgPool2d, adaptive_avg_pool2d};
pub use avg_pool2d::{AvgPool2d, Divisor, avg_pool2d};
pub use bce::bce;
pub use bce_with_logits::{BceWithLogits, bce_with_logits};
pub use conv2d::{Convolution, conv2d};
pub use cosine_embedding_loss::{CosineEmbeddingLoss, cosine_embedding_loss};
pub use cosine_similarity::cosine_similarity;
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use ctc_loss::{CtcLoss, ctc_loss};
pub use dropout::dropout;
pub use embedding::embedding;
pub use gather::{gather, one_hot, scatter_add};
pub use huber::{Huber, huber};
pub use kernel::update_in_place;
pub use kl_div::{KlDiv, KlTarget, kl_div};
pub use l1::l1;
pub use linear::linear;
pub use log_sum_exp::log_sum_exp;
pub use max_pool2d::{MaxPool2d, max_pool2d};
pub use mse::mse;
pub use nll_loss::{NllLoss, nll_loss};
pub use padding::Padding;
pub use prelu::prelu;
pub use recurrent::{Direction, LstmState, Nonlinearity, RecurrentOptions, RecurrentWeights, gru, lstm, rnn};
pub use reduction::Reduction;
pub use smooth_l1::{SmoothL1, smooth_l1};
pub use softmax::{log_softmax, softmax};
pub use triplet_margin_loss::{TripletMarginLoss, triplet_margin_loss};
pub use window::Rounding;
