//! What is wrong with a weight file, before it is known what the file is called.

use std::fmt;
use std::io;

/// Why a file cannot be read; [`super::WeightFile`] adds its name.
#[derive(Debug)]
pub(super) struct Flaw(String);

pub(super) type Read<T> = Result<T, Flaw>;

pub(super) fn flaw(why: impl Into<String>) -> Flaw {
    Flaw(why.into())
}

impl Flaw {
    /// Says in which part of the file it is.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Flaw {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => flaw("the file ends too early"),
            _ => flaw(e.to_string()),
        }
    }
}

impl From<candle_core::Error> for Flaw {
    fn from(e: candle_core::Error) -> Self {
        flaw(e.to_string())
    }
}
