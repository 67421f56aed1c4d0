//! Convolution straight from the padded image: no patches are copied.
//!
//! With the lines of the padded image end to end, `pitch` apart, what tap `(c, kh, kw)` sees for consecutive outputs is
//! consecutive too: a matrix product whose right factor has overlapping rows. The outputs between the end of a line and
//! the start of the next are computed and thrown away. A stride takes every so many lines and columns apart into images
//! of their own (phases), in which it is a stride of 1.
//!
//! Source: the register blocking of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication", with
//! shifted views in place of the packed right factor as in Zhang et al. 2018, arXiv:1809.10170.
#![allow(unsafe_code)]

use std::array::from_fn;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::patches::Patches;
use crate::ops::window::Window;

/// Outputs of a tile: a multiple of what any instruction set computes at once.
const BLOCK: usize = 64;
/// Rows of a tile: with four vectors a row and the four they are multiplied with, 28 of 32 registers.
const ROWS: usize = 6;
/// Numbers of the image a tile works on that stay in the first-level cache beside the weights.
const NEAR: usize = 6 * 1024;

/// Whether the outputs thrown away are few, and the patches not copied many.
pub(crate) fn suits(p: &Patches) -> bool {
    let plain = p.taps() == 1 && p.windows.iter().all(|w| w.stride == 1);
    !plain && 2 * p.output[1] > pitch(p)
}

/// Steps of the stride that a window reaches beyond its first pixel.
fn reach(w: &Window) -> usize {
    (w.span() - 1) / w.stride
}

/// From the start of a padded line of a phase to the start of the next.
pub(crate) fn pitch(p: &Patches) -> usize {
    p.output[1] + reach(&p.windows[1])
}

/// Phases along an axis that a tap can fall on.
fn phases(w: &Window) -> usize {
    w.stride.min(w.span())
}

/// Where the taps of some output rows fall on padded images.
struct Layout<'a> {
    p: &'a Patches,
    rows: usize,
    images: usize,
    /// Of each tap `(c, kh, kw)`: what it sees for the first output.
    offsets: Vec<usize>,
    /// Elements of one phase of one channel of one image.
    plane: usize,
    /// Outputs from the first to the last, those between lines and images included.
    outputs: usize,
    /// `data[len..]` exists only because tiles are computed whole.
    len: usize,
}

impl<'a> Layout<'a> {
    /// For `rows` output rows of images of so many channels, one image below the other.
    fn new(p: &'a Patches, rows: usize, [channels, images]: [usize; 2]) -> Self {
        let ([vertical, horizontal], pitch) = (&p.windows, pitch(p));
        let plane = (rows + reach(vertical)) * pitch;
        let phases = [phases(vertical), phases(horizontal)];
        let place = |tap: usize, w: &Window| (tap * w.dilation % w.stride, tap * w.dilation / w.stride);
        let mut offsets = Vec::with_capacity(channels * p.taps());
        for channel in 0..channels {
            for (row, line) in (0..vertical.kernel).map(|tap| place(tap, vertical)) {
                for (column, first) in (0..horizontal.kernel).map(|tap| place(tap, horizontal)) {
                    let phase = (channel * phases[0] + row) * phases[1] + column;
                    offsets.push(phase * images * plane + line * pitch + first);
                }
            }
        }
        let outputs = (images - 1) * plane + (rows - 1) * pitch + p.output[1];
        let len = channels * phases[0] * phases[1] * images * plane;
        Self { p, rows, images, offsets, plane, outputs, len }
    }

    /// Outputs in whole tiles.
    fn columns(&self) -> usize {
        self.outputs.next_multiple_of(BLOCK)
    }

    /// Where the outputs of a line of an image begin.
    fn line(&self, image: usize, line: usize) -> usize {
        image * self.plane + line * pitch(self.p)
    }

