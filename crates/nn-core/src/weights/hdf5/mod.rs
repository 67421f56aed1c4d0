//! HDF5 files, as far as Keras writes them: groups and whole arrays of numbers, each where it says.
//!
//! Source: "HDF5 File Format Specification Version 3.0", the parts named `Superblock` 0 and 1, `Version 1 B-trees`,
//! `Symbol Table`, `Local Heap`, `Version 1 Object Header` and its messages: what the library writes unless it is told to be
//! newer. Differs: newer groups, arrays in chunks and what is packed are refused by name; attributes are not looked at.
//!
//! Why none of the libraries: the smallest is forty times as long as this and maps files into memory.

mod bytes;
mod group;
mod object;

use std::collections::{BTreeMap, BTreeSet};

use super::flaw::{Read, flaw};
use super::storage::{Source, Storage};
use super::strided::Strided;
use bytes::Bytes;
use object::Object;

/// How a file begins.
pub(super) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The arrays of numbers in a file, by their paths.
pub(super) struct Arrays {
    pub(super) found: BTreeMap<String, Strided>,
    /// Where the numbers of each lie; arrays name them by their place here.
    pub(super) storages: Vec<Storage>,
    /// Paths of what is no array of numbers: texts, records.
    pub(super) others: Vec<String>,
}

/// No file of weights nests deeper.
const DEEPEST: usize = 64;
/// Nor has more groups and arrays.
const MOST_OBJECTS: usize = 1 << 20;
/// All paths together take less than four times the file, or than this.
const LEAST_ROOM: u64 = 1 << 16;

/// What is in the file that lies in `source` from `start` on and is `length` bytes long.
pub(super) fn arrays(source: &mut Box<dyn Source>, start: u64, length: u64) -> Read<Arrays> {
    let mut file = Bytes::new(source, start, length);
    let root = superblock(&mut file).map_err(|e| e.at("an HDF5 file"))?;
    let mut arrays = Arrays { found: BTreeMap::new(), storages: Vec::new(), others: Vec::new() };
    // A group that was seen already would be in itself, or under two names: Keras writes no links.
    let (mut open, mut seen) = (vec![(String::new(), root, 0)], BTreeSet::new());
    let mut room = length.saturating_mul(4).saturating_add(LEAST_ROOM);
    while let Some((path, address, depth)) = open.pop() {
        let shown = if path.is_empty() { "the file".to_owned() } else { path.escape_debug().to_string() };
        if !seen.insert(address) || seen.len() > MOST_OBJECTS || depth > DEEPEST {
            return Err(flaw("its groups do not end").at(shown));
        }
        match object::read(&mut file, address).map_err(|e| e.at(&shown))? {
            Object::Group { tree, heap } => {
                for (name, address) in group::members(&mut file, tree, heap).map_err(|e| e.at(&shown))? {
                    let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                    room =
                        room.checked_sub(path.len() as u64).ok_or_else(|| flaw("its names are too long"))?;
                    open.push((path, address, depth + 1));
                }
            }
            Object::Array { shape, element, order, place: [at, bytes] } => {
                let storage = Storage { order, ..Storage::plain(start.saturating_add(at), bytes) };
                let tensor = Strided::contiguous(arrays.storages.len(), element, shape);
                arrays.storages.push(storage);
                if arrays.found.insert(path, tensor).is_some() {
                    return Err(flaw("two members have one name").at(shown));
                }
            }
            Object::Other => arrays.others.push(path),
        }
    }
    arrays.others.sort();
    Ok(arrays)
}

/// The address of the root group.
fn superblock(file: &mut Bytes<'_>) -> Read<u64> {
    file.go_to(MAGIC.len() as u64)?;
    let version = file.u8()?;
    if version > 1 {
        return Err(flaw(format!(
            "version {version} of the format is not read: write it with libver=\"earliest\""
        )));
    }
    let [_, _, _, _, offsets, lengths, _] = file.array()?;
    if [offsets, lengths] != [8, 8] {
        return Err(flaw(format!("addresses of {offsets} bytes and lengths of {lengths} are not read")));
    }
    file.skip(if version == 0 { 8 } else { 12 })?;
    let (base, _free, end, _driver) = (file.u64()?, file.u64()?, file.u64()?, file.u64()?);
    if base != 0 || end > file.length() {
        return Err(flaw("the file ends before it says, or begins elsewhere"));
    }
    file.skip(8)?;
    file.u64()
}

#[cfg(test)]
mod tests;
