//! Protocol buffers, field by field, without a description of the messages.
//!
//! Source: protobuf.dev, "Encoding".

use std::io::{BufRead as _, BufReader, Read as _};

use super::super::flaw::{Read, flaw};
use super::super::storage::Source;

/// Bytes of the file, from the first to the one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    pub(super) fn length(self) -> u64 {
        self.end - self.start
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number or a truth.
    Varint(u64),
    /// A number of four or eight bytes.
    Fixed,
    /// A text, a message, or numbers end to end.
    Bytes(Span),
}

/// A file of messages, and the place where its reading goes on.
pub(super) struct Wire<'a> {
    reader: BufReader<&'a mut Box<dyn Source>>,
    at: u64,
}

impl<'a> Wire<'a> {
    /// At the beginning of a file, where `source` stands.
    pub(super) fn new(source: &'a mut Box<dyn Source>) -> Self {
        Self { reader: BufReader::new(source), at: 0 }
    }

    /// Hands each field of a message to `field`, with its number.
    pub(super) fn message(
        &mut self,
        span: Span,
        field: &mut dyn FnMut(&mut Self, u64, Value) -> Read<()>,
    ) -> Read<()> {
        self.go_to(span.start)?;
        while self.at < span.end {
            let key = self.varint()?;
            let value = match key & 7 {
                0 => Value::Varint(self.varint()?),
                kind @ (1 | 5) => {
                    self.go_to(self.at + if kind == 1 { 8 } else { 4 })?;
                    Value::Fixed
                }
                2 => {
                    let length = self.varint()?;
                    let end = self.at.checked_add(length).ok_or_else(beyond)?;
                    Value::Bytes(Span { start: self.at, end })
                }
                kind => return Err(flaw(format!("not a whole message (a field of kind {kind})"))),
            };
            let end = if let Value::Bytes(Span { end, .. }) = value { end } else { self.at };
            if end > span.end {
                return Err(beyond());
            }
            field(self, key >> 3, value)?;
            self.go_to(end)?;
        }
        if self.at == span.end { Ok(()) } else { Err(beyond()) }
    }

    pub(super) fn text(&mut self, span: Span) -> Read<String> {
        self.go_to(span.start)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(span.length()).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        if self.at != span.end {
            return Err(beyond());
        }
        String::from_utf8(bytes).map_err(|_| flaw("a text in it is not UTF-8"))
    }

    /// The numbers end to end in a field, at most `most` of them.
    pub(super) fn varints(&mut self, span: Span, most: usize) -> Read<Vec<u64>> {
        self.go_to(span.start)?;
        let mut numbers = Vec::new();
        while self.at < span.end {
            if numbers.len() == most {
                return Err(flaw(format!("more than {most} numbers where there cannot be as many")));
            }
            numbers.push(self.varint()?);
        }
        if self.at == span.end { Ok(numbers) } else { Err(beyond()) }
    }

    fn varint(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.reader.fill_buf()?.first() else { return Err(beyond()) };
            self.reader.consume(1);
            self.at += 1;
            let digit = u64::from(byte & 0x7f);
            if (digit << shift) >> shift != digit {
                break;
            }
            number |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(flaw("not a whole message (a number of more than 64 bits)"))
    }

    fn go_to(&mut self, place: u64) -> Read<()> {
        let step = i64::try_from(i128::from(place) - i128::from(self.at)).map_err(|_| beyond())?;
        self.reader.seek_relative(step)?;
        self.at = place;
        Ok(())
    }
}

fn beyond() -> super::super::flaw::Flaw {
    flaw("not a whole message (a part of it ends beyond the whole)")
}
