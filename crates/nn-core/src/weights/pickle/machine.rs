//! The stack machine of pickles.

use std::collections::HashMap;
use std::io::BufRead;

use super::super::flaw::{Read, flaw};
use super::{Heap, Id, Input, Node, admit};

/// Reads one pickle and gives its objects and the one it is about; `input` stands behind it then.
pub(crate) fn read<R: BufRead>(input: &mut Input<R>) -> Read<(Heap, Id)> {
    let heap = Heap::of(input.left());
    let mut machine = Machine { input, heap, stack: Vec::new(), marks: Vec::new(), memo: Memo::default() };
    loop {
        let op = machine.input.byte()?;
        if op == b'.' {
            let root = machine.pop()?;
            return Ok((machine.heap, root));
        }
        machine.step(op)?;
    }
}

struct Machine<'a, R> {
    input: &'a mut Input<R>,
    heap: Heap,
    stack: Vec<Id>,
    /// Heights of the stack that were marked.
    marks: Vec<usize>,
    memo: Memo,
}

/// Objects by their numbers, which go up one by one as Python writes them.
#[derive(Default)]
struct Memo {
    dense: Vec<Id>,
    /// Numbers beyond those.
    sparse: HashMap<u32, Id>,
}

impl Memo {
    fn get(&self, number: u32) -> Option<Id> {
        self.dense.get(number as usize).or_else(|| self.sparse.get(&number)).copied()
    }

    fn put(&mut self, number: u32, id: Id) {
        let place = number as usize;
        if let Some(known) = self.dense.get_mut(place) {
            *known = id;
        } else if place == self.dense.len() {
            self.sparse.remove(&number);
            self.dense.push(id);
        } else {
            self.sparse.insert(number, id);
        }
    }

    fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }
}

