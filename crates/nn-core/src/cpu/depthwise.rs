//! Depthwise convolution: every channel by a kernel of its own, so there is no matrix product in it.
//!
//! A plane, or as many of its lines as stay in the first-level cache, is laid out with its zeros around it; a kernel
//! then goes down a strip a vector or a few wide, and each line it loads serves all outputs it counts for
//! (`strips.rs`). A stride along a line deals its pixels out by phases, so that a tap reads neighbours. The input
//! gradient goes the other way round: as many kernels of stride 1 as there are phases, whose outputs are woven together.

mod layout;
mod strips;
mod weight;

use pulp::{Arch, Simd, WithSimd};

use self::layout::{Phase, Scheme, weave};
use self::strips::Strip;
use super::Element;
use super::blank::by_chunks;
use super::patches::Patches;

pub(crate) use self::weight::weight_gradient;

/// Numbers of a source, or of outputs, that stay in the first-level cache together.
const NEAR: usize = 4096;
/// Outputs of a task, if planes are smaller.
const TASK: usize = 16 * 1024;

/// What is still to be done with outputs of a channel.
pub(crate) type Finish<'a, T> = &'a (dyn Fn(usize, &mut [T]) + Sync);

/// `y[c · m + j] = b[c · m + j] + w[c · m + j] ⋆ x[c]`: `channels` channels, `m` outputs of each.
pub(crate) fn forward<T: Element>(
    p: &Patches,
    [channels, m]: [usize; 2],
    x: &[T],
    w: &[T],
    b: Option<&[T]>,
    finish: Option<Finish<'_, T>>,
) -> Vec<T> {
    Sweep { scheme: &Scheme::forward(p), channels, sources: 1, outputs: m, x, w, b, finish }.run()
}

/// `dx[c] = b[c] + Σ` over the outputs of `c` of `w ⋆ᵀ dy`.
pub(crate) fn input_gradient<T: Element>(
    p: &Patches,
    [channels, m]: [usize; 2],
    dy: &[T],
    w: &[T],
    b: Option<&[T]>,
) -> Vec<T> {
    Sweep { scheme: &Scheme::backward(p), channels, sources: m, outputs: 1, x: dy, w, b, finish: None }.run()
}

/// Of each channel of each image, a sum over its source planes for each of its output planes; one of the two is one.
struct Sweep<'a, T> {
    scheme: &'a Scheme,
    channels: usize,
    sources: usize,
    outputs: usize,
    x: &'a [T],
    w: &'a [T],
    b: Option<&'a [T]>,
    finish: Option<Finish<'a, T>>,
}

impl<T: Element> Sweep<'_, T> {
    /// Whether outputs can be written where they belong as they are made.
    fn is_direct(&self) -> bool {
        self.sources == 1 && self.scheme.spread == [1, 1]
    }

    fn run(&self) -> Vec<T> {
        let Scheme { input, output: [h, width], spread, .. } = *self.scheme;
        let images = self.x.len() / (input[0] * input[1] * self.sources * self.channels);
        let (plane, total) = (h * width, images * self.channels * self.outputs * h * width);
        let turns = h.div_ceil(spread[0]);
        let rows = self.scheme.rows(NEAR).min(turns);
        // Whole planes, several at once if they are small; or bands of one.
        let (part, chunk) = if rows == turns {
            let part = (NEAR / plane).max(1) * plane;
            (part, part * (TASK / part).max(1))
        } else {
            (rows * spread[0] * width, plane)
        };
        by_chunks(total, chunk, total * self.scheme.taps(), |task, blank| {
            let mut room = Room::new(self, rows, part);
            blank.fill_parts(part, |n, blank| {
                let first = task * chunk + n * part;
                let place = Place { plane: first / plane, row: first % plane / width, len: blank.len() };
                Arch::new().dispatch(Part { sweep: self, place, room: &mut room });
                let out = &mut room.out[..place.len];
                if let Some(finish) = self.finish {
                    for (n, y) in out.chunks_mut(plane).enumerate() {
                        finish((place.plane + n) % (self.channels * self.outputs), y);
                    }
                }
                blank.map(out, |y| y);
            });
        })
    }
}

/// What a task works in.
struct Room<T> {
    /// Source lines with their zeros.
    lines: Vec<T>,
    /// The weights of a phase.
    w: Vec<T>,
    /// A phase of the outputs after the other.
    phases: Vec<T>,
    /// Outputs, and room for a strip that reaches beyond the last.
    out: Vec<T>,
}

