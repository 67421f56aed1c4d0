//! Data sets and how they become batches.

mod dataset;

pub use dataset::{Batch, Dataset};