    /// The padded images, channel by channel, phase by phase, image by image.
    fn pad(&self, xs: &[&[f32]], first_row: usize) -> Vec<f32> {
        let (p, [vertical, horizontal]) = (self.p, &self.p.windows);
        let (w, pitch, phases) = (p.input[1], pitch(p), [phases(vertical), phases(horizontal)]);
        let mut data = vec![0.0; self.len + BLOCK];
        for (n, padded) in data[..self.len].chunks_exact_mut(self.plane).enumerate() {
            let (n, image) = (n / self.images, n % self.images);
            let (channel, phase) = (n / (phases[0] * phases[1]), [n / phases[1] % phases[0], n % phases[1]]);
            let x = &xs[image][channel * p.plane()..(channel + 1) * p.plane()];
            for (line, padded) in padded.chunks_exact_mut(pitch).enumerate() {
                let below = (first_row + line) * vertical.stride + phase[0];
                if let Some(y) = below.checked_sub(vertical.padding[0]).filter(|&y| y < p.input[0]) {
                    copy_phase(&x[y * w..(y + 1) * w], padded, horizontal, phase[1]);
                }
            }
        }
        assert!(
            self.offsets.iter().all(|tap| tap + self.columns() <= data.len()),
            "direct: a tap beyond its image"
        );
        data
    }
}

/// `padded[i] = x[i · stride + phase − padding]`, where `x` has such a pixel.
fn copy_phase(x: &[f32], padded: &mut [f32], w: &Window, phase: usize) {
    let first = w.padding[0].saturating_sub(phase).div_ceil(w.stride);
    let Some(padded) = padded.get_mut(first..) else { return };
    let Some(x) = x.get(first * w.stride + phase - w.padding[0]..) else { return };
    match w.stride {
        1 => {
            let seen = x.len().min(padded.len());
            padded[..seen].copy_from_slice(&x[..seen]);
        }
        stride => padded.iter_mut().zip(x.iter().step_by(stride)).for_each(|(padded, &x)| *padded = x),
    }
}

/// `y = w ⋆ x` for some output rows of one image, in tiles: row `o` holds the outputs `pitch` apart, then up to
/// [`BLOCK`] without meaning. `w` is row-major `[o, c · kh · kw]`.
pub(crate) fn forward(p: &Patches, x: &[f32], w: &[f32], rows: Range<usize>) -> Vec<f32> {
    let layout = Layout::new(p, rows.len(), [x.len() / p.plane(), 1]);
    let data = layout.pad(&[x], rows.start);
    let (depth, columns) = (layout.offsets.len(), layout.columns());
    let o = w.len() / depth;
    assert_eq!(w.len(), o * depth, "direct: a weight for each tap");
    let mut tiles = vec![0.0; o * columns];
    let seen = (p.windows[0].kernel * BLOCK.max(p.windows[1].kernel)).min(layout.plane) + BLOCK;
    let near = (NEAR / seen).max(1) * p.taps();
    Arch::new().dispatch(Forward { x: &data, taps: &layout.offsets, w, tiles: &mut tiles, columns, near });
    tiles
}

struct Forward<'a> {
    x: &'a [f32],
    taps: &'a [usize],
    w: &'a [f32],
    tiles: &'a mut [f32],
    columns: usize,
    /// Taps of the channels that fit into the first-level cache together.
    near: usize,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 4>(simd) } else { self.run::<S, 2>(simd) }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let depth = self.taps.len();
        let o = self.w.len() / depth;
        for (n, taps) in self.taps.chunks(self.near).enumerate() {
            for first in (0..self.columns).step_by(V * S::F32_LANES) {
                let x = self.x[first..].as_ptr();
                for row in (0..o).step_by(ROWS) {
                    let w = Rows { first: self.w[row * depth + n * self.near..].as_ptr(), step: depth };
                    let y = &mut self.tiles[row * self.columns + first..];
                    let y = Rows { first: y.as_mut_ptr(), step: self.columns };
                    // SAFETY: `Layout::pad` has checked that every tap may be read for `columns` outputs, `forward` that the
                    // weights have `depth` taps a row; a tile takes no more rows than weights and outputs have
                    // left, and its columns end with `columns`, a multiple of its width.
                    unsafe {
                        match o - row {
                            1 => tile::<S, 1, V>(simd, x, taps, w, y),
                            2 => tile::<S, 2, V>(simd, x, taps, w, y),
                            3 => tile::<S, 3, V>(simd, x, taps, w, y),
                            4 => tile::<S, 4, V>(simd, x, taps, w, y),
                            5 => tile::<S, 5, V>(simd, x, taps, w, y),
                            _ => tile::<S, ROWS, V>(simd, x, taps, w, y),
                        }
                    }
                }
            }
        }
    }
}

/// Rows `step` elements apart.
#[derive(Clone, Copy)]
struct Rows<P> {
    first: P,
    step: usize,
}

