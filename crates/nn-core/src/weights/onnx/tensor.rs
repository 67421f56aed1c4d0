//! One tensor of a model: its name, its shape, and in which of five ways its numbers are written.

use super::super::Element;
use super::super::flaw::{Read, flaw};
use super::super::storage::{Order, Storage};
use super::super::strided::{MOST_AXES, Strided};
use super::wire::{Span, Value, Wire};
use super::{External, entry};

/// A `TensorProto`.
#[derive(Default)]
pub(super) struct Proto {
    shape: Vec<u64>,
    data_type: u64,
    numbers: Option<Numbers>,
    external: Option<Location>,
    is_external: bool,
}

/// The field that the numbers lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    field: u64,
    span: Span,
}

/// A run of bytes in a file beside the model.
#[derive(Default)]
struct Location {
    file: String,
    offset: u64,
    length: Option<u64>,
}

const FLOAT_DATA: u64 = 4;
const INT32_DATA: u64 = 5;
const STRING_DATA: u64 = 6;
const INT64_DATA: u64 = 7;
const RAW_DATA: u64 = 9;
const DOUBLE_DATA: u64 = 10;
const UINT64_DATA: u64 = 11;

impl Proto {
    /// The tensor, and what it is called.
    pub(super) fn read(wire: &mut Wire, span: Span) -> Read<(String, Self)> {
        let (mut name, mut proto) = (String::new(), Self::default());
        wire.message(span, &mut |wire, number, value| match (number, value) {
            (8, Value::Bytes(span)) => {
                name = wire.text(span)?;
                Ok(())
            }
            _ => proto.field(wire, number, value),
        })
        .map_err(|e| if name.is_empty() { e } else { e.at(name.escape_debug()) })?;
        if name.is_empty() {
            return Err(flaw("an initialiser has no name"));
        }
        Ok((name, proto))
    }

    fn field(&mut self, wire: &mut Wire, number: u64, value: Value) -> Read<()> {
        match (number, value) {
            (1, Value::Varint(side)) => self.shape.push(side),
            (1, Value::Bytes(span)) => self.shape.extend(wire.varints(span, MOST_AXES)?),
            (2, Value::Varint(kind)) => self.data_type = kind,
            (FLOAT_DATA..=INT64_DATA | RAW_DATA..=UINT64_DATA, Value::Bytes(span)) => {
                let before = self.numbers.replace(Numbers { field: number, span });
                if before.is_some() {
                    return Err(flaw("its numbers lie in more than one place"));
                }
            }
            (FLOAT_DATA..=INT64_DATA | DOUBLE_DATA..=UINT64_DATA, _) => {
                return Err(flaw("its numbers are written one by one, which no writer of ONNX does"));
            }
            (3, _) => return Err(flaw("it is a segment of a tensor, which nobody writes")),
            (13, Value::Bytes(span)) => self.locate(entry(wire, span)?)?,
            (14, Value::Varint(place)) => self.is_external = place == 1,
            _ => {}
        }
        if self.shape.len() > MOST_AXES {
            return Err(flaw(format!("it has more than {MOST_AXES} axes")));
        }
        Ok(())
    }

    fn locate(&mut self, (key, value): (String, String)) -> Read<()> {
        let location = self.external.get_or_insert_default();
        let count = |what: &str| {
            let bad = |_| flaw(format!("its {what} is no number: {}", value.escape_debug()));
            value.parse::<u64>().map_err(bad)
        };
        match key.as_str() {
            "location" => location.file = value,
            "offset" => location.offset = count("offset")?,
            "length" => location.length = Some(count("length")?),
            // Its checksum is of the whole other file, and nobody writes it.
            _ => {}
        }
        Ok(())
    }

    /// The tensor, whose numbers are those of the storage with this number, and that storage.
    pub(super) fn place(self, number: usize, data: &mut External) -> Read<(Strided, Storage)> {
        let element = element(self.data_type)?;
        let sides = self.shape.iter().map(|&side| usize::try_from(side).ok());
        let shape: Option<Vec<usize>> = sides.collect();
        let count = shape.iter().flatten().try_fold(1u64, |n, &side| n.checked_mul(side as u64));
        let too_large = || flaw(format!("its shape {:?} is larger than any file", self.shape));
        let (shape, count) = shape.zip(count).ok_or_else(too_large)?;
        let storage = match (self.numbers, self.external.filter(|_| self.is_external)) {
            (Some(_), Some(_)) => return Err(flaw("its numbers lie in more than one place")),
            (Some(numbers), None) => numbers.storage(element, count)?,
            (None, Some(location)) => location.storage(data)?,
            (None, None) => Storage::plain(0, 0),
        };
        let needed = count.checked_mul(element.size() as u64);
        if needed.is_none() || needed != storage.size() {
            let size = storage.size().unwrap_or_default();
            return Err(flaw(format!("its shape {shape:?} does not go with {size} bytes of numbers")));
        }
        Ok((Strided::contiguous(number, element, shape), storage))
    }
}

impl Numbers {
    fn storage(self, element: Element, count: u64) -> Read<Storage> {
        let Self { field, span } = self;
        let plain = Storage::plain(span.start, span.length());
        let packed = Storage { order: Order::Varints(count, element), ..plain };
        match (field, element) {
            (RAW_DATA, _) | (FLOAT_DATA, Element::F32) | (DOUBLE_DATA, Element::F64) => Ok(plain),
            (INT64_DATA, Element::I64) | (UINT64_DATA, Element::U32) => Ok(packed),
            (INT32_DATA, element) if !matches!(element, Element::F32) && element.size() <= 4 => Ok(packed),
            (STRING_DATA, _) => Err(flaw("it holds text")),
            _ => Err(flaw(format!("field {field} cannot hold numbers of type {}", element.name()))),
        }
    }
}

impl Location {
    fn storage(self, data: &mut External) -> Read<Storage> {
        let (file, whole) = data.file(&self.file)?;
        let length = self.length.or_else(|| whole.checked_sub(self.offset));
        let length = length.ok_or_else(|| flaw("its numbers start beyond the end of the file beside"))?;
        Ok(Storage { file, ..Storage::plain(self.offset, length) })
    }
}

/// The types of `TensorProto.DataType`.
fn element(data_type: u64) -> Read<Element> {
    Ok(match data_type {
        1 => Element::F32,
        2 => Element::U8,
        3 => Element::I8,
        4 => Element::U16,
        5 => Element::I16,
        6 => Element::I32,
        7 => Element::I64,
        9 => Element::Bool,
        10 => Element::F16,
        11 => Element::F64,
        12 => Element::U32,
        16 => Element::Bf16,
        8 => return Err(flaw("it holds text")),
        other => return Err(flaw(format!("numbers of ONNX's type {other} are not read"))),
    })
}
