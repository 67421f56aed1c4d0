//! Zip archives: which files are in them, and where.

use std::collections::BTreeMap;
use std::io::{Read as _, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use super::flaw::{Flaw, Read, flaw};
use super::storage::{Source, Storage};

impl From<zip::result::ZipError> for Flaw {
    fn from(e: zip::result::ZipError) -> Self {
        flaw(format!("not a whole zip archive ({e})"))
    }
}

/// No archive of weights has more files: one a tensor, and a dozen more.
const MOST_FILES: usize = 1 << 20;

/// Where the files of an archive of `length` bytes lie, by name.
pub(super) fn files(source: &mut Box<dyn Source>, length: u64) -> Read<BTreeMap<String, Storage>> {
    let mut archive = ZipArchive::new(&mut *source)?;
    if archive.len() > MOST_FILES {
        return Err(flaw(format!("the archive has {} files", archive.len())));
    }
    if archive.has_duplicate_names() {
        return Err(flaw("two files of the archive have the same name"));
    }
    let (mut files, mut heads) = (BTreeMap::new(), Vec::with_capacity(archive.len()));
    for n in 0..archive.len() {
        let file = archive.by_index_raw(n)?;
        let name = file.name()?.into_owned();
        let shown = name.escape_debug();
        let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
        if leaves || file.enclosed_name().is_none() {
            return Err(flaw(format!("{shown} is no name for a file in an archive")));
        }
        if file.encrypted() {
            return Err(flaw(format!("{shown} is encrypted")));
        }
        let inflated = match file.compression() {
            CompressionMethod::Stored if file.size() == file.compressed_size() => None,
            CompressionMethod::DEFLATE => Some(file.size()),
            _ => return Err(flaw(format!("{shown} is packed in a way that is not read"))),
        };
        let start = file.data_start().ok_or_else(|| flaw("a file of the archive starts nowhere"))?;
        let (packed, crc32) = (file.compressed_size(), Some(file.crc32()));
        if start.checked_add(packed).is_none_or(|end| end > length) {
            return Err(flaw(format!("{shown} ends beyond the archive")));
        }
        heads.push((file.header_start(), file.name_raw().to_vec()));
        // Names of other bytes may stand for the same letters.
        let storage = Storage { crc32, inflated, ..Storage::plain(start, packed) };
        if files.insert(name, storage).is_some() {
            return Err(flaw("two files of the archive have the same name"));
        }
    }
    // What `torch.serialization.set_crc32_options(False)` writes in place of checksums.
    if files.values().all(|file| file.crc32 == Some(0)) {
        files.values_mut().for_each(|file| file.crc32 = None);
    }
    heads.into_iter().try_for_each(|(start, name)| check_name(source, start, &name))?;
    Ok(files)
}

/// Where the name stands in what comes before a file.
const NAME: u64 = 30;

/// What comes before a file must have the name that the table of contents has, which no checksum covers.
fn check_name(source: &mut Box<dyn Source>, start: u64, name: &[u8]) -> Read<()> {
    source.seek(SeekFrom::Start(start.saturating_add(NAME)))?;
    let mut there = Vec::with_capacity(name.len());
    source.take(name.len() as u64).read_to_end(&mut there)?;
    match there == name {
        true => Ok(()),
        false => Err(flaw(format!("{} has two names", String::from_utf8_lossy(name).escape_debug()))),
    }
}