/// Adds `Σ w[r, t] · x[taps[t] + v]` to `R` rows of `V` vectors.
///
/// # Safety
/// `x` can be read for `V` vectors at every tap, `w` at `taps.len()` numbers in each of `R` rows, `y` read and written
/// for `V` vectors in each of `R` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    x: *const f32,
    taps: &[usize],
    w: Rows<*const f32>,
    y: Rows<*mut f32>,
) {
    // SAFETY: all reads and writes are those the caller promises.
    unsafe {
        let y: [[*mut S::f32s; V]; R] =
            from_fn(|r| from_fn(|v| y.first.add(r * y.step + v * S::F32_LANES).cast()));
        let w: [*const f32; R] = from_fn(|r| w.first.add(r * w.step));
        let mut sums: [[S::f32s; V]; R] = from_fn(|r| from_fn(|v| y[r][v].read_unaligned()));
        for (t, &tap) in taps.iter().enumerate() {
            let x: [S::f32s; V] =
                from_fn(|v| x.add(tap + v * S::F32_LANES).cast::<S::f32s>().read_unaligned());
            for r in 0..R {
                let w = simd.splat_f32s(*w[r].add(t));
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(w, x[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                y[r][v].write_unaligned(sums[r][v]);
            }
        }
    }
}

/// Outputs whose gradient is laid out at once: a row of it stays in the first-level cache, and is long enough to
/// make little of the sum over vectors at its end.
const LONG: usize = 1024;

/// `dw[o, t] += Σ dy[o] · x[t]` over whole images; `dw` is row-major `[o, c · kh · kw]`.
pub(crate) fn add_weight_gradient(p: &Patches, xs: &[&[f32]], dys: &[&[f32]], dw: &mut [f32]) {
    let Some(channels) = xs.first().map(|x| x.len() / p.plane()) else { return };
    let (o, h_out) = (dys[0].len() / p.positions(), p.output[0]);
    let rows = (LONG / pitch(p)).clamp(1, h_out);
    // Small images below each other, large ones in bands.
    let together =
        if rows == h_out { (LONG / ((h_out + reach(&p.windows[0])) * pitch(p))).max(1) } else { 1 };
    let mut layout = Layout::new(p, rows, [channels, together]);
    for (xs, dys) in xs.chunks(together).zip(dys.chunks(together)) {
        for top in (0..h_out).step_by(rows) {
            let now = rows.min(h_out - top);
            if (layout.rows, layout.images) != (now, xs.len()) {
                layout = Layout::new(p, now, [channels, xs.len()]);
            }
            let (x, dy, columns) = (layout.pad(xs, top), layout.spread(dys, o, top), layout.columns());
            assert_eq!(dw.len(), o * layout.offsets.len(), "direct: a gradient for each weight");
            Arch::new().dispatch(WeightGradient { x: &x, taps: &layout.offsets, dy: &dy, columns, dw });
        }
    }
}

impl Layout<'_> {
    /// Output gradients where the outputs are, with zeros between, so that what the images hold there does not count.
    fn spread(&self, dys: &[&[f32]], o: usize, first_row: usize) -> Vec<f32> {
        let (columns, w_out, positions) = (self.columns(), self.p.output[1], self.p.positions());
        let mut spread = vec![0.0; o * columns];
        for (channel, spread) in spread.chunks_exact_mut(columns).enumerate() {
            for (image, dy) in dys.iter().enumerate() {
                let dy = &dy[channel * positions + first_row * w_out..][..self.rows * w_out];
                for (line, dy) in dy.chunks_exact(w_out).enumerate() {
                    spread[self.line(image, line)..][..w_out].copy_from_slice(dy);
                }
            }
        }
        spread
    }
}

struct WeightGradient<'a> {
    x: &'a [f32],
    taps: &'a [usize],
    dy: &'a [f32],
    columns: usize,
    dw: &'a mut [f32],
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 4>(simd) } else { self.run::<S, 2>(simd) }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize>(self, simd: S) {
        let depth = self.taps.len();
        let x = self.x.as_ptr();
        for (block, dw) in self.dw.chunks_mut(ROWS * depth).enumerate() {
            let dy = Rows { first: self.dy[block * ROWS * self.columns..].as_ptr(), step: self.columns };
            for (n, taps) in self.taps.chunks(T).enumerate() {
                let mut sums = [[0.0; T]; ROWS];
                // SAFETY: `Layout::pad` has checked that every tap may be read for `columns` outputs; `dy` has
                // `columns` numbers, a multiple of a vector, in as many rows as `dw` has here.
                unsafe {
                    match dw.len() / depth {
                        1 => dots::<S, 1, T>(simd, x, taps, dy, &mut sums),
                        2 => dots::<S, 2, T>(simd, x, taps, dy, &mut sums),
                        3 => dots::<S, 3, T>(simd, x, taps, dy, &mut sums),
                        4 => dots::<S, 4, T>(simd, x, taps, dy, &mut sums),
                        5 => dots::<S, 5, T>(simd, x, taps, dy, &mut sums),
                        _ => dots::<S, ROWS, T>(simd, x, taps, dy, &mut sums),
                    }
                }
                for (dw, sums) in dw.chunks_exact_mut(depth).zip(&sums) {
                    dw[n * T..].iter_mut().zip(&sums[..taps.len()]).for_each(|(dw, &sum)| *dw += sum);
                }
            }
        }
    }
}

