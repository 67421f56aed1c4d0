//! A weight file of any format: its table of contents, and its tensors one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Error, Result, Tensor, Var};

use super::entry::Entry;
use super::flaw::Read;
use super::names::Parts;
use super::storage::{Opened, Source, Storage};
use super::strided::Strided;
use super::table::{Table, table};
use super::{Element, NameMap};
use crate::ops::overwrite;

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
    /// Several files of any of these, and an index in JSON, as transformers writes.
    Shards,
    /// One array of NumPy.
    Npy,
    /// A zip archive of arrays of NumPy.
    Npz,
    /// The initialisers of an ONNX model.
    Onnx,
    /// HDF5, as Keras writes it.
    Hdf5,
    /// Keras since version 3: a zip archive with an HDF5 file.
    Keras,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch (zip)",
            Self::TorchPickle => "PyTorch (pickle, before 1.6)",
            Self::TorchTar => "PyTorch (tar, before 0.2)",
            Self::Shards => "shards with an index",
            Self::Npy => "NumPy",
            Self::Npz => "NumPy (zip)",
            Self::Onnx => "ONNX",
            Self::Hdf5 => "HDF5",
            Self::Keras => "Keras (zip)",
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

impl About {
    /// Of a file that holds tensors and nothing else.
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            nesting: Vec::new(),
            prefix: String::new(),
            scheme: None,
            metadata: BTreeMap::new(),
            ignored: Vec::new(),
        }
    }
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

struct Reader {
    files: Vec<Opened>,
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
        let (path, name) = (path.as_ref(), path.as_ref().display().to_string());
        let file = File::open(path).map_err(|e| error(&name, &e))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::with_table(name, BufReader::new(file), |file| table(file, Some(folder)))
    }

    /// The same from any source; errors call it `name`.
    ///
    /// # Errors
    /// As for [`WeightFile::open`], and if the weights go on in other files, for which there is no folder.
    pub fn new(name: impl Into<String>, source: impl std::io::Read + Seek + Send + 'static) -> Result<Self> {
        Self::with_table(name.into(), source, |file| table(file, None))
    }

    pub(super) fn with_table(
        name: String,
        source: impl Source + 'static,
        table: impl Fn(&mut Opened) -> Read<Table>,
    ) -> Result<Self> {
        let mut file = Opened::new(Box::new(source)).map_err(|e| error(&name, &e))?;
        let table = table(&mut file).map_err(|e| error(&name, &e))?;
        let Table { about, tensors, storages, joined, beside } = table;
        let mut entries: BTreeMap<_, _> =
            tensors.into_iter().map(|(name, tensor)| (name, Entry::from(tensor))).collect();
        for (whole, parts) in joined {
            let mut parts = parts.iter().filter_map(|part| entries.remove(part));
            let joined = parts.next().and_then(|first| parts.try_fold(first, Entry::join));
            let joined = joined.ok_or_else(|| error(&name, &format_args!("{whole} is not whole")))?;
            if entries.insert(whole.clone(), joined).is_some() {
                return Err(error(&name, &format_args!("two tensors are called {whole}")));
            }
        }
        let files = std::iter::once(file).chain(beside).collect();
        Ok(Self { name, about, entries, storages, reader: Mutex::new(Reader { files, last: None }) })
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
        let join = |(ours, Parts { names, window }): (String, Parts<&str>)| {
            let mut entries = names.into_iter().map(|name| self.entries[name].clone());
            let first = entries.next()?;
            Some((ours, entries.try_fold(first, Entry::join)?.flatten(window)?))
        };
        let Some(entries) = parts.into_iter().map(join).collect() else { return false };
        self.entries = entries;
        self.about.scheme = Some(map.scheme());
        true
    }

    /// The way back: gives tensors that have our names those of another library, if `map` has one for each; tells whether
    /// it had. What is one tensor here and several there is cut.
    pub fn rename_back(&mut self, map: &NameMap) -> bool {
        let cut = |(ours, entry): (&String, &Entry)| {
            let Parts { names, window } = map.theirs(ours)?;
            let entries = entry.split(names.len())?.into_iter().map(|entry| entry.unflatten(window));
            names
                .into_iter()
                .zip(entries)
                .map(|(name, entry)| Some((name, entry?)))
                .collect::<Option<Vec<_>>>()
        };
        let Some(entries) = self.entries.iter().map(cut).collect::<Option<Vec<_>>>() else { return false };
        let count: usize = entries.iter().map(Vec::len).sum();
        let entries: BTreeMap<String, Entry> = entries.into_iter().flatten().collect();
        let each_has_its_own = entries.len() == count;
        if each_has_its_own {
            self.entries = entries;
            self.about.scheme = None;
        }
        each_has_its_own
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
            [whole] => whole.reshape(&entry.shape[..]),
            parts => Tensor::cat(parts, 0)?.reshape(&entry.shape[..]),
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

    /// Reads one tensor into a variable of its shape, whatever its type: straight from the file where that has the numbers
    /// as the variable does.
    pub(crate) fn read_into(&self, name: &str, to: &Var) -> Result<()> {
        let plain = self.entries.get(name).and_then(|entry| match &entry.parts[..] {
            [part] if part.element == Element::F32 && part.is_contiguous() => {
                Some(self.storages[part.storage])
            }
            _ => None,
        });
        let ready = to.dtype() == DType::F32 && to.device().is_cpu() && to.is_contiguous();
        match plain.filter(|storage| ready && storage.is_plain(Element::F32.size() * to.elem_count())) {
            Some(storage) => {
                let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
                let source = &mut reader.files[storage.file].source;
                overwrite(to, |numbers| storage.read_into(source, bytemuck::cast_slice_mut(numbers)))?
                    .map_err(|e| error(&self.name, &e.at(name)))
            }
            None => to.set(&self.tensor(name)?.to_device(to.device())?.to_dtype(to.dtype())?),
        }
    }

    fn load(&self, strided: &Strided) -> Read<Tensor> {
        let storage = self.storages[strided.storage];
        let plain = storage.is_plain(strided.element.size() * strided.count());
        if plain && strided.element == Element::F32 && strided.is_contiguous() {
            // Straight into the tensor's own memory.
            let mut numbers = vec![0f32; strided.count()];
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let source = &mut reader.files[storage.file].source;
            storage.read_into(source, bytemuck::cast_slice_mut(&mut numbers))?;
            return Ok(Tensor::from_vec(numbers, &strided.shape[..], &Device::Cpu)?);
        }
        // After a panic in another thread the source may stand anywhere, and every read seeks first.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match &reader.last {
            Some((last, bytes)) if *last == strided.storage => Arc::clone(bytes),
            _ => Arc::new(storage.read(&mut reader.files[storage.file].source)?),
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

fn error(name: &str, why: &dyn fmt::Display) -> Error {
    Error::Msg(format!("cannot read weights from {name}: {why}"))
}

#[cfg(test)]
mod tests;
