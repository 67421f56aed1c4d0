//! A weight file of any format: its table of contents, and its tensors one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Error, Result, Tensor};

use super::flaw::{Read, flaw};
use super::{Element, NameMap, safetensors, torch};

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Hugging Face's safetensors.
    Safetensors,
    /// PyTorch since 1.6: a zip archive.
    TorchZip,
    /// PyTorch before: pickles one after the other.
    TorchPickle,
    /// PyTorch before 0.2: a tar archive.
    TorchTar,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch (zip)",
            Self::TorchPickle => "PyTorch (pickle, before 1.6)",
            Self::TorchTar => "PyTorch (tar, before 0.2)",
        })
    }
}

/// What is known of a file beside its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What kind of file it is.
    pub format: Format,
    /// The keys that lead to the tensors, such as `state_dict`; empty where they lie on top.
    pub nesting: Vec<String>,
    /// What all names began with and now do not, such as `module.`; mostly empty.
    pub prefix: String,
    /// The library whose names the tensors had before [`WeightFile::rename`].
    pub scheme: Option<&'static str>,
    /// Numbers and texts that lie in the file, by name.
    pub metadata: BTreeMap<String, String>,
    /// Names of what was left where it is: other parts of a checkpoint, such as `optimizer`.
    pub ignored: Vec<String>,
}

/// One tensor of a file, not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// Its numbers.
    pub element: Element,
}

/// A weight file whose table of contents was read and found to be sound. Tensors are read when they are asked for.
#[derive(Debug)]
pub struct WeightFile {
    name: String,
    about: About,
    entries: BTreeMap<String, Entry>,
    storages: Vec<Storage>,
    reader: Mutex<Reader>,
}

/// A tensor: one of the file's, or several end to end along the first axis.
#[derive(Clone, Debug)]
struct Entry {
    shape: Vec<usize>,
    element: Element,
    parts: Vec<Strided>,
}

/// What a format says: where which numbers lie.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) about: About,
    pub(super) tensors: BTreeMap<String, Strided>,
    pub(super) storages: Vec<Storage>,
}

/// A run of bytes in the file that tensors look into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) crc32: Option<u32>,
}

/// A tensor's way through a storage; offset and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strided {
    pub(super) storage: usize,
    pub(super) element: Element,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Anything that files can be read from.
pub(super) trait Source: std::io::Read + Seek + Send {}
impl<T: std::io::Read + Seek + Send> Source for T {}

struct Reader {
    source: Box<dyn Source>,
    /// The storage read last, where others will look into it too.
    last: Option<(usize, Arc<Vec<u8>>)>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl WeightFile {
    /// Opens a file of any format, which its first bytes tell.
    ///
    /// # Errors
    /// If the file cannot be read, is of no known format, is cut off or contradicts itself, or is a pickle of
    /// anything but tensors in plain containers.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let name = path.as_ref().display().to_string();
        let file = File::open(path.as_ref()).map_err(|e| error(&name, &e))?;
        Self::with_table(name, BufReader::new(file), table)
    }

    /// The same from any source; errors call it `name`.
    ///
    /// # Errors
    /// As for [`WeightFile::open`].
    pub fn new(name: impl Into<String>, source: impl std::io::Read + Seek + Send + 'static) -> Result<Self> {
        Self::with_table(name.into(), source, table)
    }

    pub(super) fn with_table(
        name: String,
        source: impl Source + 'static,
        table: impl Fn(&mut Box<dyn Source>) -> Read<Table>,
    ) -> Result<Self> {
        let mut source: Box<dyn Source> = Box::new(source);
        let table = table(&mut source).map_err(|e| error(&name, &e))?;
        let Table { about, tensors, storages } = table;
        let entries = tensors.into_iter().map(|(name, tensor)| (name, Entry::from(tensor))).collect();
        Ok(Self { name, about, entries, storages, reader: Mutex::new(Reader { source, last: None }) })
    }

