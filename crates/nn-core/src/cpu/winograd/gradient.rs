//! The gradient of the filters: at each point a product over tiles.

use std::ops::Range;

use rayon::prelude::*;

use super::Problem;
use super::layout::{BLOCK, LANES, Points, points, runs};
use super::product::Start;
use super::room::Room;
use super::steps::{FilterGradients, Gradients, Images, MultiplyTransposed};
use super::tiles::Planes;
use super::transform::POINTS;
use crate::cpu::bands::Shared;

/// Numbers of the points of tiles in work at once, if the filters have not more: they stay in the third-level cache.
const NEAR: usize = 2 << 20;
/// The tiles in work are brought to their points in so many parts.
const PARTS: usize = 8;

/// `dw = Σ dy ⋆ x` over images and outputs. How sums are cut depends on the sizes alone.
pub(crate) fn weight_gradient(p: &Problem, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let len = p.c_out * p.c_in * super::filters::TAPS;
    p.check(x, len);
    assert_eq!(dy.len(), p.images * p.c_out * p.positions(), "winograd: dy has another size");
    let mut dw = Vec::with_capacity(len);
    let (out, task) = (Shared(dw.as_mut_ptr()), Task { p, x, dy });
    let ranges = task.ranges();
    let (pairs, size) = (p.blocks() * p.groups(), points(LANES, BLOCK));
    // Where all fits into one range, sums need not outlive their task.
    let sums = (ranges.len() > 1).then(|| Room::new(pairs * size));
    for (n, rows) in ranges.iter().enumerate() {
        let both = task.transform(rows.clone());
        (0..pairs).into_par_iter().for_each(|pair| {
            let (block, group) = (pair / p.groups(), pair % p.groups());
            let own = if sums.is_none() { Room::new(size) } else { Room::new(0) };
            let u = sums.as_ref().map_or_else(|| own.at(0, size), |sums| sums.at(pair * size, size));
            let start = if n == 0 { Start::Empty } else { Start::Sum };
            let factors = both.factors(block, group);
            // SAFETY: both factors have been written; the pair's sums are this task's own, written from the first range
            // on; so are the pair's gradients.
            unsafe {
                MultiplyTransposed { factors, u, tiles: both.tiles, start }.run();
                if n + 1 == ranges.len() {
                    let channels = [block * BLOCK, group * LANES];
                    FilterGradients { p, u, channels, dw: out.get() }.run();
                }
            }
        });
    }
    // SAFETY: the last range has written the gradients of all pairs, which are all.
    unsafe { dw.set_len(len) };
    dw
}

struct Task<'a> {
    p: &'a Problem,
    x: &'a [f32],
    dy: &'a [f32],
}

/// Inputs and gradients of outputs at their points.
struct Both {
    tiles: usize,
    /// `[groups, points, tiles, LANES]`
    v: Room,
    /// `[blocks, points, tiles, BLOCK]`
    d: Room,
}

impl Both {
    fn factors(&self, block: usize, group: usize) -> [*const f32; 2] {
        let (v, d) = (points(self.tiles, LANES), points(self.tiles, BLOCK));
        [self.v.at(group * v, v).cast_const(), self.d.at(block * d, d).cast_const()]
    }
}

impl Task<'_> {
    /// All rows of tiles, in ranges.
    fn ranges(&self) -> Vec<Range<usize>> {
        let (p, [down, across]) = (self.p, self.p.tiles());
        let rows = p.images * down;
        let filters = p.inputs() * p.blocks() * BLOCK;
        let row = across * (p.inputs() + p.blocks() * BLOCK);
        let step = ((NEAR / POINTS).max(2 * filters) / row).clamp(1, rows);
        (0..rows).step_by(step).map(|first| first..(first + step).min(rows)).collect()
    }

    fn transform(&self, rows: Range<usize>) -> Both {
        let (p, [down, across]) = (self.p, self.p.tiles());
        let tiles = rows.len() * across;
        let (groups, halves) = (p.groups(), p.blocks() * BLOCK / LANES);
        let both = Both {
            tiles,
            v: Room::new(groups * points(tiles, LANES)),
            d: Room::new(p.blocks() * points(tiles, BLOCK)),
        };
        let dys =
            Planes { data: self.dy, channels: p.c_out, size: p.output, padding: [0, 0], overlap: 0, across };
        let step = rows.len().div_ceil(PARTS);
        let part = |row: usize| ((row - rows.start) * across, runs(row..(row + step).min(rows.end), down));
        let parts: Vec<_> = rows.clone().step_by(step).map(part).collect();
        (0..parts.len() * (groups + halves)).into_par_iter().for_each(|task| {
            let ((first, runs), group) = (&parts[task / (groups + halves)], task % (groups + halves));
            // SAFETY: the places of a group's or a half block's tiles are this task's own.
            match group.checked_sub(groups) {
                None => unsafe {
                    let size = points(tiles, LANES);
                    let data = both.v.at(group * size, size);
                    let to = Points { data, first: *first, tiles, width: LANES };
                    Images { from: p.planes(self.x), channel: group * LANES, runs, to }.run();
                },
                Some(half) => unsafe {
                    let size = points(tiles, BLOCK);
                    let data = both.d.at(half / 2 * size, size).add(half % 2 * LANES);
                    let to = Points { data, first: *first, tiles, width: BLOCK };
                    Gradients { from: dys, channel: half * LANES, runs, to }.run();
                },
            }
        });
        both
    }
}
