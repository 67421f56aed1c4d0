//! What lies at an address: a group, an array of numbers, or something else. Its header says it, message by message.

use super::super::Element;
use super::super::flaw::{Read, flaw};
use super::super::storage::Order;
use super::super::strided::MOST_AXES;
use super::bytes::{Bytes, beyond};

pub(super) enum Object {
    /// The addresses of its tree and of its heap of names.
    Group { tree: u64, heap: u64 },
    /// `place` is where its bytes begin, and how many there are.
    Array { shape: Vec<usize>, element: Element, order: Order, place: [u64; 2] },
    /// Texts, records, references.
    Other,
}

/// What messages say.
#[derive(Default)]
struct Messages {
    group: Option<[u64; 2]>,
    shape: Option<Vec<usize>>,
    kind: Option<Kind>,
    place: Option<[u64; 2]>,
    packed: bool,
}

/// A type of elements.
#[derive(Clone, Copy)]
enum Kind {
    Numbers(Element, Order),
    /// Numbers that no tensor here has, and what they are.
    Strange(&'static str),
    Others,
}

/// A header of a file of weights has a dozen, most of them attributes.
const MOST_MESSAGES: u16 = 4096;
/// The flag of a message that only says where it lies.
const SHARED: u8 = 2;
/// The address of what is not there.
const NOWHERE: u64 = u64::MAX;

pub(super) fn read(file: &mut Bytes<'_>, address: u64) -> Read<Object> {
    file.go_to(address)?;
    let [version, _] = file.array()?;
    let count = file.u16()?;
    if version != 1 || count > MOST_MESSAGES {
        return Err(flaw("its header is of another version, or damaged"));
    }
    file.claim(16 + 8 * u64::from(count))?;
    file.skip(4)?;
    let size = file.u32()?;
    file.skip(4)?;
    let mut blocks = vec![[file.at(), size.into()]];
    let (mut messages, mut left) = (Messages::default(), count);
    while let Some([start, size]) = blocks.pop() {
        let end = start.checked_add(size).filter(|&end| end <= file.length()).ok_or_else(beyond)?;
        let mut at = start;
        while left > 0 && at.saturating_add(8) <= end {
            file.go_to(at)?;
            let (kind, size) = (file.u16()?, u64::from(file.u16()?));
            let [flags, _, _, _] = file.array()?;
            at = file.at().saturating_add(size);
            if at > end {
                return Err(beyond());
            }
            left -= 1;
            match kind {
                0x01 | 0x03 | 0x08 if flags & SHARED != 0 => {
                    return Err(flaw("a type that lies elsewhere is not read"));
                }
                0x10 => blocks.insert(0, [file.u64()?, file.u64()?]),
                _ => messages.take(file, kind)?,
            }
        }
    }
    if left > 0 {
        return Err(flaw("its header ends too early"));
    }
    messages.object()
}

impl Messages {
    fn take(&mut self, file: &mut Bytes<'_>, kind: u16) -> Read<()> {
        match kind {
            0x01 => self.shape = shape(file)?,
            0x03 => self.kind = Some(element(file)?),
            0x08 => self.place = Some(place(file)?),
            0x0b => self.packed = true,
            0x11 => self.group = Some([file.u64()?, file.u64()?]),
            // Links and groups of newer versions.
            0x02 | 0x06 => return Err(flaw("a group of a newer version is not read")),
            _ => {}
        }
        Ok(())
    }

