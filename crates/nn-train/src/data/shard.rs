//! The part of every batch that one of several processes has.

use std::ops::Range;

use candle_core::Result;
use nn_core::ensure;

/// One of the parts that batches are cut into: as many examples as the others, or one more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Its places among `len`; the parts follow each other.
    pub(crate) fn part(self, len: usize) -> Range<usize> {
        let bound = |n: usize| (len as u128 * n as u128 / self.of as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }

    /// # Errors
    /// If there are no parts, or it is none of them.
    pub(crate) fn check(self) -> Result<()> {
        let Self { index, of } = self;
        ensure!(index < of, "Shard: its index must be below the {of} there are, got {index}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other() {
        for (len, of) in [(10, 2), (11, 3), (2, 3), (0, 4), (7, 1), (usize::MAX, 2)] {
            let parts: Vec<_> = (0..of).map(|index| Shard { index, of }.part(len)).collect();
            assert_eq!((parts[0].start, parts[of - 1].end), (0, len));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let sizes = parts.iter().map(Range::len);
            assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1, "{parts:?}");
        }
        for (index, of) in [(0, 0), (2, 2)] {
            let error = Shard { index, of }.check().expect_err("no part").to_string();
            assert!(error.contains(&format!("the {of} there are, got {index}")), "{error}");
        }
    }
}
