//! Where in which file the numbers of tensors lie, and how they are packed there.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek, SeekFrom};
use std::path::{Component, Path};

use flate2::read::DeflateDecoder;

use super::Element;
use super::flaw::{Read, flaw};

/// Anything that files can be read from.
pub(super) trait Source: io::Read + Seek + Send {}
impl<T: io::Read + Seek + Send> Source for T {}

/// A file that is open, and how long it is.
pub(super) struct Opened {
    pub(super) source: Box<dyn Source>,
    pub(super) length: u64,
}

impl Opened {
    pub(super) fn new(mut source: Box<dyn Source>) -> io::Result<Self> {
        let length = source.seek(SeekFrom::End(0))?;
        source.rewind()?;
        Ok(Self { source, length })
    }

    /// A file that another one names, which must lie in the folder of that one or below it.
    pub(super) fn beside(folder: Option<&Path>, name: &str) -> Read<Self> {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        let path = Path::new(name);
        if name.is_empty() || name.contains(['\\', '\0']) || !path.components().all(inside) {
            return Err(flaw(format!(
                "{} is refused: it names no file beside this one",
                name.escape_debug()
            )));
        }
        let Some(folder) = folder else {
            return Err(flaw(format!("it goes on in {}, and has no folder", name.escape_debug())));
        };
        let missing = |e: io::Error| flaw(format!("{}, which lies beside it: {e}", name.escape_debug()));
        let path = folder.join(path);
        // A folder says of itself that it is as long as a file can be, and a pipe has no length.
        if !std::fs::metadata(&path).map_err(missing)?.is_file() {
            return Err(flaw(format!("{}, which lies beside it, is not a file", name.escape_debug())));
        }
        let file = File::open(path).map_err(missing)?;
        Self::new(Box::new(BufReader::new(file))).map_err(missing)
    }
}

/// A run of bytes in a file that tensors look into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    /// Which of the files: 0 is the one that was opened, others lie beside it.
    pub(super) file: usize,
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) crc32: Option<u32>,
    /// How many bytes it has when it is inflated; nothing where it is not deflated.
    pub(super) inflated: Option<u64>,
    /// How many of these bytes come before the numbers.
    pub(super) skip: u64,
    pub(super) order: Order,
}

/// How the bytes of numbers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Little end first, as everything here wants them.
    Little,
    /// Big end first, so many bytes a number.
    Big(usize),
    /// So many numbers of four bytes, all zero, for which the file has no bytes.
    Zeros(u64),
    /// So many of the protocol buffers' numbers, seven bits a byte, each to become one of these.
    Varints(u64, Element),
}

impl Storage {
    /// Numbers as they are.
    pub(super) const fn plain(start: u64, length: u64) -> Self {
        Self { file: 0, start, length, crc32: None, inflated: None, skip: 0, order: Order::Little }
    }

    /// How many bytes the numbers have once read; nothing where there can be no such storage.
    pub(super) fn size(&self) -> Option<u64> {
        match self.order {
            Order::Varints(count, element) => count.checked_mul(element.size() as u64),
            Order::Zeros(count) => count.checked_mul(4),
            Order::Little | Order::Big(_) => self.inflated.unwrap_or(self.length).checked_sub(self.skip),
        }
    }

