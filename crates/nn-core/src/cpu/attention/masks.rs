//! Which keys a query sees, and which weights dropout leaves.

use crate::cpu::Element;
use crate::cpu::simd::vectorised;
use crate::random::Random;

/// Where a tile of scores stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Of batch and heads.
    pub(super) head: [usize; 2],
    /// The number of the first query among those of all heads.
    pub(super) row: usize,
    /// The number of the first query in its head.
    pub(super) query: usize,
    pub(super) queries: usize,
    pub(super) key: usize,
    /// Of the head, in all.
    pub(super) keys: usize,
    /// From one key's scores to the next key's.
    pub(super) width: usize,
}

/// What is hidden, and what is added to scores.
pub(crate) struct Masks<'a, T> {
    /// Query `i` sees keys `0..=i`.
    pub(crate) causal: bool,
    /// `[B, S]`: keys that are 0 are hidden.
    pub(crate) keys: Option<&'a [u8]>,
    /// For each pair of query and key, 0 where it is hidden.
    pub(crate) seen: Option<&'a [u8]>,
    /// For each pair of query and key, what is added to its score.
    pub(crate) added: Option<&'a [T]>,
    /// Of these two over batch, heads, queries and keys; 0 along axes where they repeat.
    pub(crate) strides: [usize; 4],
}

impl<T: Element> Masks<'_, T> {
    /// How many of `keys` keys can be seen before query `end` at all; all after them are hidden.
    pub(super) fn reach(&self, b: usize, [end, keys]: [usize; 2]) -> usize {
        let seen = |mask: &[u8]| {
            mask[b * keys..][..keys].iter().rposition(|&seen| seen != 0).map_or(0, |last| last + 1)
        };
        let reach = self.keys.map_or(keys, seen);
        if self.causal { reach.min(end) } else { reach }
    }

    /// Changes a tile of scores: −∞ where a key is hidden.
    pub(super) fn hide(&self, scores: &mut [T], at: Place) {
        if let Some(added) = self.added {
            self.for_each_pair(scores, at, |score, i| *score += added[i]);
        }
        if let Some(seen) = self.seen {
            self.for_each_pair(scores, at, |score, i| {
                if seen[i] == 0 {
                    *score = T::NEG_INFINITY;
                }
            });
        }
        for (row, key) in scores.chunks_exact_mut(at.width).zip(at.key..) {
            if self.causal && key > at.query {
                row[..(key - at.query).min(at.width)].fill(T::NEG_INFINITY);
            }
        }
        if let Some(mask) = self.keys {
            let first = at.head[0] * at.keys + at.key;
            for (row, &seen) in scores.chunks_exact_mut(at.width).zip(&mask[first..]) {
                if seen == 0 {
                    row.fill(T::NEG_INFINITY);
                }
            }
        }
    }

    /// `f(score, index in a mask)` for each score of queries that are there.
    fn for_each_pair(&self, scores: &mut [T], at: Place, f: impl Fn(&mut T, usize)) {
        let [batch, head, query, key] = self.strides;
        let first = at.head[0] * batch + at.head[1] * head + at.query * query;
        for (row, j) in scores.chunks_exact_mut(at.width).zip(at.key..) {
            row[..at.queries]
                .iter_mut()
                .enumerate()
                .for_each(|(i, score)| f(score, first + j * key + i * query));
        }
    }
}

/// Dropout of weights: zeros at random, and the others scaled up.
///
/// The weight of query `i`, counted over all heads, and key `j` of `S` is decided by word `j` mod 4 of block
/// `i · ⌈S / 4⌉ + ⌊j / 4⌋`: no mask is kept for the backward pass.
#[derive(Clone, Copy)]
pub(crate) struct Dropped {
    pub(crate) random: Random,
    /// A weight whose word is not above this is dropped.
    pub(crate) last: u32,
    /// What the others are multiplied by.
    pub(crate) scale: f64,
}

impl Dropped {
    /// What the weight of query `i`, counted over all heads, and key `j` of `keys` is multiplied by.
    pub(crate) fn factor(&self, i: usize, j: usize, keys: usize) -> f64 {
        let words = self.random.block((i * keys.div_ceil(4) + j / 4) as u64);
        if words[j % 4] > self.last { self.scale } else { 0.0 }
    }

    /// [`Dropped::factor`] of each weight of a tile; `tile` has room for whole fours of keys.
    pub(super) fn factors<T: Element>(&self, tile: &mut [T], at: Place) {
        let (per_query, scale) = (at.keys.div_ceil(4), T::of(self.scale));
        vectorised(
            #[inline(always)]
            || {
                for (four, rows) in tile.chunks_exact_mut(4 * at.width).enumerate() {
                    let first = at.row * per_query + at.key / 4 + four;
                    let (a, b) = rows.split_at_mut(2 * at.width);
                    let ((a, b), (c, d)) = (a.split_at_mut(at.width), b.split_at_mut(at.width));
                    for i in 0..at.width {
                        let words = self.random.block((first + i * per_query) as u64);
                        let [x, y, z, w] = words.map(|word| if word > self.last { scale } else { T::ZERO });
                        (a[i], b[i], c[i], d[i]) = (x, y, z, w);
                    }
                }
            },
        );
    }
}