    /// What the file is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known beside the tensors.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The tensors by name, none read.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, TensorInfo<'_>)> {
        self.entries.iter().map(|(name, entry)| {
            let Entry { shape, element, .. } = entry;
            (name.as_str(), TensorInfo { shape, element: *element })
        })
    }

    /// Gives the tensors the names we have for them, if `map` has one for each; tells whether it had. What is several
    /// tensors there and one here is joined.
    pub fn rename(&mut self, map: &NameMap) -> bool {
        let Some(parts) = map.parts(self.entries.keys().map(String::as_str)) else { return false };
        let join = |(ours, theirs): (String, Vec<&str>)| {
            let mut entries = theirs.into_iter().map(|name| self.entries[name].clone());
            let first = entries.next()?;
            Some((ours, entries.try_fold(first, Entry::join)?))
        };
        let Some(entries) = parts.into_iter().map(join).collect::<Option<BTreeMap<_, _>>>() else {
            return false;
        };
        self.entries = entries;
        self.about.scheme = Some(map.scheme());
        true
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// If there is none of that name, or its bytes cannot be read or do not match their checksum.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(entry) = self.entries.get(name) else {
            return Err(error(&self.name, &format_args!("there is no tensor {name}")));
        };
        let parts = entry.parts.iter().map(|part| self.load(part)).collect::<Read<Vec<Tensor>>>();
        let parts = parts.map_err(|e| error(&self.name, &e.at(name)))?;
        match &parts[..] {
            [whole] => Ok(whole.clone()),
            parts => Tensor::cat(parts, 0),
        }
    }

    /// Reads all tensors, by name.
    ///
    /// # Errors
    /// As for [`WeightFile::tensor`].
    pub fn read(&self) -> Result<BTreeMap<String, Tensor>> {
        // In the order of the storages each is read once, however many tensors share it.
        let storage = |entry: &Entry| entry.parts.first().map(|part| part.storage);
        let mut names: Vec<_> = self.entries.iter().map(|(name, entry)| (storage(entry), name)).collect();
        names.sort();
        names.into_iter().map(|(_, name)| Ok((name.clone(), self.tensor(name)?))).collect()
    }

    fn load(&self, strided: &Strided) -> Read<Tensor> {
        // After a panic in another thread the source may stand anywhere, and every read seeks first.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match &reader.last {
            Some((last, bytes)) if *last == strided.storage => Arc::clone(bytes),
            _ => Arc::new(read_storage(&mut reader.source, self.storages[strided.storage])?),
        };
        let whole = strided.element.size() * strided.count();
        reader.last = (whole != bytes.len()).then(|| (strided.storage, Arc::clone(&bytes)));
        drop(reader);
        if whole == bytes.len() && strided.is_contiguous() {
            return Ok(strided.element.tensor(&bytes, &strided.shape)?);
        }
        Ok(strided.element.tensor(&strided.gather(&bytes), &strided.shape)?)
    }
}

impl From<Strided> for Entry {
    fn from(tensor: Strided) -> Self {
        Self { shape: tensor.shape.clone(), element: tensor.element, parts: vec![tensor] }
    }
}

impl Entry {
    /// Both end to end along the first axis; nothing if they do not fit.
    fn join(mut self, next: Self) -> Option<Self> {
        let ([rows, row @ ..], [more, other @ ..]) = (&mut self.shape[..], &next.shape[..]) else {
            return None;
        };
        if row != other || self.element != next.element {
            return None;
        }
        *rows = rows.checked_add(*more)?;
        self.parts.extend(next.parts);
        Some(self)
    }
}

fn error(name: &str, why: &dyn fmt::Display) -> Error {
    Error::Msg(format!("cannot read weights from {name}: {why}"))
}

