//! NumPy's files: one array, or a zip archive of arrays.
//!
//! Source: NumPy 2, `numpy/lib/_format_impl.py` (format versions 1.0 to 3.0).
//! Differs: arrays of objects, which are pickles, are refused, and so are text, times, records and complex numbers.

mod header;
mod npz;

use std::collections::BTreeMap;

use super::file::{About, Format};
use super::flaw::Read;
use super::storage::{Source, Storage};
use super::table::Table;
pub(super) use npz::{is_npz, table as npz};

/// How a file of one array begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// What an array is called that has no name; the same as a bare tensor of PyTorch.
const NAME: &str = "tensor";

/// A file of one array, whose length is `length`.
pub(super) fn npy(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    let (tensor, storage) = header::read(source)?.place(0, Storage::plain(0, length))?;
    let tensors = BTreeMap::from([(NAME.to_owned(), tensor)]);
    Ok(Table::new(About::new(Format::Npy), tensors, vec![storage]))
}

#[cfg(test)]
mod tests;
