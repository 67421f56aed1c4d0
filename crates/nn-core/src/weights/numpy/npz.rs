//! NumPy's archives of arrays, as `numpy.savez` and `numpy.savez_compressed` write them.
//!
//! Source: NumPy 2, `numpy/lib/_npyio_impl.py` (`_savez`).

use std::collections::BTreeMap;

use super::super::file::{About, Format};
use super::super::flaw::Read;
use super::super::storage::{Source, Storage};
use super::super::table::Table;
use super::header;

/// Whether an archive of these files is one of arrays.
pub(crate) fn is_npz(files: &BTreeMap<String, Storage>) -> bool {
    !files.is_empty() && files.keys().all(|name| name.ends_with(".npy"))
}

/// The arrays, called as their files without `.npy`.
pub(crate) fn table(source: &mut Box<dyn Source>, files: BTreeMap<String, Storage>) -> Read<Table> {
    let (mut tensors, mut storages) = (BTreeMap::new(), Vec::with_capacity(files.len()));
    for (file, place) in files {
        let name = file.strip_suffix(".npy").unwrap_or(&file);
        let header = place.unpack(source).and_then(|mut bytes| header::read(&mut bytes));
        let array = header.and_then(|header| header.place(storages.len(), place));
        let (tensor, storage) = array.map_err(|e| e.at(name.escape_debug()))?;
        tensors.insert(name.to_owned(), tensor);
        storages.push(storage);
    }
    Ok(Table::new(About::new(Format::Npz), tensors, storages))
}
