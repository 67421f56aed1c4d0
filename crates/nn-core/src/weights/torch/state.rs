//! Where the tensors are in an object: a state dict lies on top or in a part of a checkpoint, beside other parts.

use std::collections::{BTreeMap, HashSet};

use super::super::Element;
use super::super::flaw::{Read, flaw};
use super::super::pickle::{Heap, Id, Node};
use super::{StorageId, element_of_dtype};

/// A state dict that was found.
pub(super) struct State<'a> {
    pub(super) nesting: Vec<String>,
    pub(super) tensors: BTreeMap<String, Rebuilt<'a>>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) ignored: Vec<String>,
}

/// A tensor as the arguments of `torch._utils._rebuild_tensor_v2` describe it.
pub(super) struct Rebuilt<'a> {
    pub(super) storage: StorageId<'a>,
    pub(super) element: Element,
    pub(super) offset: Id,
    pub(super) shape: Id,
    pub(super) strides: Id,
}

/// What checkpoints call the part with the weights, the likelier first.
const PARTS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
];

/// Words of names of what lies beside the weights and may hold tensors too; they begin so.
const OTHERS: &[&str] = &["optim", "sched", "scaler", "amp", "rng"];

/// The word for running means of the weights, which are meant where there are no others.
const MEAN: &str = "ema";

/// No part is called by a longer name.
const LONGEST_NAME: usize = 256;

/// So many parts are named in a message.
const NAMED: usize = 8;

/// Parts in parts in parts are as deep as checkpoints go.
const DEEPEST: usize = 4;

pub(super) fn find(heap: &Heap, root: Id) -> Read<State<'_>> {
    let mut state = State {
        nesting: Vec::new(),
        tensors: BTreeMap::new(),
        metadata: BTreeMap::new(),
        ignored: Vec::new(),
    };
    let mut part = root;
    loop {
        // A checkpoint may have a tensor beside its state dict, such as the best accuracy.
        let on_top =
            |entries: &&[(Id, Id)]| holds_tensors(heap, entries) && known_part(heap, entries).is_none();
        if let Some(entries) = heap.entries(part).filter(on_top) {
            take(heap, entries, &mut state)?;
            return Ok(state);
        }
        if let Some(tensor) = rebuilt(heap, part)? {
            state.tensors.insert("tensor".to_owned(), tensor);
            return Ok(state);
        }
        if let Some(items) = heap.items(part).filter(|items| items.iter().any(|&item| is_tensor(heap, item)))
        {
            for (n, &item) in items.iter().enumerate() {
                let tensor = rebuilt(heap, item)?.ok_or_else(|| not_a_tensor(heap, item).at(n))?;
                state.tensors.insert(n.to_string(), tensor);
            }
            return Ok(state);
        }
        let Some(entries) = heap.entries(part) else { return Err(no_state(heap, part)) };
        if state.nesting.len() == DEEPEST {
            return Err(flaw("there are no tensors in it"));
        }
        let name = weights_of(heap, entries)?;
        for &(key, value) in entries {
            if heap.text(key) == Some(&name) {
                part = value;
            } else {
                beside(heap, key, value, &mut state)?;
            }
        }
        state.nesting.push(name);
    }
}

/// Notes what lies beside the weights.
fn beside(heap: &Heap, key: Id, value: Id, state: &mut State<'_>) -> Read<()> {
    let name = heap.describe(key);
    heap.copies(name.len() + size_of::<String>())?;
    match heap.get(value) {
        Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) => {
            let value = heap.describe(value);
            heap.copies(value.len() + size_of::<String>())?;
            state.metadata.insert(name, value);
        }
        Node::None => {}
        _ => state.ignored.push(name),
    }
    Ok(())
}

/// Takes the tensors of a state dict; numbers and texts between them are metadata, anything that would be called is
/// refused.
fn take<'a>(heap: &'a Heap, entries: &[(Id, Id)], state: &mut State<'a>) -> Read<()> {
    for &(key, value) in entries {
        let name = heap.describe(key);
        if let Some(tensor) = rebuilt(heap, value).map_err(|e| e.at(&name))? {
            let key =
                heap.text(key).ok_or_else(|| flaw(format!("a tensor is called {name}, which is no text")))?;
            heap.copies(key.len() + size_of::<(String, Rebuilt<'_>)>())?;
            state.tensors.insert(key.to_owned(), tensor);
        } else if matches!(heap.get(value), Node::Call { .. }) {
            return Err(not_a_tensor(heap, value).at(name));
        } else {
            beside(heap, key, value, state)?;
        }
    }
    Ok(())
}

/// The part that checkpoints have the weights in, if there is one of such a name.
fn known_part(heap: &Heap, entries: &[(Id, Id)]) -> Option<&'static str> {
    let holds = |name: &str| {
        let mut seen = HashSet::new();
        let mut inside = |value| within(heap, value, DEEPEST, &mut seen);
        entries.iter().any(|&(key, value)| heap.text(key) == Some(name) && inside(value))
    };
    PARTS.iter().copied().find(|part| holds(part))
}

