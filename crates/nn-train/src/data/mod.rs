//! Data sets and how they become batches.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Dataset`] | what a data set has to offer: its length, and a batch by indices |
//! | [`ImageSet`] | labelled images in memory, normalised when they are batched |
//! | [`idx`], [`mnist`] | the IDX format, and the data sets that come as four files of it |
//! | [`digits`](mod@digits) | handwritten digits drawn by a program: nothing to download |
//! | [`Loader`] | shuffles, batches, and stays ahead of the training on a thread of its own |

mod dataset;
pub mod digits;
pub mod idx;
mod images;
mod loader;
pub mod mnist;

pub use dataset::{Batch, Dataset};
pub use digits::digits;
pub use images::{ImageSet, Images, Normalise, Part};
pub use loader::{Epoch, Loader, LoaderConfig, Order};
