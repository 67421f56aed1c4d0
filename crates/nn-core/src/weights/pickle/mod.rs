//! Python's pickles, read and never run: what a pickle would call is written down instead.
//!
//! Source: CPython, `Lib/pickletools.py` (protocols 0 to 5).
//! Differs: of classes and functions only the names are kept; those that could do harm are refused wherever they are.

mod input;
mod machine;

use std::cell::Cell;

use super::flaw::{Read, flaw};
pub(super) use input::Input;
pub(super) use machine::read;

/// A place in a [`Heap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// A Python object.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// Bytes, sets and numbers of more than 128 bits, which no tensor is described with.
    Opaque,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Keys and values in order; of equal keys the last counts.
    Dict(Vec<(Id, Id)>),
    /// The name of a class or function, `module.name`.
    Global(String),
    /// Something outside of the pickle, by its description.
    Persistent(Id),
    /// What Python would make by calling `function`; nothing was called.
    Call {
        function: Id,
        arguments: Id,
    },
}

/// The objects of one pickle. They refer to each other by [`Id`], perhaps in a circle.
#[derive(Debug)]
pub(super) struct Heap {
    nodes: Vec<Node>,
    /// How many bytes may still be copied out of it. A pickle names an object a hundred thousand times in little room; what
    /// copies it each time has none.
    left: Cell<u64>,
}

/// Tensors are described with about thirty objects each: enough for a hundred thousand.
const MOST_NODES: usize = 1 << 22;

/// How many bytes may be copied out of a pickle, for each of its own: a tensor's name and sizes take the less of them.
const MOST_COPIES: u64 = 8;
/// And of a small one.
const COPIES_OF_A_SMALL_ONE: u64 = 1 << 20;

/// Letters of a text that are told.
const SHOWN: usize = 200;

impl Heap {
    /// Of a pickle of at most so many bytes.
    pub(super) fn of(bytes: u64) -> Self {
        let left = bytes.saturating_mul(MOST_COPIES).saturating_add(COPIES_OF_A_SMALL_ONE);
        Self { nodes: Vec::new(), left: Cell::new(left) }
    }

    pub(super) fn add(&mut self, node: Node) -> Read<Id> {
        if self.nodes.len() >= MOST_NODES {
            return Err(flaw(format!("the pickle holds more than {MOST_NODES} objects")));
        }
        self.nodes.push(node);
        Ok(Id(self.nodes.len() as u32 - 1))
    }

    /// To be called before so many bytes are copied out of it.
    pub(super) fn copies(&self, bytes: usize) -> Read<()> {
        let left = self.left.get().checked_sub(bytes as u64);
        self.left.set(left.ok_or_else(|| flaw("the pickle names what it holds too often"))?);
        Ok(())
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Everything outside of the pickle: where it is named, and its name.
    pub(super) fn persistent(&self) -> Vec<(Id, Id)> {
        let named = |(n, node): (usize, &Node)| match node {
            Node::Persistent(name) => Some((Id(n as u32), *name)),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(named).collect()
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn global(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Global(name) => Some(name),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// A number that counts something.
    pub(super) fn count(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Node::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// What an object is, for a message: no more than [`SHOWN`] letters of it.
    pub(super) fn describe(&self, id: Id) -> String {
        let name = |name: &str| name.chars().take(SHOWN).collect();
        match self.get(id) {
            Node::None => "None".to_owned(),
            Node::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Text(text) => name(text),
            Node::Opaque => "bytes, a set or a large number".to_owned(),
            Node::Tuple(items) => format!("a tuple of {}", items.len()),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Dict(entries) => format!("a dict of {}", entries.len()),
            Node::Global(global) => name(global),
            Node::Persistent(_) => "a storage".to_owned(),
            Node::Call { function, .. } => match self.get(*function) {
                Node::Global(global) => name(global),
                // A class with its source: `('module', class, file, source)`.
                Node::Persistent(of) => match self.items(*of) {
                    Some(&[_, class, ..]) => name(self.global(class).unwrap_or("a call")),
                    _ => "a call".to_owned(),
                },
                _ => "a call".to_owned(),
            },
        }
    }
}

/// Modules whose functions reach the system, run code or change what other code means.
const HARMFUL: &[&str] = &[
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "pickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "ctypes",
    "code",
    "codeop",
    "pty",
    "webbrowser",
    "http",
    "urllib",
    "requests",
    "pip",
    "_io",
    "threading",
    "multiprocessing",
    "asyncio",
    "signal",
    "tempfile",
    "pathlib",
    "io",
    "bdb",
    "pdb",
    "timeit",
    "profile",
    "cProfile",
    "trace",
    "imp",
    "builtins",
    "__builtin__",
    "commands",
    "operator",
    "functools",
    "types",
    "marshal",
    "inspect",
    "gc",
    "atexit",
    "platform",
    "ftplib",
    "smtplib",
    "telnetlib",
    "sqlite3",
    "zipimport",
];

/// Of the modules above, the names that are data.
const HARMLESS: &[&str] = &[
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
    "object",
    "slice",
    "range",
    "xrange",
    "long",
    "unicode",
    "SimpleNamespace",
    "Path",
    "PurePath",
    "PosixPath",
    "PurePosixPath",
    "WindowsPath",
    "PureWindowsPath",
    "partial",
    "BytesIO",
];

/// Refuses names that a file with weights has no use for but harm.
fn admit(module: &str, name: &str) -> Read<String> {
    let full = format!("{module}.{name}");
    let root = module.split('.').next().unwrap_or_default();
    if HARMFUL.contains(&root) && !HARMLESS.contains(&name) {
        let why = "a file with weights has no use for it. Do not open this file in Python";
        return Err(flaw(format!("{} is refused: {why}", full.escape_debug())));
    }
    Ok(full)
}

#[cfg(test)]
mod tests;
