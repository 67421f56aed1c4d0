//! Networks as ONNX models, which other programs run: ONNX Runtime, OpenVINO, TensorRT.
//!
//! A model is code, so what it does is found out by letting it do it: its ops write down what they made of what
//! ([`nn_core::graph`]), and that is translated. A new model is exported like any other; one that does something no word
//! is known for is refused by the name of the op, and so is one that leaves the ops of `nn-core`.
//!
//! It is run twice, on other numbers and another batch. What is the same both times is part of the model; a size that
//! went with the batch is left open; and what depends on the numbers of the input without the graph saying so is refused.

mod attention;
mod convolution;
mod elementwise;
mod export;
mod graph;
mod pooling;
mod proto;
mod recurrent;
mod shape;
mod trace;

pub use export::{Export, Input, export};
