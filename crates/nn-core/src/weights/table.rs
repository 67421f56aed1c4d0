//! What is in a file: the format is told from its first bytes, its table of contents is read and held against the file.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use super::file::About;
use super::flaw::{Read, flaw};
use super::storage::{Opened, Storage};
use super::strided::Strided;
use super::{archive, hdf5, keras, numpy, onnx, safetensors, shards, torch};

/// What a format says: where which numbers lie.
pub(super) struct Table {
    pub(super) about: About,
    pub(super) tensors: BTreeMap<String, Strided>,
    pub(super) storages: Vec<Storage>,
    /// Tensors that are several of these, end to end along the first axis; those go.
    pub(super) joined: Vec<(String, Vec<String>)>,
    /// Files beside the one that was opened: storages call them 1, 2, ….
    pub(super) beside: Vec<Opened>,
}

impl Table {
    /// Of a file that holds everything itself.
    pub(super) const fn new(
        about: About,
        tensors: BTreeMap<String, Strided>,
        storages: Vec<Storage>,
    ) -> Self {
        Self { about, tensors, storages, joined: Vec::new(), beside: Vec::new() }
    }
}

/// What the first bytes of files look like that people take for weights.
const OTHERS: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself: run git lfs pull"),
    (b"<", "it is a web page, not a file of weights: the download went wrong"),
    (b"GGUF", "it is a GGUF file; those are not read"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
];

/// What is in a file of any format, sound as far as its table of contents goes; what it goes on in lies in `folder`.
pub(super) fn table(file: &mut Opened, folder: Option<&Path>) -> Read<Table> {
    let table = contents(file, folder, Nesting::Outer)?;
    let beside = table.beside.iter().map(|file| file.length);
    let lengths: Vec<u64> = std::iter::once(file.length).chain(beside).collect();
    table.check(&lengths)?;
    Ok(if table.joined.is_empty() { without_prefix(table) } else { table })
}

/// Whether a file may name others that the weights are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nesting {
    Outer,
    Inner,
}

fn contents(file: &mut Opened, folder: Option<&Path>, nesting: Nesting) -> Read<Table> {
    let Opened { source, length } = file;
    let length = *length;
    let mut start = Vec::new();
    source.take(512).read_to_end(&mut start)?;
    source.rewind()?;
    let safe = is_safetensors(&start, length);
    if let Some((_, why)) = OTHERS.iter().find(|(magic, _)| !safe && start.starts_with(magic)) {
        return Err(flaw(*why));
    }
    match &start[..] {
        [] => Err(flaw("the file is empty")),
        _ if safe => safetensors::table(source, length),
        [b'P', b'K', 3, 4, ..] => {
            let files = archive::files(source, length)?;
            match () {
                () if numpy::is_npz(&files) => numpy::npz(source, files),
                () if keras::is_archive(&files) => keras::archive(source, &files),
                () => torch::zip(source, &files),
            }
        }
        [0x80, 0..=5, ..] => torch::plain(source, length),
        [b'{', ..] if nesting == Nesting::Outer => {
            let shard = |file: &mut Opened| contents(file, None, Nesting::Inner);
            shards::table(source, length, folder, &shard)
        }
        _ if start.starts_with(hdf5::MAGIC) => keras::file(source, length),
        _ if start.starts_with(numpy::MAGIC) => numpy::npy(source, length),
        _ if start.get(257..262) == Some(b"ustar") => torch::tar(source, length),
        _ if onnx::is_onnx(&start) => onnx::table(source, length, folder),
        _ => safetensors::table(source, length),
    }
}

/// Whether the file begins with the length of a JSON object, and with that object. This is asked first: the bytes of a length
/// may be those that another format begins with.
fn is_safetensors(start: &[u8], length: u64) -> bool {
    let Some((header, rest)) = start.split_first_chunk() else { return false };
    let end = u64::from_le_bytes(*header).checked_add(8);
    rest.first() == Some(&b'{') && end.is_some_and(|end| end <= length)
}

/// How much larger than its file a model may become through tensors that share their storage.
const MOST_GROWTH: usize = 8;

impl Table {
    /// Every number a tensor names must be in its storage, and every storage in its file, of which these are the lengths.
    pub(super) fn check(&self, lengths: &[u64]) -> Read<()> {
        for storage in &self.storages {
            let end = storage.start.checked_add(storage.length);
            let inside = end.zip(lengths.get(storage.file)).is_some_and(|(end, &length)| end <= length);
            if !inside {
                return Err(flaw("the file ends before the numbers of its tensors do"));
            }
        }
        let mut total = 0usize;
        for (name, strided) in &self.tensors {
            let storage =
                self.storages.get(strided.storage).ok_or_else(|| flaw("a tensor has no numbers"))?;
            let bytes = storage.size().and_then(|size| strided.checked_bytes(size)).ok_or_else(|| {
                flaw(format!("its shape {:?} needs more numbers than there are", strided.shape)).at(name)
            })?;
            total = total.saturating_add(bytes);
        }
        let length = lengths.iter().fold(0u64, |sum, &length| sum.saturating_add(length));
        let most =
            usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1 << 17).saturating_mul(MOST_GROWTH);
        if total > most {
            return Err(flaw(format!(
                "{length} bytes would become tensors of {total} bytes: more than {MOST_GROWTH} times as large is refused, as \
                 a guard against files made to fill the memory; save it without compression, or what is shared once"
            )));
        }
        Ok(())
    }
}

/// What wrappers of a model put before all its names: data-parallel training, compilation.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

/// A model is wrapped two or three times.
const MOST_PREFIX: usize = 64;

/// Takes what wrappers put before the names off again.
fn without_prefix(mut table: Table) -> Table {
    let common = |tensors: &BTreeMap<String, Strided>| {
        let first = tensors.keys().next()?;
        let wrapper = WRAPPERS.iter().find(|wrapper| first.starts_with(**wrapper))?;
        tensors.keys().all(|name| name.len() > wrapper.len() && name.starts_with(wrapper)).then_some(*wrapper)
    };
    while let Some(wrapper) = common(&table.tensors).filter(|_| table.about.prefix.len() < MOST_PREFIX) {
        table.about.prefix += wrapper;
        let tensors = std::mem::take(&mut table.tensors);
        table.tensors = tensors.into_iter().map(|(name, t)| (name[wrapper.len()..].to_owned(), t)).collect();
    }
    table
}