    /// The bytes as they were before they were packed, without a look at their checksum.
    pub(super) fn unpack<'a>(&self, source: &'a mut Box<dyn Source>) -> Read<Box<dyn io::Read + 'a>> {
        source.seek(SeekFrom::Start(self.start))?;
        let packed = source.take(self.length);
        Ok(match self.inflated {
            None => Box::new(packed),
            Some(size) => Box::new(DeflateDecoder::new(packed).take(size.saturating_add(1))),
        })
    }

    /// Zeros, so many of `f32`.
    pub(super) const fn zeros(count: u64) -> Self {
        Self { order: Order::Zeros(count), ..Self::plain(0, 0) }
    }

    /// Whether the file has exactly these bytes, as they are wanted.
    pub(super) fn is_plain(&self, bytes: usize) -> bool {
        let Self { length, inflated, skip, order, .. } = *self;
        inflated.is_none() && skip == 0 && order == Order::Little && length == bytes as u64
    }

    /// The numbers of a storage that [is plain](Self::is_plain), where they are wanted.
    pub(super) fn read_into(&self, source: &mut Box<dyn Source>, bytes: &mut [u8]) -> Read<()> {
        source.seek(SeekFrom::Start(self.start))?;
        source.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => flaw("the file ends too early"),
            _ => e.into(),
        })?;
        self.check(bytes)
    }

    /// Reads all bytes for their checksum alone.
    pub(super) fn verify(&self, source: &mut Box<dyn Source>) -> Read<()> {
        let Some(crc32) = self.crc32 else { return Ok(()) };
        let (mut hasher, mut buffer) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
        let mut bytes = self.unpack(source)?;
        loop {
            match bytes.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        if hasher.finalize() == crc32 {
            Ok(())
        } else {
            Err(flaw("its checksum does not match: the file is damaged"))
        }
    }

    /// Holds bytes against their checksum.
    fn check(&self, bytes: &[u8]) -> Read<()> {
        if self.crc32.is_some_and(|crc32| crc32fast::hash(bytes) != crc32) {
            return Err(flaw("its checksum does not match: the file is damaged"));
        }
        Ok(())
    }

    /// The numbers, little end first.
    pub(super) fn read(&self, source: &mut Box<dyn Source>) -> Read<Vec<u8>> {
        let size = self.inflated.unwrap_or(self.length);
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| flaw("it is too large"))?);
        self.unpack(source)?.read_to_end(&mut bytes)?;
        match bytes.len() as u64 {
            length if length < size => return Err(flaw("the file ends too early")),
            length if length > size => return Err(flaw("it is larger than the file says")),
            _ => {}
        }
        self.check(&bytes)?;
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..skip);
        match self.order {
            Order::Little => Ok(bytes),
            Order::Big(width) => {
                bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                Ok(bytes)
            }
            Order::Varints(count, element) => varints(&bytes, count, element),
            Order::Zeros(count) => {
                Ok(vec![0; 4 * usize::try_from(count).map_err(|_| flaw("it is too large"))?])
            }
        }
    }
}

/// The numbers of a packed field of protocol buffers, in the bytes of their own type.
fn varints(mut bytes: &[u8], count: u64, element: Element) -> Read<Vec<u8>> {
    let width = element.size();
    let mut numbers = Vec::with_capacity(bytes.len().saturating_mul(width));
    while !bytes.is_empty() {
        let (number, rest) = varint(bytes).ok_or_else(|| flaw("a number in it does not end"))?;
        // Negative numbers are written with all their 64 bits.
        let (unused, low) = (64 - 8 * width as u32, number.to_le_bytes());
        let signed = number.cast_signed();
        let fits = match element {
            Element::I8 | Element::I16 | Element::I32 | Element::I64 => {
                (signed << unused) >> unused == signed
            }
            _ => (number << unused) >> unused == number,
        };
        if !fits {
            return Err(flaw(format!("{number} in it is no {}", element.name())));
        }
        numbers.extend_from_slice(&low[..width]);
        bytes = rest;
    }
    let expected = count.checked_mul(width as u64);
    match expected == Some(numbers.len() as u64) {
        true => Ok(numbers),
        false => Err(flaw(format!("it has {} numbers, its shape needs {count}", numbers.len() / width))),
    }
}

/// The first number, seven bits a byte, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (digits, rest) = bytes.split_at(end + 1);
    let last = digits
        .iter()
        .rev()
        .try_fold(0u64, |sum, &digit| (sum >> 57 == 0).then_some((sum << 7) | u64::from(digit & 0x7f)));
    Some((last?, rest))
}
