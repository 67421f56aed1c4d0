//! PyTorch's format before 0.2: a tar archive of `storages`, `tensors` and the pickle of the object.

use std::collections::BTreeMap;
use std::io::{BufReader, SeekFrom};

use super::super::file::Format;
use super::super::flaw::{Read, flaw};
use super::super::pickle::{self, Heap, Id, Input, Node};
use super::super::storage::{Source, Storage};
use super::super::strided::MOST_AXES;
use super::super::table::Table;
use super::{Key, Size, element_of_storage};

const BLOCK: u64 = 512;

/// A file in the archive.
#[derive(Clone, Copy)]
struct Part {
    start: u64,
    length: u64,
}

/// What the archive says of a storage.
struct Described {
    class: String,
    /// The storage itself, or the one this is a view of, and where it begins there.
    root: Key,
    offset: u64,
}

/// What the archive says of a tensor.
struct View {
    storage: Key,
    offset: u64,
    shape: Vec<u64>,
    strides: Vec<u64>,
}

pub(crate) fn table(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    let parts = parts(source, length)?;
    let part = |name: &str| {
        let none = || flaw(format!("it is a tar archive, but no file of PyTorch: it has no {name}"));
        parts.get(name).copied().ok_or_else(none)
    };
    let (places, sizes, described) = storages(source, part("storages")?).map_err(|e| e.at("storages"))?;
    let views = tensors(source, part("tensors")?).map_err(|e| e.at("tensors"))?;
    let (mut heap, root) = pickle::read(&mut input(source, part("pickle")?)?).map_err(|e| e.at("pickle"))?;
    describe(&mut heap, &views, &described, &sizes)?;
    super::table(Format::TorchTar, &heap, root, &places)
}

