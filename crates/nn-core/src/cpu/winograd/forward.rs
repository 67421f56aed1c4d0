//! The convolution itself.

use std::ops::Range;

use rayon::prelude::*;

use super::Problem;
use super::layout::{BLOCK, LANES, Points, Run, points, runs};
use super::product::Start;
use super::room::Room;
use super::steps::{Filters, Images, Multiply, Untile};
use super::transform::TILE;
use crate::cpu::bands::Shared;
use crate::cpu::depthwise::Finish;

/// Tiles of a task, about: their points stay in the second-level cache.
const NEAR: usize = 36;
/// Input channels whose filters' points stay there.
const CHUNK: usize = 128;

/// `y = w ⋆ x`, plus a number for each output channel, and then what `finish` makes of it.
pub(crate) fn forward(
    p: &Problem,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    finish: Option<Finish<'_, f32>>,
) -> Vec<f32> {
    p.check(x, w.len());
    let len = p.images * p.c_out * p.positions();
    let mut y = Vec::with_capacity(len);
    let task = Task { p, x, w, bias, finish, y: Shared(y.as_mut_ptr()) };
    let cuts = task.cuts();
    if p.images * p.tiles().iter().product::<usize>() < p.c_out {
        task.by_outputs(&cuts);
    } else {
        task.by_images(&cuts);
    }
    // SAFETY: both write every line of every output plane.
    unsafe { y.set_len(len) };
    y
}

/// Some rows of tiles.
struct Cut {
    runs: Vec<Run>,
    tiles: usize,
    /// Where their points begin if all are kept: those of the images, and of a block of outputs.
    starts: [usize; 2],
}

struct Task<'a> {
    p: &'a Problem,
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    finish: Option<Finish<'a, f32>>,
    y: Shared<f32>,
}