/// The part that the weights are in.
fn weights_of(heap: &Heap, entries: &[(Id, Id)]) -> Read<String> {
    if let Some(part) = known_part(heap, entries) {
        return Ok(part.to_owned());
    }
    let mut seen = HashSet::new();
    let mut parts = Vec::new();
    for &(key, value) in entries {
        let name = heap.text(key).filter(|name| name.len() <= LONGEST_NAME);
        parts.extend(name.filter(|_| within(heap, value, DEEPEST, &mut seen)));
    }
    parts.retain(|part| !words(part).any(|word| OTHERS.iter().any(|other| word.starts_with(other))));
    if parts.iter().any(|part| !is_mean(part)) {
        parts.retain(|part| !is_mean(part));
    }
    match parts[..] {
        [part] => Ok(part.to_owned()),
        [] => {
            let call = entries.iter().find(|(_, value)| matches!(heap.get(*value), Node::Call { .. }));
            Err(call.map_or_else(|| flaw("there are no tensors in it"), |(_, value)| no_state(heap, *value)))
        }
        ref several => Err(flaw(format!(
            "it holds {} sets of tensors, {}{}; in Python, torch.save the one that is meant",
            several.len(),
            several[..several.len().min(NAMED)].join(", "),
            if several.len() > NAMED { ", …" } else { "" }
        ))),
    }
}

/// `ema` of `ema_model`.
fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase)
}

fn is_mean(part: &str) -> bool {
    words(part).any(|word| word == MEAN)
}

/// Whether tensors are in a dict, or in a dict in it. A dict that was seen before is not looked into again.
fn within(heap: &Heap, id: Id, depth: usize, seen: &mut HashSet<Id>) -> bool {
    let Some(entries) = heap.entries(id).filter(|_| depth > 0 && seen.insert(id)) else { return false };
    holds_tensors(heap, entries) || entries.iter().any(|(_, value)| within(heap, *value, depth - 1, seen))
}

fn holds_tensors(heap: &Heap, entries: &[(Id, Id)]) -> bool {
    entries.iter().any(|(_, value)| is_tensor(heap, *value))
}

fn is_tensor(heap: &Heap, id: Id) -> bool {
    let Node::Call { function, .. } = heap.get(id) else { return false };
    heap.global(*function).is_some_and(|name| REBUILD.contains(&name) || WRAP.contains(&name))
}

/// Functions of PyTorch that make a tensor of a storage.
const REBUILD: &[&str] =
    &["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"];

/// Functions that take a tensor and give it another class.
const WRAP: &[&str] = &[
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Parameter",
];

/// The tensor that a call would make; nothing if it would make something else.
fn rebuilt(heap: &Heap, id: Id) -> Read<Option<Rebuilt<'_>>> {
    // A parameter of a tensor; no more.
    let mut call = id;
    for _ in 0..DEEPEST {
        let Node::Call { function, arguments } = heap.get(call) else { return Ok(None) };
        let (Some(name), Some(arguments)) = (heap.global(*function), heap.items(*arguments)) else {
            return Ok(None);
        };
        if REBUILD.contains(&name) {
            return tensor(heap, name, arguments).map(Some);
        }
        match (name, arguments) {
            // `(function, class, arguments, state)`: what `function(*arguments)` gives, as an object of that class.
            ("torch._tensor._rebuild_from_type_v2", &[function, _, arguments, _]) => {
                let (Some(name), Some(arguments)) = (heap.global(function), heap.items(arguments)) else {
                    return Ok(None);
                };
                match arguments.first() {
                    _ if REBUILD.contains(&name) => return tensor(heap, name, arguments).map(Some),
                    Some(&inner) if WRAP.contains(&name) => call = inner,
                    _ => return Ok(None),
                }
            }
            (name, &[inner, ..]) if WRAP.contains(&name) => call = inner,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn tensor<'a>(heap: &'a Heap, function: &str, arguments: &[Id]) -> Read<Rebuilt<'a>> {
    let &[storage, offset, shape, strides, ref rest @ ..] = arguments else {
        return Err(flaw("a tensor is described with too few words"));
    };
    let storage = match heap.get(storage) {
        Node::Persistent(id) => StorageId::read(heap, *id)?,
        _ => None,
    };
    let storage = storage.ok_or_else(|| flaw("a tensor has no storage"))?;
    // Requires a gradient, hooks, in the third version a type, and what is still to be done.
    let (element, to_do) = match rest {
        [_, _, dtype, to_do @ ..] if function.ends_with("_v3") => {
            let dtype = heap.describe(*dtype);
            let element = element_of_dtype(&dtype);
            (element.ok_or_else(|| flaw(format!("tensors of {dtype} are not read")))?, to_do)
        }
        [_, _, to_do @ ..] => (storage.element, to_do),
        _ => (storage.element, &[][..]),
    };
    let to_do = match to_do.first() {
        Some(&id) if !matches!(heap.get(id), Node::None) => {
            heap.entries(id).ok_or_else(|| flaw("what is still to be done with a tensor is no dictionary"))?
        }
        _ => Default::default(),
    };
    if let Some(&(what, _)) = to_do.iter().find(|(_, done)| !matches!(heap.get(*done), Node::Bool(false))) {
        let what = heap.describe(what);
        return Err(flaw(format!(
            "a view whose {} is still to be taken; in Python: tensor.resolve_neg().resolve_conj()",
            what.escape_debug()
        )));
    }
    Ok(Rebuilt { storage, element, offset, shape, strides })
}

fn not_a_tensor(heap: &Heap, id: Id) -> super::super::flaw::Flaw {
    flaw(format!("{} is refused: it makes no plain tensor", heap.describe(id).escape_debug()))
}

/// The whole object is something else than tensors in plain containers.
fn no_state(heap: &Heap, id: Id) -> super::super::flaw::Flaw {
    match heap.get(id) {
        Node::Call { .. } => flaw(format!(
            "{} is refused: the file holds a Python object, not a state dict; \
             in Python: torch.save(model.state_dict(), path)",
            heap.describe(id).escape_debug()
        )),
        _ => flaw(format!("there are no tensors in it, but {}", heap.describe(id))),
    }
}
