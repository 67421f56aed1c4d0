//! PyTorch's files: which tensors the object in them holds, and where their numbers are.
//!
//! Source: PyTorch 2, `torch/serialization.py`, `torch/_utils.py` (`_rebuild_tensor_v2` and its kin).
//! Why not Candle's reader: it reads zip archives only, and no half of a checkpoint but the top.

mod plain;
mod state;
mod tar;
mod write;
mod zip;

use std::collections::BTreeMap;

use super::flaw::{Read, flaw};
use super::pickle::{Heap, Id};
use super::storage::Storage;
use super::strided::{MOST_AXES, Strided};
use super::table::Table;
use super::{Element, file};
pub(super) use plain::table as plain;
pub(super) use tar::table as tar;

pub use write::{write, write_each};
pub(super) use zip::table as zip;

/// A storage by the name pickles have for it.
type Key = String;

/// Keys are numbers.
const LONGEST_KEY: usize = 256;

/// The class of a storage, without its module, says what the numbers in it are.
fn element_of_storage(class: &str) -> Option<Element> {
    Some(match class.strip_prefix("torch.")?.strip_prefix("cuda.").unwrap_or(&class["torch.".len()..]) {
        "DoubleStorage" => Element::F64,
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::Bf16,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        // Types younger than these classes say themselves what they are.
        "storage.UntypedStorage" => Element::U8,
        _ => return None,
    })
}

/// The types that PyTorch has no class of storages for.
fn element_of_dtype(name: &str) -> Option<Element> {
    Some(match name {
        "torch.uint16" => Element::U16,
        "torch.uint32" => Element::U32,
        _ => return None,
    })
}

/// Where a storage's numbers are taken from, as a pickle says: `('storage', class, key, device, count[, view])`.
struct StorageId<'a> {
    key: &'a str,
    element: Element,
    count: u64,
    /// Of a view: the first of its elements in the storage, and how many there are.
    view: Option<[u64; 2]>,
}

impl<'a> StorageId<'a> {
    /// Reads the description of a storage; nothing if it describes something else.
    fn read(heap: &'a Heap, id: Id) -> Read<Option<Self>> {
        let Some([kind, rest @ ..]) = heap.items(id) else { return Ok(None) };
        if heap.text(*kind) != Some("storage") {
            return Ok(None);
        }
        let &[class, key, _device, count, ref view @ ..] = rest else {
            return Err(flaw("a storage is described with too few words"));
        };
        let class = heap.global(class).ok_or_else(|| flaw("a storage has no class"))?;
        let element = element_of_storage(class)
            .ok_or_else(|| flaw(format!("{class} is refused: such numbers are not read")))?;
        let key = heap.text(key).filter(|key| key.len() <= LONGEST_KEY);
        let key = key.ok_or_else(|| flaw("a storage has no key, or a long one"))?;
        let count = heap.count(count).ok_or_else(|| flaw("a storage has no size"))?;
        let view = match view.first().and_then(|&view| heap.items(view)) {
            None => None,
            Some(&[_, start, size]) => {
                heap.count(start).zip(heap.count(size)).map(|(start, size)| [start, size])
            }
            Some(_) => return Err(flaw("a view of a storage is described with other than three words")),
        };
        Ok(Some(Self { key, element, count, view }))
    }

    fn size(&self) -> Read<Size> {
        let bytes = self.count.checked_mul(self.element.size() as u64);
        let bytes = bytes.ok_or_else(|| flaw(format!("storage {} is larger than any file", self.key)))?;
        Ok(Size { count: self.count, bytes })
    }
}

/// How large a storage is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Size {
    count: u64,
    bytes: u64,
}

/// Every storage a pickle speaks of, also in parts that hold no weights.
fn storages(heap: &Heap) -> Read<BTreeMap<Key, Size>> {
    let mut sizes = BTreeMap::new();
    for (_, id) in heap.persistent() {
        if let Some(storage) = StorageId::read(heap, id)? {
            let size = storage.size()?;
            match sizes.get(storage.key) {
                Some(&known) if known != size => {
                    return Err(flaw(format!("storage {} has two sizes", storage.key)));
                }
                Some(_) => {}
                None => {
                    sizes.insert(storage.key.to_owned(), size);
                }
            }
        }
    }
    Ok(sizes)
}

/// The tensors of `root` as a table over storages that lie at `places`.
fn table(format: file::Format, heap: &Heap, root: Id, places: &BTreeMap<Key, Storage>) -> Read<Table> {
    let state = state::find(heap, root)?;
    let keys: Vec<&Key> = places.keys().collect();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in state.tensors {
        let at = |e: super::flaw::Flaw| e.at(&name);
        let strided = strided(heap, &tensor, &keys).map_err(at)?;
        let bounds = tensor.storage.view.map_or(Ok(()), |view| within(&strided, view));
        bounds.map_err(at)?;
        tensors.insert(name, strided);
    }
    let about = file::About {
        nesting: state.nesting,
        metadata: state.metadata,
        ignored: state.ignored,
        ..file::About::new(format)
    };
    Ok(Table::new(about, tensors, places.values().copied().collect()))
}

fn strided(heap: &Heap, tensor: &state::Rebuilt<'_>, keys: &[&Key]) -> Read<Strided> {
    let sizes = |id, what| {
        let sizes = heap.items(id).unwrap_or_default();
        if sizes.len() > MOST_AXES {
            return Err(flaw(format!("its {what} has {} axes", sizes.len())));
        }
        heap.copies(sizes.len() * size_of::<usize>())?;
        let sizes = sizes.iter().map(|&id| heap.count(id).and_then(|n| usize::try_from(n).ok()));
        sizes.collect::<Option<Vec<usize>>>().ok_or_else(|| flaw(format!("its {what} is no list of sizes")))
    };
    let key = &tensor.storage.key;
    let storage = keys.binary_search_by(|k| k.as_str().cmp(key));
    let start = tensor.storage.view.map_or(0, |[start, _]| start);
    let offset = heap.count(tensor.offset).and_then(|n| usize::try_from(n.checked_add(start)?).ok());
    Ok(Strided {
        storage: storage.map_err(|_| flaw(format!("there is no storage {key}")))?,
        element: tensor.element,
        offset: offset.ok_or_else(|| flaw("it starts nowhere"))?,
        shape: sizes(tensor.shape, "shape")?,
        strides: sizes(tensor.strides, "stride")?,
    })
}

/// A tensor of a view may not look past the view's end.
fn within(strided: &Strided, [start, size]: [u64; 2]) -> Read<()> {
    let end = start.checked_add(size).and_then(|end| end.checked_mul(strided.element.size() as u64));
    let bytes = end.and_then(|end| strided.checked_bytes(end));
    bytes.map(|_| ()).ok_or_else(|| flaw("it looks past the end of its storage"))
}

#[cfg(test)]
mod tests;
