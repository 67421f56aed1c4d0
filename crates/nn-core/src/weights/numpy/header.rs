//! What stands before the numbers of an array: their type, their order and the shape, as a dict in Python.

use std::io::Read as _;

use super::super::Element;
use super::super::flaw::{Flaw, Read, flaw};
use super::super::storage::{Order, Storage};
use super::super::strided::{MOST_AXES, Strided, row_major};
use super::MAGIC;

/// A header with 64 axes has a thousand bytes.
const LONGEST: u64 = 1 << 16;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    element: Element,
    order: Order,
    shape: Vec<usize>,
    layout: Layout,
    /// Bytes up to the numbers.
    length: u64,
}

/// Which axis changes fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// The last, as in C.
    RowMajor,
    /// The first, as in Fortran.
    ColumnMajor,
}

/// Reads up to the first number.
pub(super) fn read(bytes: &mut dyn std::io::Read) -> Read<Header> {
    let mut start = [0; 8];
    bytes.read_exact(&mut start)?;
    if !start.starts_with(MAGIC) {
        return Err(flaw("it is no array of NumPy"));
    }
    let mut size = [0; 4];
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(flaw(format!("version {version} of NumPy's format is not read"))),
    };
    bytes.read_exact(&mut size[..width])?;
    let size = u64::from(u32::from_le_bytes(size));
    if size > LONGEST {
        return Err(flaw(format!("its header has {size} bytes")));
    }
    let mut text = Vec::new();
    bytes.take(size).read_to_end(&mut text)?;
    if (text.len() as u64) < size {
        return Err(flaw("the file ends too early"));
    }
    let text = str::from_utf8(&text).map_err(|_| flaw("its header is no text"))?;
    let length = (start.len() + width) as u64 + size;
    Parser(text).header(length).map_err(|e| e.at("the array's header"))
}

impl Header {
    /// The tensor, whose numbers are those of the storage with this number, and that storage.
    pub(super) fn place(self, number: usize, file: Storage) -> Read<(Strided, Storage)> {
        let Self { element, order, shape, layout, length } = self;
        let storage = Storage { skip: length, order, ..file };
        let count = shape.iter().try_fold(element.size(), |n, &side| n.checked_mul(side));
        if shape.len() > MOST_AXES || count.map(|n| n as u64) != storage.size() {
            let size = storage.size().unwrap_or_default();
            return Err(flaw(format!("its shape {shape:?} does not go with {size} bytes of numbers")));
        }
        let strides = match layout {
            Layout::RowMajor => row_major(&shape),
            Layout::ColumnMajor => {
                let turned: Vec<usize> = shape.iter().rev().copied().collect();
                row_major(&turned).into_iter().rev().collect()
            }
        };
        Ok((Strided { storage: number, element, offset: 0, shape, strides }, storage))
    }
}

/// The rest of a header's text.
struct Parser<'a>(&'a str);

impl<'a> Parser<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, in any order.
    fn header(mut self, length: u64) -> Read<Header> {
        let (mut numbers, mut layout, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.eat("}") {
            let key = self.text()?;
            self.expect(":")?;
            let before = match key {
                "descr" => numbers.replace(self.numbers()?).is_some(),
                "fortran_order" => layout.replace(self.layout()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err(flaw(format!("{} is no key of it", key.escape_debug()))),
            };
            if before {
                return Err(flaw(format!("{key} is in it twice")));
            }
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return Err(self.unexpected());
        }
        let missing = |key: &str| flaw(format!("it has no {key}"));
        let (element, order) = numbers.ok_or_else(|| missing("descr"))?;
        let layout = layout.ok_or_else(|| missing("fortran_order"))?;
        Ok(Header { element, order, shape: shape.ok_or_else(|| missing("shape"))?, layout, length })
    }

    fn numbers(&mut self) -> Read<(Element, Order)> {
        self.0 = self.0.trim_start();
        if self.0.starts_with('[') {
            return Err(flaw("an array of records is refused: save each of its fields as an array"));
        }
        let descr = self.text()?;
        let refused = |why| flaw(format!("numbers of type {} are refused: {why}", descr.escape_debug()));
        let mut letters = descr.chars();
        let order = letters.next();
        let element = match letters.as_str() {
            "b1" => Element::Bool,
            "u1" => Element::U8,
            "i1" => Element::I8,
            "i2" => Element::I16,
            "u2" => Element::U16,
            "f2" => Element::F16,
            "i4" => Element::I32,
            "u4" => Element::U32,
            "f4" => Element::F32,
            "i8" => Element::I64,
            "f8" => Element::F64,
            "O" => return Err(refused("an array of objects is a pickle, which may run code")),
            _ => return Err(refused("no tensor holds them")),
        };
        match (order, element.size()) {
            (Some('<' | '>' | '|' | '='), 1) | (Some('<'), _) => Ok((element, Order::Little)),
            (Some('>'), size) => Ok((element, Order::Big(size))),
            _ => Err(refused("their byte order is not told")),
        }
    }

    fn layout(&mut self) -> Read<Layout> {
        match (self.eat("False"), self.eat("True")) {
            (true, _) => Ok(Layout::RowMajor),
            (_, true) => Ok(Layout::ColumnMajor),
            _ => Err(self.unexpected()),
        }
    }

    /// A tuple of numbers; old versions of Python wrote an `L` behind them.
    fn shape(&mut self) -> Read<Vec<usize>> {
        let mut shape = Vec::new();
        self.expect("(")?;
        while !self.eat(")") {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            shape.push(digits.parse().map_err(|_| self.unexpected())?);
            self.0 = rest;
            self.eat("L");
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    fn text(&mut self) -> Read<&'a str> {
        let quote = ["'", "\""].into_iter().find(|quote| self.eat(quote));
        let end = quote.and_then(|quote| self.0.find(quote)).ok_or_else(|| self.unexpected())?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    fn eat(&mut self, word: &str) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, word: &str) -> Read<()> {
        if self.eat(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Flaw {
        let rest: String = self.0.chars().take(40).collect();
        flaw(format!("it does not go on as one does: {}", rest.escape_debug()))
    }
}
