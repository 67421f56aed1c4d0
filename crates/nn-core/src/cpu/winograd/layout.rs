//! Where the points of tiles and filters lie in memory, and which tiles a task has.

use std::ops::Range;

use super::transform::POINTS;

/// Channels side by side.
pub(super) const LANES: usize = 16;
/// Output channels of a block.
pub(super) const BLOCK: usize = 2 * LANES;

/// From the rows of a point to those of the next, for so many rows: an odd number. At a power of two all points of a tile
/// would fall on the same few lines of the cache.
pub(super) fn apart(rows: usize) -> usize {
    rows | 1
}

/// Numbers of all points, with so many rows of `width` each.
pub(super) fn points(rows: usize, width: usize) -> usize {
    POINTS * apart(rows) * width
}

/// Places for [`LANES`] channels of tiles' points: `[points, tiles, width]`.
#[derive(Clone, Copy)]
pub(super) struct Points {
    pub(super) data: *mut f32,
    /// The first tile that is written.
    pub(super) first: usize,
    pub(super) tiles: usize,
    pub(super) width: usize,
}

/// Consecutive rows of tiles of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) image: usize,
    /// The first, counted in its image.
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// The rows of tiles `rows`, counted through images of `per_image`.
pub(super) fn runs(rows: Range<usize>, per_image: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut row = rows.start;
    while row < rows.end {
        let first = row % per_image;
        let count = (per_image - first).min(rows.end - row);
        runs.push(Run { image: row / per_image, first, rows: count });
        row += count;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_with_their_images() {
        let run = |image, first, rows| Run { image, first, rows };
        assert_eq!(runs(2..9, 4), [run(0, 2, 2), run(1, 0, 4), run(2, 0, 1)]);
        assert_eq!(runs(4..8, 4), [run(1, 0, 4)]);
        assert!(runs(3..3, 4).is_empty());
    }
}
