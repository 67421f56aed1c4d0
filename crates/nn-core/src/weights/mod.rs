//! Weight files: reading, comparing with a model, writing.

mod report;
pub mod safetensors;

pub use report::{LoadReport, Mismatch};
