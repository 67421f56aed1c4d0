//! Data sets and how they become batches.

mod dataset;
mod loader;

pub use dataset::{Batch, Dataset};
pub use loader::{Loader, LoaderConfig, Order};