impl<T: Element> Room<T> {
    fn new(sweep: &Sweep<'_, T>, rows: usize, part: usize) -> Self {
        let scheme = sweep.scheme;
        let phases = if sweep.is_direct() { 0 } else { scheme.spread[1] * rows * scheme.turns() };
        Self {
            lines: scheme.layout.room(scheme.lines(rows) + scheme.step),
            w: Vec::with_capacity(scheme.taps()),
            phases: vec![T::ZERO; phases + strips::REACH],
            out: vec![T::ZERO; part + strips::REACH],
        }
    }
}

/// A run of outputs: whole planes, or rows of one.
#[derive(Clone, Copy)]
struct Place {
    plane: usize,
    row: usize,
    len: usize,
}

/// What is made at once: in `room.out`, the outputs of a place.
struct Part<'a, 'b, T> {
    sweep: &'a Sweep<'b, T>,
    place: Place,
    room: &'a mut Room<T>,
}

impl<T: Element> WithSimd for Part<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sweep { scheme, channels, sources, outputs, x, w, b, .. } = *self.sweep;
        let ([h, width], [source_h, source_width], taps) = (scheme.output, scheme.input, scheme.taps());
        let whole = self.place.len.min(h * width);
        let (first, rows) = (self.place.row / scheme.spread[0], (whole / width).div_ceil(scheme.spread[0]));
        for n in 0..self.place.len / whole {
            let plane = self.place.plane + n;
            let (group, output) = (plane / outputs, plane % outputs);
            let kernel = group % channels * outputs * sources + output;
            for source in 0..sources {
                let x = &x[(group * sources + source) * source_h * source_width..];
                let lines = &mut self.room.lines;
                scheme.layout.fill(
                    x,
                    scheme.input,
                    first * scheme.step..first * scheme.step + scheme.lines(rows),
                    lines,
                );
                let bias = if source == 0 {
                    b.map_or(T::ZERO, |b| b[plane % (channels * outputs)])
                } else {
                    T::ZERO
                };
                let w = &w[(kernel + source) * taps..(kernel + source + 1) * taps];
                let sums = Sums { sweep: self.sweep, w, bias, rows, again: source > 0 };
                sums.compute(simd, self.room, n * whole, whole);
            }
        }
    }
}

/// One source's part of some output rows.
struct Sums<'a, 'b, T> {
    sweep: &'a Sweep<'b, T>,
    w: &'a [T],
    bias: T,
    rows: usize,
    /// Whether it comes on top of another source's.
    again: bool,
}

impl<T: Element> Sums<'_, '_, T> {
    #[inline(always)]
    fn compute<S: Simd>(&self, simd: S, room: &mut Room<T>, start: usize, len: usize) {
        let Scheme { output: [_, width], spread, ref phases, .. } = *self.sweep.scheme;
        let Room { lines, w, phases: woven, out } = room;
        let out = &mut out[start..];
        if self.sweep.is_direct() {
            self.strip(simd, &phases[0][0], lines, w, out, width);
            return;
        }
        let turns = self.sweep.scheme.turns();
        for (q, columns) in phases.iter().enumerate() {
            for (n, phase) in columns.iter().enumerate() {
                self.strip(simd, phase, lines, w, &mut woven[n * self.rows * turns..], turns);
            }
            for (row, out) in out[..len].chunks_exact_mut(width).skip(q).step_by(spread[0]).enumerate() {
                weave(
                    #[inline(always)]
                    |n| &woven[(n * self.rows + row) * turns..][..turns],
                    spread[1],
                    out,
                    self.again,
                );
            }
        }
    }

    #[inline(always)]
    fn strip<S: Simd>(
        &self,
        simd: S,
        phase: &Phase,
        lines: &[T],
        w: &mut Vec<T>,
        out: &mut [T],
        width: usize,
    ) {
        w.clear();
        w.extend(phase.weights.iter().map(|&i| self.w[i]));
        let Scheme { ref layout, step, .. } = *self.sweep.scheme;
        let size = [self.rows, width];
        Strip { x: lines, line: layout.line(), phase, step, w, bias: self.bias, size }.run(simd, out);
    }
}

#[cfg(test)]
mod tests;
