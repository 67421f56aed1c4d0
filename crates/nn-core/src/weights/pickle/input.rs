//! The bytes of a pickle, counted, so that no length in it is believed before the bytes are there.

use std::io::{BufRead, Read as _};

use super::super::flaw::{Flaw, Read, flaw};

/// No line of a pickle, a name or a number, is longer.
const LONGEST_LINE: u64 = 1 << 16;

/// At most `left` bytes of a reader.
pub(crate) struct Input<R> {
    reader: R,
    left: u64,
}

impl<R: BufRead> Input<R> {
    pub(crate) fn new(reader: R, left: u64) -> Self {
        Self { reader, left }
    }

    /// How many bytes were not read yet.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut bytes = [0; N];
        self.left = self.left.checked_sub(N as u64).ok_or_else(too_short)?;
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Read<Vec<u8>> {
        self.left = self.left.checked_sub(length).ok_or_else(too_short)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length { Err(too_short()) } else { Ok(bytes) }
    }

    /// Goes on behind `length` bytes.
    pub(crate) fn skip(&mut self, length: u64) -> Read<()> {
        self.left = self.left.checked_sub(length).ok_or_else(too_short)?;
        let skipped = std::io::copy(&mut self.reader.by_ref().take(length), &mut std::io::sink())?;
        if skipped < length { Err(too_short()) } else { Ok(()) }
    }

    /// Text up to the end of its line, which is left out.
    pub(crate) fn line(&mut self) -> Read<String> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(self.left.min(LONGEST_LINE)).read_until(b'\n', &mut bytes)?;
        self.left -= bytes.len() as u64;
        match bytes.pop() {
            Some(b'\n') => String::from_utf8(bytes).map_err(|_| flaw("a name is not UTF-8")),
            _ => Err(too_short()),
        }
    }
}

fn too_short() -> Flaw {
    flaw("the file ends too early")
}
