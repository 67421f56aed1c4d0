//! Data sets and how they become batches.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Dataset`] | what a data set has to offer: its length, and a batch by indices |
//! | [`TensorSet`] | rows of two tensors |
//! | [`ImageSet`] | labelled images in memory, normalised when they are batched |
//! | [`idx`], [`mnist`] | the IDX format, and the data sets that come as four files of it |
//! | [`cifar`] | CIFAR-10 and CIFAR-100 in their binary form |
//! | [`digits`](mod@digits) | handwritten digits drawn by a program: nothing to download |
//! | [`Source`] | pictures one at a time, with a class or a mask: [`ImageSet`], [`ImageFolder`], [`MaskedImages`], a [`Subset`] |
//! | [`Prepared`] | a source whose examples are augmented, normalised and batched when they are asked for |
//! | [`Encoding`] | text files, in UTF-8 or another encoding |
//! | [`CsvTable`] | columns with types |
//! | [`Windows`] | stretches of a time series and what came after them, scaled |
//! | [`read_conll`], [`read_parallel`] | sentences with a tag for each token; lines in two languages |
//! | [`LabelledSequences`] | sequences of tokens with a class each, in batches of like length, padded |
//! | [`TokenStream`] | one long text in windows, each with what comes next |
//! | [`Portion`] | some of the examples of any of these: what is held out for validation |
//! | [`Shard`] | the part of every batch that one of several processes has |
//! | [`Loader`] | shuffles or draws by weight ([`balanced`]), batches, and stays ahead of the training on threads of its own |

pub mod cifar;
mod conll;
mod csv;
mod dataset;
pub mod digits;
mod folder;
mod gzip;
pub mod idx;
mod image;
mod images;
mod list;
mod loader;
pub mod mnist;
mod normalise;
mod pairs;
mod parallel;
mod portion;
mod prepared;
mod queue;
mod sampling;
mod sequences;
mod series;
mod shard;
mod source;
mod stream;
mod tensors;
mod text;

pub use conll::{TaggedSentence, read_conll};
pub use csv::CsvTable;
pub use dataset::{Batch, Dataset};
pub use digits::digits;
pub use folder::{Decode, ImageFolder};
pub use image::{Image, Resample};
pub use images::{ImageSet, Images, Part};
pub use list::ListColumns;
pub use loader::{Epoch, Loader, LoaderConfig, Order};
pub use normalise::{IMAGENET, Normalise};
pub use pairs::{Decoders, MaskedImages};
pub use parallel::read_parallel;
pub use portion::Portion;
pub use prepared::Prepared;
pub use sampling::balanced;
pub use sequences::{LabelledBatch, LabelledSequences, Padded, by_length};
pub use series::{Scale, WindowBatch, WindowConfig, Windows, chronological};
pub use shard::Shard;
pub use source::{Example, Source, Subset, Target, split, split_by_class};
pub use stream::{Begin, TokenStream};
pub use tensors::TensorSet;
pub use text::Encoding;
