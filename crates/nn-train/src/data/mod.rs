//! Data sets and how they become batches.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Dataset`] | what a data set has to offer: its length, and a batch by indices |
//! | [`ImageSet`] | labelled images in memory, normalised when they are batched |
//! | [`idx`], [`mnist`] | the IDX format, and the data sets that come as four files of it |
//! | [`cifar`] | CIFAR-10 and CIFAR-100 in their binary form |
//! | [`digits`](mod@digits) | handwritten digits drawn by a program: nothing to download |
//! | [`Source`] | pictures one at a time, with a class or a mask: [`ImageSet`], [`ImageFolder`], [`MaskedImages`], a [`Subset`] |
//! | [`Prepared`] | a source whose examples are augmented, normalised and batched when they are asked for |
//! | [`Loader`] | shuffles, batches, and stays ahead of the training on threads of its own |

pub mod cifar;
mod dataset;
pub mod digits;
mod folder;
pub mod idx;
mod image;
mod images;
mod loader;
pub mod mnist;
mod normalise;
mod pairs;
mod prepared;
mod source;

pub use dataset::{Batch, Dataset};
pub use digits::digits;
pub use folder::{Decode, ImageFolder};
pub use image::{Image, Resample};
pub use images::{ImageSet, Images, Part};
pub use loader::{Epoch, Loader, LoaderConfig, Order};
pub use normalise::{IMAGENET, Normalise};
pub use pairs::{Decoders, MaskedImages};
pub use prepared::Prepared;
pub use source::{Example, Source, Subset, Target, split, split_by_class};