impl Task<'_> {
    /// All rows of tiles, about [`NEAR`] tiles together, so that the last tasks end together.
    fn cuts(&self) -> Vec<Cut> {
        let [down, across] = self.p.tiles();
        let (rows, threads) = (self.p.images * down, rayon::current_num_threads());
        // The rounds it takes, each as long as a task, and what a task costs anyway.
        let time = |step: usize| rows.div_ceil(step).div_ceil(threads) * (step * across + NEAR / 8);
        let most = (4 * NEAR / 3 / across).clamp(1, rows.max(1));
        let step = (1..=most).rev().min_by_key(|&step| time(step)).unwrap_or(1);
        let mut starts = [0, 0];
        let cut = |first: usize| {
            let rows = first..(first + step).min(rows);
            let tiles = rows.len() * across;
            let cut = Cut { runs: runs(rows, down), tiles, starts };
            starts[0] += self.images_len(tiles);
            starts[1] += points(tiles, BLOCK);
            cut
        };
        (0..rows).step_by(step).map(cut).collect()
    }

    /// Numbers of the points of so many tiles of all input channels.
    fn images_len(&self, tiles: usize) -> usize {
        self.p.groups() * points(tiles, LANES)
    }

    /// All filters are brought to their points, then the images cut by cut.
    fn by_images(&self, cuts: &[Cut]) {
        let (p, size) = (self.p, points(self.p.inputs(), BLOCK));
        let u = Room::new(p.blocks() * size);
        (0..p.blocks()).into_par_iter().for_each(|block| {
            // SAFETY: the block's own part of `u`.
            unsafe { self.filters(block, 0..p.inputs(), u.at(block * size, size)) };
        });
        cuts.par_iter().for_each(|cut| {
            let (v, m) = (Room::new(self.images_len(cut.tiles)), Room::new(points(cut.tiles, BLOCK)));
            let v = v.at(0, self.images_len(cut.tiles));
            let m = m.at(0, points(cut.tiles, BLOCK));
            for group in 0..p.groups() {
                // SAFETY: `v` is this task's own, and has all groups of the cut.
                unsafe { self.images(cut, group, v) };
            }
            for block in 0..p.blocks() {
                let factors = [u.at(block * size, size).cast_const(), v.cast_const()];
                let sizes = [p.inputs(), cut.tiles];
                // SAFETY: `u` and `v` have been written; `m` is this task's own, and then has been written.
                unsafe {
                    Multiply { factors, m, sizes, start: Start::Empty }.run();
                    self.write(cut, block, m);
                }
            }
        });
    }

    /// All images are brought to their points, then the filters block by block.
    fn by_outputs(&self, cuts: &[Cut]) {
        let p = self.p;
        let total = |n: fn(&Self, usize) -> usize| cuts.iter().map(|cut| n(self, cut.tiles)).sum::<usize>();
        let v = Room::new(total(Self::images_len));
        let m_len = total(|_, tiles| points(tiles, BLOCK));
        (0..cuts.len() * p.groups()).into_par_iter().for_each(|task| {
            let (cut, group) = (&cuts[task / p.groups()], task % p.groups());
            // SAFETY: the group's own part of the cut's part of `v`.
            unsafe { self.images(cut, group, v.at(cut.starts[0], self.images_len(cut.tiles))) };
        });
        (0..p.blocks()).into_par_iter().for_each(|block| {
            let size = points(p.inputs().min(CHUNK), BLOCK);
            let (u, m) = (Room::new(size), Room::new(m_len));
            let u = u.at(0, size);
            for first in (0..p.inputs()).step_by(CHUNK) {
                let inputs = first..(first + CHUNK).min(p.inputs());
                let start = if first == 0 { Start::Empty } else { Start::Sum };
                // SAFETY: `u` is this task's own.
                unsafe { self.filters(block, inputs.clone(), u) };
                for cut in cuts {
                    let group = first / LANES * points(cut.tiles, LANES);
                    let seen = inputs.len() / LANES * points(cut.tiles, LANES);
                    let factors = [u.cast_const(), v.at(cut.starts[0] + group, seen).cast_const()];
                    let m = m.at(cut.starts[1], points(cut.tiles, BLOCK));
                    // SAFETY: `u` and `v` have been written, and `m`, this task's own, by the first inputs.
                    unsafe { Multiply { factors, m, sizes: [inputs.len(), cut.tiles], start }.run() };
                }
            }
            for cut in cuts {
                // SAFETY: `m` has been written.
                unsafe { self.write(cut, block, m.at(cut.starts[1], points(cut.tiles, BLOCK))) };
            }
        });
    }

    /// # Safety
    /// That of [`Filters`].
    unsafe fn filters(&self, block: usize, inputs: Range<usize>, u: *mut f32) {
        // SAFETY: as the caller promises.
        unsafe { Filters { p: self.p, w: self.w, first: block * BLOCK, inputs, u }.run() }
    }

    /// Writes a group's part of the points of a cut, `v`.
    ///
    /// # Safety
    /// `v` may be written there.
    unsafe fn images(&self, cut: &Cut, group: usize, v: *mut f32) {
        let Cut { runs, tiles, .. } = cut;
        // SAFETY: inside `v`, as the caller promises.
        unsafe {
            let data = v.add(group * points(*tiles, LANES));
            let to = Points { data, first: 0, tiles: *tiles, width: LANES };
            Images { from: self.p.planes(self.x), channel: group * LANES, runs, to }.run();
        }
    }

    /// Writes the outputs of a block of channels from their points `m`.
    ///
    /// # Safety
    /// `m` has been written, and no other task writes these outputs.
    unsafe fn write(&self, cut: &Cut, block: usize, m: *const f32) {
        let (p, across) = (self.p, self.p.tiles()[1]);
        let mut lines = Vec::new();
        for first in (block * BLOCK..p.c_out.min((block + 1) * BLOCK)).step_by(LANES) {
            // SAFETY: the channel's part of a row of `m`.
            unsafe {
                let m = m.add(first % BLOCK);
                Untile { m, tiles: cut.tiles, across, lines: &mut lines }.run();
            }
            let mut rest = &lines[..];
            for run in &cut.runs {
                let (lines, others) = rest.split_at(run.rows * TILE * TILE * across * LANES);
                rest = others;
                for channel in first..p.c_out.min(first + LANES) {
                    // SAFETY: as the caller promises.
                    unsafe { self.write_channel(channel, *run, lines) };
                }
            }
        }
    }

    /// Writes a channel's outputs of a run of rows of tiles.
    ///
    /// # Safety
    /// No other task writes them.
    unsafe fn write_channel(&self, channel: usize, run: Run, lines: &[f32]) {
        let (p, [h, w]) = (self.p, self.p.output);
        let top = run.first * TILE;
        let len = (run.rows * TILE).min(h - top) * w;
        let start = (run.image * p.c_out + channel) * p.positions() + top * w;
        // SAFETY: inside the output, which has room for all planes; these lines are this task's alone.
        let y = unsafe { self.y.get().add(start) };
        let bias = self.bias.map_or(0.0, |b| b[channel]);
        for (row, line) in lines.chunks_exact(p.tiles()[1] * TILE * LANES).take(len / w).enumerate() {
            for (column, x) in line.as_chunks::<LANES>().0[..w].iter().enumerate() {
                // SAFETY: `row < len / w` and `column < w`.
                unsafe { y.add(row * w + column).write(x[channel % LANES] + bias) };
            }
        }
        if let Some(finish) = self.finish {
            // SAFETY: `len` numbers have just been written.
            finish(channel, unsafe { std::slice::from_raw_parts_mut(y, len) });
        }
    }
}