pub(super) fn read_storage(source: &mut dyn Source, storage: Storage) -> Read<Vec<u8>> {
    source.seek(SeekFrom::Start(storage.start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(storage.length).map_err(|_| flaw("it is too large"))?);
    source.take(storage.length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < storage.length {
        return Err(flaw("the file ends too early"));
    }
    match storage.crc32 {
        Some(crc32) if crc32fast::hash(&bytes) != crc32 => {
            Err(flaw("its checksum does not match: the file is damaged"))
        }
        _ => Ok(bytes),
    }
}

/// What the first bytes of files look like that people take for weights.
const OTHERS: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself: run git lfs pull"),
    (b"<", "it is a web page, not a file of weights: the download went wrong"),
    (b"\x89HDF", "it is an HDF5 file, as Keras writes; those are not read"),
    (b"GGUF", "it is a GGUF file; those are not read"),
    (b"\x93NUMPY", "it is a NumPy array; those are not read"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
];

fn table(source: &mut Box<dyn Source>) -> Read<Table> {
    let length = source.seek(SeekFrom::End(0))?;
    source.rewind()?;
    let mut start = Vec::new();
    source.take(512).read_to_end(&mut start)?;
    source.rewind()?;
    let safe = is_safetensors(&start, length);
    if let Some((_, why)) = OTHERS.iter().find(|(magic, _)| !safe && start.starts_with(magic)) {
        return Err(flaw(*why));
    }
    let table = match &start[..] {
        [] => return Err(flaw("the file is empty")),
        _ if safe => safetensors::table(source, length)?,
        [b'P', b'K', 3, 4, ..] => torch::zip(source, length)?,
        [0x80, 0..=5, ..] => torch::plain(source, length)?,
        _ if start.get(257..262) == Some(b"ustar") => torch::tar(source, length)?,
        _ => safetensors::table(source, length)?,
    };
    table.check(length)?;
    Ok(without_prefix(table))
}

/// Whether the file begins with the length of a JSON object, and with that object. This is asked first: the bytes of a length
/// may be those that another format begins with.
fn is_safetensors(start: &[u8], length: u64) -> bool {
    let Some((header, rest)) = start.split_first_chunk() else { return false };
    let end = u64::from_le_bytes(*header).checked_add(8);
    rest.first() == Some(&b'{') && end.is_some_and(|end| end <= length)
}

/// PyTorch's tensors have no more.
const MOST_AXES: usize = 64;

/// How much larger than its file a model may become through tensors that share their storage.
const MOST_GROWTH: usize = 8;

impl Table {
    /// Every number a tensor names must be in its storage, and every storage in the file.
    fn check(&self, length: u64) -> Read<()> {
        for storage in &self.storages {
            let end = storage.start.checked_add(storage.length).filter(|&end| end <= length);
            end.ok_or_else(|| flaw("the file ends before the numbers of its tensors do"))?;
        }
        let mut total = 0usize;
        for (name, strided) in &self.tensors {
            let storage =
                self.storages.get(strided.storage).ok_or_else(|| flaw("a tensor has no numbers"))?;
            let bytes = strided.checked_bytes(storage.length).ok_or_else(|| {
                flaw(format!("its shape {:?} needs more numbers than there are", strided.shape)).at(name)
            })?;
            total = total.saturating_add(bytes);
        }
        let most =
            usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1 << 17).saturating_mul(MOST_GROWTH);
        if total > most {
            return Err(flaw(format!("{length} bytes would become tensors of {total} bytes")));
        }
        Ok(())
    }
}

impl Strided {
    /// A tensor that lies in row-major order.
    pub(super) fn contiguous(storage: usize, element: Element, shape: Vec<usize>) -> Self {
        Self { storage, element, offset: 0, strides: row_major(&shape), shape }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor's bytes, if neither they nor any place of it in the storage is beyond `length`.
    pub(super) fn checked_bytes(&self, length: u64) -> Option<usize> {
        let count = self.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))?;
        let bytes = count.checked_mul(self.element.size())?;
        if self.shape.len() != self.strides.len() || self.shape.len() > MOST_AXES {
            return None;
        }
        if count > 0 {
            let steps = self.shape.iter().zip(&self.strides);
            let last = steps.map(|(&side, &stride)| (side - 1).checked_mul(stride));
            let last = last.into_iter().try_fold(self.offset, |sum, step| sum.checked_add(step?))?;
            let end = last.checked_add(1)?.checked_mul(self.element.size())?;
            u64::try_from(end).ok().filter(|&end| end <= length)?;
        }
        Some(bytes)
    }

    fn is_contiguous(&self) -> bool {
        let plain = row_major(&self.shape);
        let same = |axis: usize| self.shape[axis] < 2 || self.strides[axis] == plain[axis];
        self.offset == 0 && (0..self.shape.len()).all(same)
    }

    /// The tensor's bytes in row-major order.
    fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let size = self.element.size();
        let mut bytes = Vec::with_capacity(size * self.count());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.count() {
            let place: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            let start = size * (self.offset + place);
            bytes.extend_from_slice(&storage[start..start + size]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        bytes
    }
}

/// The strides of a tensor that lies in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// What wrappers of a model put before all its names: data-parallel training, compilation.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

/// Takes what wrappers put before the names off again.
fn without_prefix(mut table: Table) -> Table {
    let common = |tensors: &BTreeMap<String, Strided>| {
        let first = tensors.keys().next()?;
        let wrapper = WRAPPERS.iter().find(|wrapper| first.starts_with(**wrapper))?;
        tensors.keys().all(|name| name.len() > wrapper.len() && name.starts_with(wrapper)).then_some(*wrapper)
    };
    while let Some(wrapper) = common(&table.tensors) {
        table.about.prefix += wrapper;
        let tensors = std::mem::take(&mut table.tensors);
        table.tensors = tensors.into_iter().map(|(name, t)| (name[wrapper.len()..].to_owned(), t)).collect();
    }
    table
}

#[cfg(test)]
mod tests;
