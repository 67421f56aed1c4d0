//! The ground the networks stand on: ops with correct gradients and fast CPU kernels, the layer contract,
//! seeded randomness, the parameter store and weight files, all on plain Candle tensors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ops`] | differentiable functions of tensors, one file each |
//! | [`layer`] | [`Layer`], the contract every layer and model keeps, and adapters to Candle's `Module` |
//! | [`backward()`] | gradients of a whole graph, with fewer passes over memory than Candle's way |
//! | [`Activations`], [`no_grad`] | how small a forward pass keeps them for the backward pass, or that there is none |
//! | [`graph`] | what a tensor was made from, in words |
//! | [`ctx`] | [`Ctx`]: mode, random numbers and observer of one forward pass |
//! | [`Peers`] | other processes that train on parts of the same batch |
//! | [`random`] | counter-based random numbers: a draw depends on seed, place and index only |
//! | [`store`] | [`ParamStore`]: trainable parameters and buffers by name, behind a `VarBuilder` |
//! | [`weights`] | weight files: read, compare, write |
//! | [`atomic_file`] | files that appear whole or not at all |
//! | `testing` | gradient checks by finite differences (feature `testing`) |

pub use candle_core;
pub use candle_nn;

mod activations;
pub mod atomic_file;
mod backward;
mod cpu;
pub mod ctx;
mod error;
pub mod graph;
pub mod layer;
pub mod ops;
mod peers;
pub mod random;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod weights;

pub use activations::{Activations, no_grad};
pub use backward::backward;
pub use candle_core::Result;
pub use cpu::simd::vectorised;
pub use ctx::{Ctx, Mode};
pub use layer::{Layer, Through};
pub use peers::Peers;
pub use random::Random;
pub use store::{Freeze, ParamStore};
