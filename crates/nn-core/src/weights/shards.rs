//! Weights in several files, and the index that says which tensor is in which.
//!
//! Source: transformers, `save_pretrained`: `model.safetensors.index.json` and `pytorch_model.bin.index.json`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::file::{About, Format};
use super::flaw::{Read, flaw};
use super::json::UniqueKeys;
use super::storage::{Opened, Source, Storage};
use super::strided::Strided;
use super::table::Table;

/// No index is longer: a hundred thousand names of two hundred bytes.
const LONGEST: u64 = 1 << 25;

/// The most files of one model, so that all can be open at once.
const MOST_SHARDS: usize = 512;

/// The tensors of all files that an index of `length` bytes names, `open` telling what is in one.
pub(super) fn table(
    source: &mut Box<dyn Source>,
    length: u64,
    folder: Option<&Path>,
    open: &dyn Fn(&mut Opened) -> Read<Table>,
) -> Read<Table> {
    let (map, metadata) = index(source, length)?;
    let mut shards = Shards::default();
    for (file, names) in map {
        let file_name = file.escape_debug();
        let mut opened = Opened::beside(folder, &file)?;
        let table = open(&mut opened).map_err(|e| e.at(&file_name))?;
        shards.add(opened, table, &names).map_err(|e| e.at(&file_name))?;
    }
    let about = About {
        metadata: shards.metadata.into_iter().chain(metadata).collect(),
        ignored: shards.ignored,
        ..About::new(Format::Shards)
    };
    Ok(Table { beside: shards.files, ..Table::new(about, shards.tensors, shards.storages) })
}

/// An index that names no tensor twice.
#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "weight_map")]
    _weight_map: UniqueKeys,
}

/// For each file the tensors that are to be in it.
type Shared = BTreeMap<String, Vec<String>>;

/// What an index says: where the tensors are, and free-form facts.
fn index(source: &mut Box<dyn Source>, length: u64) -> Read<(Shared, BTreeMap<String, String>)> {
    let no_index = |why: &dyn std::fmt::Display| {
        flaw(format!("neither a whole safetensors file nor a whole index of shards ({why})"))
    };
    if length > LONGEST {
        return Err(no_index(&"it is too long"));
    }
    let mut text = Vec::new();
    source.take(length).read_to_end(&mut text)?;
    let mut index: Map<String, Value> = serde_json::from_slice(&text).map_err(|e| no_index(&e))?;
    let Some(Value::Object(map)) = index.remove("weight_map") else {
        return Err(no_index(&"it has no weight_map"));
    };
    serde_json::from_slice::<Keys>(&text).map_err(|e| no_index(&e))?;
    let mut files = Shared::new();
    for (name, file) in map {
        let Value::String(file) = file else {
            return Err(no_index(&"a tensor lies in no file").at(name.escape_debug()));
        };
        files.entry(file).or_default().push(name);
    }
    if files.len() > MOST_SHARDS {
        return Err(no_index(&format_args!("{} files are more than {MOST_SHARDS}", files.len())));
    }
    let facts = match index.remove("metadata") {
        Some(Value::Object(facts)) => facts,
        _ => Map::new(),
    };
    let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok((files, facts.into_iter().map(|(key, value)| (key, plain(value))).collect()))
}

/// What was found in the files read so far.
#[derive(Default)]
struct Shards {
    tensors: BTreeMap<String, Strided>,
    storages: Vec<Storage>,
    files: Vec<Opened>,
    metadata: BTreeMap<String, String>,
    ignored: Vec<String>,
}

impl Shards {
    /// Takes the tensors of these names from a file; what else is in it is noted.
    fn add(&mut self, file: Opened, table: Table, names: &[String]) -> Read<()> {
        let Table { about, mut tensors, storages, joined, beside } = table;
        if !joined.is_empty() {
            return Err(flaw("a file of Keras is no shard"));
        }
        if !beside.is_empty() {
            return Err(flaw("a shard that itself lies in several files is refused"));
        }
        let (first, number) = (self.storages.len(), self.files.len() + 1);
        for name in names {
            let missing = || flaw(format!("there is no tensor {}", name.escape_debug()));
            let tensor = tensors.remove(name).ok_or_else(missing)?;
            self.tensors.insert(name.clone(), Strided { storage: first + tensor.storage, ..tensor });
        }
        self.storages.extend(storages.into_iter().map(|place| Storage { file: number, ..place }));
        self.ignored.extend(tensors.into_keys());
        self.metadata.extend(about.metadata);
        self.files.push(file);
        Ok(())
    }
}
