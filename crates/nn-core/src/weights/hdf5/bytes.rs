//! Numbers at places of a file, little end first.

use std::io::{Read as _, SeekFrom};

use super::super::flaw::{Read, flaw};
use super::super::storage::Source;

/// A part of a file, and the place in it where reading goes on.
pub(super) struct Bytes<'a> {
    source: &'a mut Box<dyn Source>,
    start: u64,
    length: u64,
    at: u64,
    /// How many bytes no part has claimed yet.
    left: u64,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(source: &'a mut Box<dyn Source>, start: u64, length: u64) -> Self {
        Self { source, start, length, at: 0, left: length }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn go_to(&mut self, place: u64) -> Read<()> {
        if place > self.length {
            return Err(beyond());
        }
        self.source.seek(SeekFrom::Start(self.start.saturating_add(place)))?;
        self.at = place;
        Ok(())
    }

    /// Counts the bytes of a part. No two parts share a byte, so all of them together have no more than the file; what refers
    /// to the same part again and again ends here.
    pub(super) fn claim(&mut self, bytes: u64) -> Read<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| flaw("parts of it overlap"))?;
        Ok(())
    }

    pub(super) fn skip(&mut self, bytes: u64) -> Read<()> {
        self.go_to(self.at.saturating_add(bytes))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut bytes = [0; N];
        self.at = self.at.saturating_add(N as u64);
        if self.at > self.length {
            return Err(beyond());
        }
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The sign that a part of the file begins with.
    pub(super) fn expect(&mut self, sign: [u8; 4]) -> Read<()> {
        if self.array()? == sign {
            return Ok(());
        }
        Err(flaw(format!("there is no {} where there should be", String::from_utf8_lossy(&sign))))
    }

    /// The text up to the next zero, of `most` bytes at most.
    pub(super) fn text(&mut self, most: u64) -> Read<String> {
        let mut bytes = Vec::new();
        let most = most.min(self.length.saturating_sub(self.at)).min(LONGEST);
        for _ in 0..most {
            match self.u8()? {
                0 => return String::from_utf8(bytes).map_err(|_| flaw("a name in it is not UTF-8")),
                byte => bytes.push(byte),
            }
        }
        Err(flaw("a name in it does not end"))
    }
}

/// No name is longer.
const LONGEST: u64 = 4096;

pub(super) fn beyond() -> super::super::flaw::Flaw {
    flaw("a part of it lies beyond its end")
}