    fn object(self) -> Read<Object> {
        if let Some([tree, heap]) = self.group {
            return Ok(Object::Group { tree, heap });
        }
        let (Some(kind), Some(shape)) = (self.kind, self.shape) else { return Ok(Object::Other) };
        let (element, order) = match kind {
            Kind::Numbers(element, order) => (element, order),
            // Of no axes they are facts beside the arrays, a counter of steps say.
            Kind::Strange(what) if !shape.is_empty() => {
                return Err(flaw(format!("{what} are not read: save it as float32")));
            }
            Kind::Strange(_) | Kind::Others => return Ok(Object::Other),
        };
        if self.packed {
            return Err(flaw("numbers that are packed are not read"));
        }
        let Some(place) = self.place else { return Err(flaw("an array lies nowhere")) };
        let count = shape.iter().try_fold(1u64, |n, &side| n.checked_mul(side as u64));
        let bytes = count.and_then(|n| n.checked_mul(element.size() as u64));
        let place = match (place, bytes) {
            // Of no numbers, or of numbers that were never written.
            ([NOWHERE, _], Some(0)) => [0, 0],
            ([_, there], Some(bytes)) if there == bytes => place,
            _ => return Err(flaw(format!("its shape {shape:?} and its bytes contradict each other"))),
        };
        Ok(Object::Array { shape, element, order, place })
    }
}

/// `None` for an array that is none at all.
fn shape(file: &mut Bytes<'_>) -> Read<Option<Vec<usize>>> {
    let [version, rank, _flags] = file.array()?;
    match version {
        1 => file.skip(5)?,
        2 if file.u8()? == 2 => return Ok(None),
        2 => {}
        _ => return Err(flaw(format!("a shape of version {version} is not read"))),
    }
    if usize::from(rank) > MOST_AXES {
        return Err(flaw(format!("an array has {rank} axes")));
    }
    let side = |file: &mut Bytes<'_>| usize::try_from(file.u64()?).map_err(|_| flaw("an axis is too long"));
    (0..rank).map(|_| side(file)).collect::<Read<_>>().map(Some)
}

fn element(file: &mut Bytes<'_>) -> Read<Kind> {
    let [class, bits, _, _] = file.array()?;
    let size = file.u32()?;
    let [_offset, precision] = [file.u16()?, file.u16()?];
    let order = if bits & 1 == 0 { Order::Little } else { Order::Big(size as usize) };
    let signed = bits & 8 != 0;
    let whole = u32::from(precision) == size.saturating_mul(8);
    let number = match (class & 15, size, signed) {
        (0 | 1, _, _) if !whole => None,
        (1, _, _) => float(file, size)?,
        (0, 1, true) => Some(Element::I8),
        (0, 1, false) => Some(Element::U8),
        (0, 2, true) => Some(Element::I16),
        (0, 2, false) => Some(Element::U16),
        (0, 4, true) => Some(Element::I32),
        (0, 4, false) => Some(Element::U32),
        (0, 8, true) => Some(Element::I64),
        _ => None,
    };
    let kind = match class & 15 {
        0 | 1 => Kind::Strange("numbers of this kind, of 64 bits without a sign say,"),
        // h5py has no other way to write what NumPy has no name for.
        5 if size == 2 => Kind::Strange("numbers of two bytes without a type, bfloat16 as Keras writes it,"),
        6 => Kind::Strange("complex numbers, or other records,"),
        8 => Kind::Strange("truths, or other names for numbers,"),
        _ => Kind::Others,
    };
    Ok(number.map_or(kind, |element| Kind::Numbers(element, order)))
}

/// Where exponent and mantissa begin and how long they are, and the exponent's bias.
fn float(file: &mut Bytes<'_>, size: u32) -> Read<Option<Element>> {
    let ([exponent, exponent_bits, mantissa, mantissa_bits], bias) = (file.array()?, file.u32()?);
    Ok(match ([exponent, exponent_bits, mantissa, mantissa_bits], bias, size) {
        ([10, 5, 0, 10], 15, 2) => Some(Element::F16),
        ([7, 8, 0, 7], 127, 2) => Some(Element::Bf16),
        ([23, 8, 0, 23], 127, 4) => Some(Element::F32),
        ([52, 11, 0, 52], 1023, 8) => Some(Element::F64),
        _ => None,
    })
}

/// Where the numbers lie.
fn place(file: &mut Bytes<'_>) -> Read<[u64; 2]> {
    let [version, class] = file.array()?;
    match (version, class) {
        (3 | 4, 0) => {
            let size = file.u16()?;
            Ok([file.at(), size.into()])
        }
        (3 | 4, 1) => Ok([file.u64()?, file.u64()?]),
        (3 | 4, 2) => Err(flaw("an array in chunks is not read: write it without compression")),
        _ => Err(flaw(format!("a layout of version {version} is not read"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::super::storage::Source;
    use super::*;

    #[test]
    fn numbers_that_are_not_read_are_refused_and_counters_passed_over() -> Read<()> {
        // Class and bits, size, then for whole numbers where their bits begin and how many there are.
        let kind = |class: u8, size: u8, bits: u8| {
            let message = [0x10 | class, 0, 0, 0, size, 0, 0, 0, 0, 0, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut source: Box<dyn Source> = Box::new(Cursor::new(message));
            element(&mut Bytes::new(&mut source, 0, message.len() as u64))
        };
        for (class, size, bits, says) in
            [(0, 8, 64, "of 64 bits"), (5, 2, 0, "bfloat16"), (6, 8, 0, "complex"), (8, 1, 0, "truths")]
        {
            let messages = |shape: &[usize]| -> Read<Messages> {
                let kind = Some(kind(class, size, bits)?);
                Ok(Messages { kind, shape: Some(shape.to_vec()), place: Some([0, 0]), ..Messages::default() })
            };
            let Err(error) = messages(&[3])?.object() else { panic!("{says}") };
            assert!(error.to_string().contains(says), "{error}");
            assert!(matches!(messages(&[])?.object()?, Object::Other));
        }
        // Texts, of any length.
        for class in [3, 9] {
            assert!(matches!(kind(class, 16, 0)?, Kind::Others));
        }
        Ok(())
    }
}