impl<R: BufRead> Machine<'_, R> {
    fn step(&mut self, op: u8) -> Read<()> {
        match op {
            0x80 => self.protocol(),
            0x95 => self.input.array::<8>().map(|_| ()), // FRAME: its length is a hint for readers
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.drop_top(),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
                Ok(())
            }
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.memo(op),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'i' | b'o' | b'P' | b'Q' => self.object(op),
            b')'
            | b't'
            | 0x85..=0x87
            | b']'
            | b'l'
            | b'a'
            | b'e'
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f..=0x91 => self.container(op),
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => self.text(op),
            _ => self.scalar(op),
        }
    }

    fn protocol(&mut self) -> Read<()> {
        match self.input.byte()? {
            0..=5 => Ok(()),
            other => Err(flaw(format!("pickles of protocol {other} are not known"))),
        }
    }

    fn scalar(&mut self, op: u8) -> Read<()> {
        let node = match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'K' => Node::Int(self.input.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'G' => Node::Float(f64::from_be_bytes(self.input.array()?)),
            0x8a => {
                let length = self.input.byte()?;
                long(&self.input.bytes(length.into())?)
            }
            0x8b => {
                let length = u32::from_le_bytes(self.input.array()?);
                long(&self.input.bytes(length.into())?)
            }
            b'I' | b'L' => match self.input.line()?.as_str() {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => Node::Int(number(digits.strip_suffix('L').unwrap_or(digits))?),
            },
            b'F' => Node::Float(number(&self.input.line()?)?),
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = match op {
                    b'B' => u32::from_le_bytes(self.input.array()?).into(),
                    b'C' => self.input.byte()?.into(),
                    _ => u64::from_le_bytes(self.input.array()?),
                };
                self.input.skip(length)?;
                Node::Opaque
            }
            other => return Err(flaw(format!("{other:#04x} is no instruction of a pickle of weights"))),
        };
        self.push(node)
    }

    fn text(&mut self, op: u8) -> Read<()> {
        let length = match op {
            b'T' | b'X' => u32::from_le_bytes(self.input.array()?).into(),
            b'U' | 0x8c => self.input.byte()?.into(),
            0x8d => u64::from_le_bytes(self.input.array()?),
            _ => {
                let line = self.input.line()?;
                let text = if op == b'S' { unquoted(&line)? } else { &line };
                return self.push(Node::Text(text.to_owned()));
            }
        };
        // Of Python 2, whose strings are bytes, all that is no text is data.
        let text = String::from_utf8(self.input.bytes(length)?);
        self.push(text.map_or(Node::Opaque, Node::Text))
    }

    fn container(&mut self, op: u8) -> Read<()> {
        match op {
            b')' => self.push(Node::Tuple(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x8f => self.push(Node::Opaque), // EMPTY_SET
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
                let items = self.stack.split_off(from.ok_or_else(empty)?);
                self.push(Node::Tuple(items))
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items))
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items))
            }
            b'd' => {
                let entries = pairs(&self.since_mark()?)?;
                self.push(Node::Dict(entries))
            }
            0x91 => {
                self.since_mark()?;
                self.push(Node::Opaque) // FROZENSET
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(&items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[(key, value)])
            }
            _ => {
                let entries = pairs(&self.since_mark()?)?;
                self.insert(&entries)
            }
        }
    }

    fn object(&mut self, op: u8) -> Read<()> {
        match op {
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.push(Node::Global(admit(&module, &name)?))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.heap.text(module), self.heap.text(name)) else {
                    return Err(flaw("a class is named by something that is no text"));
                };
                self.heap.copies(module.len() + name.len())?;
                let name = admit(module, name)?;
                self.push(Node::Global(name))
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)
            }
            0x92 => {
                self.drop_top()?; // arguments by name
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)
            }
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let arguments = Node::Tuple(self.since_mark()?);
                let function = self.heap.add(Node::Global(admit(&module, &name)?))?;
                let arguments = self.heap.add(arguments)?;
                self.call(function, arguments)
            }
            b'o' => {
                let mut arguments = self.since_mark()?;
                if arguments.is_empty() {
                    return Err(empty());
                }
                let function = arguments.remove(0);
                let arguments = self.heap.add(Node::Tuple(arguments))?;
                self.call(function, arguments)
            }
            // An object's attributes: of an ordered dict its `_metadata`, versions of layers.
            b'b' => self.drop_top(),
            b'P' => {
                let name = Node::Text(self.input.line()?);
                let name = self.heap.add(name)?;
                self.push(Node::Persistent(name))
            }
            _ => {
                let name = self.pop()?;
                self.push(Node::Persistent(name))
            }
        }
    }

    /// Dicts by other names become dicts; any other call is written down.
    fn call(&mut self, function: Id, arguments: Id) -> Read<()> {
        let node = match (self.heap.global(function), self.heap.items(arguments)) {
            (Some("collections.OrderedDict"), Some([])) | (Some("collections.defaultdict"), Some(_)) => {
                Node::Dict(Vec::new())
            }
            // Python 2 writes a list of pairs.
            (Some("collections.OrderedDict"), Some(&[items])) => {
                let pair = |&id: &Id| match self.heap.items(id) {
                    Some(&[key, value]) => Ok((key, value)),
                    _ => Err(flaw("an OrderedDict is made of something else than pairs")),
                };
                let items = self.heap.items(items).unwrap_or_default();
                self.heap.copies(size_of_val(items))?;
                Node::Dict(items.iter().map(pair).collect::<Read<_>>()?)
            }
            _ => Node::Call { function, arguments },
        };
        self.push(node)
    }

    fn memo(&mut self, op: u8) -> Read<()> {
        let index = match op {
            b'g' | b'p' => number(&self.input.line()?)?,
            b'h' | b'q' => self.input.byte()?.into(),
            b'j' | b'r' => u32::from_le_bytes(self.input.array()?),
            _ => self.memo.len() as u32,
        };
        if matches!(op, b'g' | b'h' | b'j') {
            let known = self.memo.get(index);
            self.stack.push(known.ok_or_else(|| flaw(format!("object {index} is used before it is made")))?);
        } else {
            let top = self.pop()?;
            self.stack.push(top);
            self.memo.put(index, top);
        }
        Ok(())
    }

    /// Adds to the list on top of the stack. What is no list here, such as a set, is nothing of ours.
    fn extend(&mut self, more: &[Id]) -> Read<()> {
        let top = self.top()?;
        if let Node::List(items) = self.heap.get_mut(top) {
            items.extend(more);
        }
        Ok(())
    }

    /// Adds to the dict on top of the stack.
    fn insert(&mut self, more: &[(Id, Id)]) -> Read<()> {
        let top = self.top()?;
        if let Node::Dict(entries) = self.heap.get_mut(top) {
            entries.extend(more);
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Read<()> {
        self.stack.push(self.heap.add(node)?);
        Ok(())
    }

    /// The height below which only the next mark may take.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Read<Id> {
        self.stack.get(self.floor()..).and_then(<[Id]>::last).copied().ok_or_else(empty)
    }

    fn pop(&mut self) -> Read<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn drop_top(&mut self) -> Read<()> {
        self.pop().map(|_| ())
    }

    fn since_mark(&mut self) -> Read<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| flaw("the pickle closes what it did not open"))?;
        Ok(self.stack.split_off(mark))
    }
}

fn empty() -> super::super::flaw::Flaw {
    flaw("the pickle takes from an empty stack")
}

fn pairs(items: &[Id]) -> Read<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(flaw("a key of a dict has no value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// A number in two's complement, little end first.
fn long(bytes: &[u8]) -> Node {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 16];
    match all.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Node::Int(i128::from_le_bytes(all))
        }
        None => Node::Opaque,
    }
}

fn number<T: std::str::FromStr>(digits: &str) -> Read<T> {
    digits.parse().map_err(|_| flaw("the pickle has a number that is none"))
}

fn unquoted(line: &str) -> Read<&str> {
    let inside = |quote| line.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).ok_or_else(|| flaw("the pickle has a string without quotes"))
}