fn parts(source: &mut Box<dyn Source>, length: u64) -> Read<BTreeMap<String, Part>> {
    let mut parts = BTreeMap::new();
    let mut at = 0u64;
    while at.checked_add(BLOCK).is_some_and(|end| end <= length) {
        source.seek(SeekFrom::Start(at))?;
        let mut header = [0; BLOCK as usize];
        source.read_exact(&mut header)?;
        if header == [0; BLOCK as usize] {
            return Ok(parts);
        }
        let text = |from: usize, to: usize| {
            let field = header[from..to].split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let size =
            u64::from_str_radix(&text(124, 136), 8).map_err(|_| flaw("a file of the archive has no size"))?;
        let start = at + BLOCK;
        let next = size.checked_next_multiple_of(BLOCK).and_then(|size| start.checked_add(size));
        at = next.filter(|&next| next <= length).ok_or_else(|| flaw("the archive ends too early"))?;
        parts.insert(text(0, 100), Part { start, length: size });
    }
    Err(flaw("the archive ends too early"))
}

fn input(source: &mut Box<dyn Source>, part: Part) -> Read<Input<BufReader<&mut Box<dyn Source>>>> {
    source.seek(SeekFrom::Start(part.start))?;
    Ok(Input::new(BufReader::new(source), part.length))
}

type Storages = (BTreeMap<Key, Storage>, BTreeMap<Key, Size>, BTreeMap<Key, Described>);

/// How many, then of each `(key, device, class)` and its numbers, then the views: `(key, of which, from, how many)`.
fn storages(source: &mut Box<dyn Source>, part: Part) -> Read<Storages> {
    let mut input = input(source, part)?;
    let (mut places, mut sizes, mut described) = Storages::default();
    for _ in 0..count(&mut input)? {
        let (heap, words) = pickle::read(&mut input)?;
        let Some(&[key, _device, class]) = heap.items(words) else {
            return Err(flaw("a storage is described with other than three words"));
        };
        let (key, class) = (heap.describe(key), heap.describe(class));
        let element = element_of_storage(&class)
            .ok_or_else(|| flaw(format!("{class} is refused: it is no storage of numbers")))?;
        let count = u64::from_le_bytes(input.array()?);
        let bytes = count
            .checked_mul(element.size() as u64)
            .ok_or_else(|| flaw("a storage is larger than any file"))?;
        let start = part.start + part.length - input.left();
        input.skip(bytes)?;
        places.insert(key.clone(), Storage::plain(start, bytes));
        sizes.insert(key.clone(), Size { count, bytes });
        described.insert(key.clone(), Described { class, root: key, offset: 0 });
    }
    let (heap, views) = pickle::read(&mut input)?;
    for &view in heap.items(views).unwrap_or_default() {
        let words = heap.items(view).and_then(|words| match *words {
            [key, root, offset, _] => Some((heap.describe(key), heap.describe(root), heap.count(offset)?)),
            _ => None,
        });
        let (key, root, offset) =
            words.ok_or_else(|| flaw("a view is described with other than four words"))?;
        let class = described.get(&root).map(|root| root.class.clone());
        let class = class.ok_or_else(|| flaw(format!("there is no storage {root}")))?;
        described.insert(key, Described { class, root, offset });
    }
    Ok((places, sizes, described))
}

/// How many, then of each `(key, storage, class)` and its axes, sizes, strides and offset.
fn tensors(source: &mut Box<dyn Source>, part: Part) -> Read<BTreeMap<Key, View>> {
    let mut input = input(source, part)?;
    let mut views = BTreeMap::new();
    for _ in 0..count(&mut input)? {
        let (heap, words) = pickle::read(&mut input)?;
        let Some(&[key, storage, _class]) = heap.items(words) else {
            return Err(flaw("a tensor is described with other than three words"));
        };
        let axes = u32::from_le_bytes(input.array()?);
        if axes as usize > MOST_AXES {
            return Err(flaw(format!("a tensor has {axes} axes")));
        }
        input.skip(4)?; // the number once had eight bytes
        let mut sizes =
            || (0..axes).map(|_| Ok(u64::from_le_bytes(input.array()?))).collect::<Read<Vec<u64>>>();
        let (shape, strides) = (sizes()?, sizes()?);
        let offset = u64::from_le_bytes(input.array()?);
        views.insert(heap.describe(key), View { storage: heap.describe(storage), offset, shape, strides });
    }
    Ok(views)
}

fn count<R: std::io::BufRead>(input: &mut Input<R>) -> Read<u64> {
    let (heap, n) = pickle::read(input)?;
    heap.count(n).ok_or_else(|| flaw("it does not say how many there are"))
}

/// Puts each tensor that the object refers to by its key into the words that later formats have for it.
fn describe(
    heap: &mut Heap,
    views: &BTreeMap<Key, View>,
    described: &BTreeMap<Key, Described>,
    sizes: &BTreeMap<Key, Size>,
) -> Read<()> {
    let mut known = BTreeMap::new();
    for (id, name) in heap.persistent() {
        let Some(key) = heap.text(name) else { continue };
        let Some((key, view)) = views.get_key_value(key) else {
            return Err(flaw(format!("there is no tensor {}", heap.describe(name).escape_debug())));
        };
        if let Some(&(function, arguments)) = known.get(key) {
            *heap.get_mut(id) = Node::Call { function, arguments };
            continue;
        }
        let storage = described
            .get(&view.storage)
            .ok_or_else(|| flaw(format!("there is no storage {}", view.storage)))?;
        let count = sizes.get(&storage.root).map_or(0, |size| size.count);
        let offset =
            view.offset.checked_add(storage.offset).ok_or_else(|| flaw("a tensor starts nowhere"))?;
        let storage = [
            heap.add(Node::Text("storage".to_owned()))?,
            heap.add(Node::Global(storage.class.clone()))?,
            heap.add(Node::Text(storage.root.clone()))?,
            heap.add(Node::None)?,
            heap.add(Node::Int(count.into()))?,
        ];
        let storage = heap.add(Node::Tuple(storage.to_vec()))?;
        let arguments = [
            heap.add(Node::Persistent(storage))?,
            heap.add(Node::Int(offset.into()))?,
            numbers(heap, &view.shape)?,
            numbers(heap, &view.strides)?,
        ];
        let arguments = heap.add(Node::Tuple(arguments.to_vec()))?;
        let function = heap.add(Node::Global("torch._utils._rebuild_tensor".to_owned()))?;
        known.insert(key, (function, arguments));
        *heap.get_mut(id) = Node::Call { function, arguments };
    }
    Ok(())
}

fn numbers(heap: &mut Heap, numbers: &[u64]) -> Read<Id> {
    let ids = numbers.iter().map(|&n| heap.add(Node::Int(n.into()))).collect::<Read<Vec<Id>>>()?;
    heap.add(Node::Tuple(ids))
}
