//! PyTorch's format before 1.6: pickles one after the other, then the storages as they are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use super::super::file::Format;
use super::super::flaw::{Read, flaw};
use super::super::pickle::{self, Heap, Id, Input, Node};
use super::super::storage::{Source, Storage};
use super::super::table::Table;
use super::{Size, storages, table as torch_table};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const VERSION: i128 = 1001;

pub(crate) fn table(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    let mut input = Input::new(BufReader::new(source), length);
    if number(pickle::read(&mut input)) != Some(MAGIC) {
        return Err(flaw("it is a pickle, but none of torch.save"));
    }
    let version = number(pickle::read(&mut input));
    if version != Some(VERSION) {
        return Err(flaw("it is of an unknown version of PyTorch's format"));
    }
    let (heap, system) = pickle::read(&mut input)?;
    for &(key, value) in heap.entries(system).unwrap_or_default() {
        if heap.text(key) == Some("little_endian") && !matches!(heap.get(value), Node::Bool(true)) {
            return Err(flaw("its numbers have their big end first"));
        }
    }
    let (heap, root) = pickle::read(&mut input)?;
    let mut sizes = storages(&heap)?;
    let (keys, list) = pickle::read(&mut input)?;
    let mut places = BTreeMap::new();
    for &key in keys.items(list).ok_or_else(|| flaw("it has no list of storages"))? {
        let key = keys.describe(key);
        let size = sizes
            .remove(&key)
            .ok_or_else(|| flaw(format!("no tensor has the storage {key}, or two lists have it")))?;
        let place = storage(&mut input, length, size).map_err(|e| e.at(format_args!("storage {key}")))?;
        places.insert(key, place);
    }
    torch_table(Format::TorchPickle, &heap, root, &places)
}

fn number(pickle: Read<(Heap, Id)>) -> Option<i128> {
    let (heap, root) = pickle.ok()?;
    match heap.get(root) {
        Node::Int(n) => Some(*n),
        _ => None,
    }
}

/// The number of elements, then the elements; `input` stands behind them then.
pub(super) fn storage<R: BufRead>(input: &mut Input<R>, length: u64, size: Size) -> Read<Storage> {
    let count = u64::from_le_bytes(input.array()?);
    if count != size.count {
        return Err(flaw(format!("it has {count} elements, its tensors need {}", size.count)));
    }
    let start = length - input.left();
    input.skip(size.bytes)?;
    Ok(Storage::plain(start, size.bytes))
}