/// `sums[r][t] = Σ dy[r] · x[taps[t]]` over the columns; taps that are missing are those of the first.
///
/// # Safety
/// `x` can be read for `dy.step` numbers at every tap, `dy` for as many in each of `R` rows, both a multiple of a vector.
#[inline(always)]
unsafe fn dots<S: Simd, const R: usize, const T: usize>(
    simd: S,
    x: *const f32,
    taps: &[usize],
    dy: Rows<*const f32>,
    out: &mut [[f32; T]; ROWS],
) {
    // SAFETY: all reads are those the caller promises.
    unsafe {
        let x: [*const f32; T] = from_fn(|t| x.add(*taps.get(t).unwrap_or(&taps[0])));
        let d: [*const f32; R] = from_fn(|r| dy.first.add(r * dy.step));
        let mut sums = [[simd.splat_f32s(0.0); T]; R];
        for p in (0..dy.step).step_by(S::F32_LANES) {
            let x: [S::f32s; T] = from_fn(|t| x[t].add(p).cast::<S::f32s>().read_unaligned());
            for r in 0..R {
                let d = d[r].add(p).cast::<S::f32s>().read_unaligned();
                for t in 0..T {
                    sums[r][t] = simd.mul_add_e_f32s(d, x[t], sums[r][t]);
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                out[r][t] = simd.reduce_sum_f32s(sums[r][t]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Rounding;
    use crate::ops::window::Window;

    /// Every instruction set of this processor against the definition of the sum.
    #[test]
    fn all_instruction_sets_agree() {
        let window = Window { kernel: 3, stride: 1, dilation: 2, padding: [2, 1], rounding: Rounding::Floor };
        let p = Patches { input: [9, 11], windows: [window; 2], output: [8, 10] };
        let mut draws = crate::Random::new(3).draws();
        let mut numbers = |n: usize| (0..n).map(|_| draws.normal() as f32).collect::<Vec<_>>();
        let (x, w) = (numbers(2 * 99), numbers(8 * 18));
        let layout = Layout::new(&p, 8, [2, 1]);
        let (padded, columns) = (layout.pad(&[&x], 0), layout.columns());
        let mut expected = vec![0.0; 8 * columns];
        for (o, row) in expected.chunks_exact_mut(columns).enumerate() {
            for (i, y) in row.iter_mut().enumerate() {
                let terms =
                    layout.offsets.iter().zip(&w[o * 18..]).map(|(t, w)| f64::from(w * padded[t + i]));
                *y = terms.sum::<f64>() as f32;
            }
        }
        let close = |y: &[f32], what: &str| {
            assert!(y.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{what} differs");
        };
        let run = |f: &dyn Fn(Forward<'_>)| {
            let mut tiles = vec![0.0; 8 * columns];
            f(Forward { x: &padded, taps: &layout.offsets, w: &w, tiles: &mut tiles, columns, near: 9 });
            tiles
        };
        close(&run(&|f| f.with_simd(pulp::Scalar)), "scalar");
        close(&run(&|f| Arch::new().dispatch(f)), "the best");
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            close(&run(&|f| pulp::Simd::vectorize(v3, f)), "AVX2");
        }
    }
}
