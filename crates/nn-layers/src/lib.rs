//! Layers with the parameter names, defaults and numbers of PyTorch.
//!
//! Every layer is made by `new(sizes…, config, vb)`; sizes have no sensible default, options do. Pooling and
//! activations have no parameters: their options are the layer.

mod attention;
mod batch_norm;
mod conv2d;
mod conv_norm;
mod conv_transpose2d;
mod dropout;
mod embedding;
mod flatten;
mod init;
mod layer_norm;
mod linear;
mod mlp;
mod sequential;

pub use attention::{KeyValues, Masks, MultiHeadAttention, MultiHeadAttentionConfig};
pub use batch_norm::BatchNorm2d;
pub use conv_norm::{ConvNorm, ConvNormConfig};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dConfig, Start};
pub use conv2d::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use init::{Bias, HE_FAN_IN, HE_FAN_OUT, normal, xavier_uniform};
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearConfig};
pub use mlp::{Mlp, MlpConfig, Neuron};
pub use nn_core::ops::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, BatchNorm, Divisor, LocalResponseNorm, MaxPool2d, Padding,
    Rounding,
};
pub use sequential::Sequential;
