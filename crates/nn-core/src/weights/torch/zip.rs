//! PyTorch's format since 1.6: a zip archive of one pickle and a file for each storage, nothing compressed.

use std::collections::BTreeMap;

use zip::{CompressionMethod, ZipArchive};

use super::super::file::{Format, Source, Storage, Table};
use super::super::flaw::{Flaw, Read, flaw};
use super::super::pickle::{self, Input};

impl From<zip::result::ZipError> for Flaw {
    fn from(e: zip::result::ZipError) -> Self {
        flaw(format!("not a whole zip archive ({e})"))
    }
}

/// No archive of weights has more files: one a tensor, and a dozen more.
const MOST_FILES: usize = 1 << 20;

pub(crate) fn table(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    let files = files(source, length)?;
    let mut pickles = files.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let folder = match (pickles.next(), pickles.next()) {
        (Some(folder), None) if folder.is_empty() || folder.find('/') == Some(folder.len() - 1) => folder,
        _ => return Err(flaw("it is a zip archive, but no file of PyTorch: it has not one data.pkl")),
    };
    if files.contains_key(&format!("{folder}constants.pkl")) {
        return Err(flaw(
            "it is a TorchScript program; in Python: torch.save(torch.jit.load(path).state_dict(), path)",
        ));
    }
    if let Some(order) = files.get(&format!("{folder}byteorder")) {
        let order = contents(source, *order)?;
        if order != b"little" {
            return Err(flaw(format!(
                "its byte order is {}",
                String::from_utf8_lossy(&order).escape_debug()
            )));
        }
    }
    let object = contents(source, files[&format!("{folder}data.pkl")])?;
    let (heap, root) =
        pickle::read(&mut Input::new(&object[..], object.len() as u64)).map_err(|e| e.at("data.pkl"))?;
    let mut places = BTreeMap::new();
    for (key, size) in super::storages(&heap)? {
        let place = files.get(&format!("{folder}data/{key}"));
        let place = *place.ok_or_else(|| flaw(format!("there is no storage {key}")))?;
        if place.length != size.bytes {
            return Err(flaw(format!(
                "storage {key} has {} bytes, its tensors need {}",
                place.length, size.bytes
            )));
        }
        places.insert(key, place);
    }
    super::table(Format::TorchZip, &heap, root, &places)
}

/// Where the files of the archive lie, by name.
fn files(source: &mut Box<dyn Source>, length: u64) -> Read<BTreeMap<String, Storage>> {
    let mut archive = ZipArchive::new(source)?;
    if archive.len() > MOST_FILES {
        return Err(flaw(format!("the archive has {} files", archive.len())));
    }
    if archive.has_duplicate_names() {
        return Err(flaw("two files of the archive have the same name"));
    }
    let mut files = BTreeMap::new();
    for n in 0..archive.len() {
        let file = archive.by_index_raw(n)?;
        let name = file.name()?.into_owned();
        let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
        if leaves || file.enclosed_name().is_none() {
            return Err(flaw(format!("{} is no name for a file in an archive", name.escape_debug())));
        }
        if file.encrypted()
            || file.compression() != CompressionMethod::Stored
            || file.size() != file.compressed_size()
        {
            return Err(flaw(format!("{} is packed, which PyTorch never does", name.escape_debug())));
        }
        let start = file.data_start().ok_or_else(|| flaw("a file of the archive starts nowhere"))?;
        let place = Storage { start, length: file.size(), crc32: Some(file.crc32()) };
        if start.checked_add(place.length).is_none_or(|end| end > length) {
            return Err(flaw(format!("{} ends beyond the archive", name.escape_debug())));
        }
        files.insert(name, place);
    }
    Ok(files)
}

fn contents(source: &mut Box<dyn Source>, place: Storage) -> Read<Vec<u8>> {
    super::super::file::read_storage(source, place)
}
