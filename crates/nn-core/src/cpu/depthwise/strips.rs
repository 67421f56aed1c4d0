//! A kernel going down a strip of lines, a vector or a few wide.
#![allow(unsafe_code)]

use std::array::from_fn;

use pulp::Simd;

use super::super::Element;
use super::layout::Phase;

/// Numbers that may be read and written beyond what counts: a strip of four 512-bit vectors.
pub(super) const REACH: usize = 64;

/// One kernel on laid-out lines.
pub(super) struct Strip<'a, T> {
    pub(super) x: &'a [T],
    /// From a line to the next.
    pub(super) line: usize,
    pub(super) phase: &'a Phase,
    /// Lines from an output row to the next.
    pub(super) step: usize,
    /// A weight for each tap of the phase.
    pub(super) w: &'a [T],
    pub(super) bias: T,
    /// Rows and columns of outputs.
    pub(super) size: [usize; 2],
}

impl<T: Element> Strip<'_, T> {
    /// Writes the outputs, row by row; up to [`REACH`] numbers after the last lose their value.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, y: &mut [T]) {
        let Self { phase, step, size: [rows, width], .. } = *self;
        // The rolling sums read up to a step of lines beyond the last that counts.
        let last_line = phase.lines.last().map_or(0, |line| line + rows * step);
        let last = last_line * self.line + phase.columns.iter().max().unwrap_or(&0) + width + REACH;
        assert!(last <= self.x.len(), "depthwise: a strip beyond its lines");
        assert!(rows * width + REACH <= y.len(), "depthwise: a strip beyond its outputs");
        assert_eq!(self.w.len(), phase.lines.len() * phase.columns.len(), "depthwise: a weight for each tap");
        // SAFETY: what the kernels read and write was checked above.
        unsafe {
            match (phase.is_dense(), phase.lines.len(), phase.columns.len(), step) {
                (true, 3, 3, 1) => self.dense::<S, 3, 3, 1, 3>(simd, y),
                (true, 3, 3, 2) => self.dense::<S, 3, 3, 2, 2>(simd, y),
                (true, 5, 5, 1) => self.dense::<S, 5, 5, 1, 5>(simd, y),
                (true, 5, 5, 2) => self.dense::<S, 5, 5, 2, 3>(simd, y),
                (true, 2, 2, 1) => self.dense::<S, 2, 2, 1, 2>(simd, y),
                (true, 1, 2, 1) => self.dense::<S, 1, 2, 1, 1>(simd, y),
                (true, 2, 1, 1) => self.dense::<S, 2, 1, 1, 2>(simd, y),
                (true, 1, 1, 1) => self.dense::<S, 1, 1, 1, 1>(simd, y),
                (true, 1, 3, 1) => self.dense::<S, 1, 3, 1, 1>(simd, y),
                _ => self.any(simd, y),
            }
        }
    }

    /// Where strips of up to four vectors start, and how many vectors each has. A strip that ends where its line does
    /// may overlap the one before; a single one may reach beyond the line, into what is written after it.
    #[inline(always)]
    fn strips(&self, lanes: usize, mut f: impl FnMut(usize, usize)) {
        let width = self.size[1];
        if width <= 4 * lanes {
            return f(0, width.div_ceil(lanes));
        }
        for start in (0..width).step_by(4 * lanes) {
            f(start.min(width - 4 * lanes), 4);
        }
    }

    /// `KH` rows of taps on consecutive lines, `STEP` lines from an output to the next, `A` outputs under way at once.
    ///
    /// # Safety
    /// Lines and outputs are those that [`Self::run`] has checked.
    #[inline(always)]
    unsafe fn dense<S: Simd, const KH: usize, const KW: usize, const STEP: usize, const A: usize>(
        &self,
        simd: S,
        y: &mut [T],
    ) {
        self.strips(
            lanes::<T, S>(),
            #[inline(always)]
            |start, vectors| {
                let y = &mut y[start..];
                // SAFETY: a strip ends with its line, or at most `REACH` beyond it.
                unsafe {
                    match vectors {
                        1 => self.roll::<S, KH, KW, STEP, A, 1>(simd, start, y.as_mut_ptr()),
                        2 => self.roll::<S, KH, KW, STEP, A, 2>(simd, start, y.as_mut_ptr()),
                        _ => self.roll::<S, KH, KW, STEP, A, 4>(simd, start, y.as_mut_ptr()),
                    }
                }
            },
        );
    }

    /// Each line that is loaded serves every output that is under way.
    ///
    /// # Safety
    /// `start` and `V` vectors are a strip of lines and outputs that [`Self::run`] has checked.
    #[inline(always)]
    unsafe fn roll<
        S: Simd,
        const KH: usize,
        const KW: usize,
        const STEP: usize,
        const A: usize,
        const V: usize,
    >(
        &self,
        simd: S,
        start: usize,
        y: *mut T,
    ) {
        const { assert!(KH.div_ceil(STEP) == A) };
        let (lanes, [rows, width]) = (lanes::<T, S>(), self.size);
        let mut w = [[T::splat(simd, T::ZERO); KW]; KH];
        for (i, row) in w.iter_mut().enumerate() {
            for (j, w) in row.iter_mut().enumerate() {
                *w = T::splat(simd, self.w[i * KW + j]);
            }
        }
        let columns: [usize; KW] = from_fn(|j| self.phase.columns[j]);
        let bias = [T::splat(simd, self.bias); V];
        let mut sums = [bias; A];
        // SAFETY: the caller's promise; the last line read is `A · STEP` lines after the last row's first, which is no more
        // than a step beyond its last.
        unsafe {
            let x = self.x.as_ptr().add(self.phase.lines[0] * self.line + start);
            for i in 0..rows + A - 1 {
                for s in 0..STEP {
                    let x = x.add((i * STEP + s) * self.line);
                    for j in 0..KW {
                        for v in 0..V {
                            let x = x.add(columns[j] + v * lanes).cast::<T::Vector<S>>().read_unaligned();
                            for a in 0..A {
                                if a * STEP + s < KH {
                                    sums[a][v] = T::multiply_add(simd, w[a * STEP + s][j], x, sums[a][v]);
                                }
                            }
                        }
                    }
                }
                if i + 1 >= A {
                    for v in 0..V {
                        y.add((i + 1 - A) * width + v * lanes)
                            .cast::<T::Vector<S>>()
                            .write_unaligned(sums[A - 1][v]);
                    }
                }
                for a in (1..A).rev() {
                    sums[a] = sums[a - 1];
                }
                sums[0] = bias;
            }
        }
    }

    /// Taps wherever they are.
    ///
    /// # Safety
    /// Lines and outputs are those that [`Self::run`] has checked.
    #[inline(always)]
    unsafe fn any<S: Simd>(&self, simd: S, y: &mut [T]) {
        let [rows, width] = self.size;
        for row in 0..rows {
            self.strips(
                lanes::<T, S>(),
                #[inline(always)]
                |start, vectors| {
                    let (x, y) =
                        (&self.x[row * self.step * self.line + start..], &mut y[row * width + start..]);
                    // SAFETY: a strip ends with its line, or at most `REACH` beyond it.
                    unsafe {
                        match vectors {
                            1 => self.row::<S, 1>(simd, x.as_ptr(), y.as_mut_ptr()),
                            2 => self.row::<S, 2>(simd, x.as_ptr(), y.as_mut_ptr()),
                            _ => self.row::<S, 4>(simd, x.as_ptr(), y.as_mut_ptr()),
                        }
                    }
                },
            );
        }
    }

    /// # Safety
    /// Every tap can be read for `V` vectors from `x` on, `y` written for as many.
    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(&self, simd: S, x: *const T, y: *mut T) {
        let lanes = lanes::<T, S>();
        let mut sums = [T::splat(simd, self.bias); V];
        for (&line, w) in self.phase.lines.iter().zip(self.w.chunks_exact(self.phase.columns.len().max(1))) {
            for (&column, &w) in self.phase.columns.iter().zip(w) {
                let w = T::splat(simd, w);
                for v in 0..V {
                    // SAFETY: the caller's promise.
                    let x = unsafe {
                        x.add(line * self.line + column + v * lanes).cast::<T::Vector<S>>().read_unaligned()
                    };
                    sums[v] = T::multiply_add(simd, w, x, sums[v]);
                }
            }
        }
        for v in 0..V {
            // SAFETY: the caller's promise.
            unsafe { y.add(v * lanes).cast::<T::Vector<S>>().write_unaligned(sums[v]) };
        }
    }
}

/// Sums of products of the lines of an image and those of its output's gradient, a tap at a time, in vectors.
pub(super) struct Products<'a, T> {
    pub(super) x: &'a [T],
    /// From a line of the image to the next.
    pub(super) line: usize,
    pub(super) phase: &'a Phase,
    pub(super) step: usize,
    /// Rows of whole vectors, zeros after their end.
    pub(super) dy: &'a [T],
    /// Rows, and the numbers of each.
    pub(super) size: [usize; 2],
}

impl<T: Element> Products<'_, T> {
    /// Adds to the `REACH / 4` lanes that `sums` has for each tap.
    #[inline(always)]
    pub(super) fn add<S: Simd>(&self, simd: S, sums: &mut [T]) {
        let Self { phase, step, size: [rows, width], .. } = *self;
        let last_line = phase.lines.last().map_or(0, |line| line + rows * step);
        let last = last_line * self.line + phase.columns.iter().max().unwrap_or(&0) + width;
        assert!(last <= self.x.len(), "depthwise: a strip beyond its lines");
        assert!(
            rows * width <= self.dy.len() && width.is_multiple_of(LANES),
            "depthwise: too short a gradient"
        );
        assert_eq!(sums.len(), phase.weights.len() * LANES, "depthwise: lanes for each tap");
        for start in (0..width).step_by(lanes::<T, S>()) {
            // SAFETY: what the kernels read was checked above; lanes are at most `LANES`.
            unsafe {
                match (phase.is_dense(), phase.lines.len(), phase.columns.len(), step) {
                    (true, 3, 3, 1) => self.roll::<S, 3, 3, 1, 3>(simd, start, sums),
                    (true, 3, 3, 2) => self.roll::<S, 3, 3, 2, 2>(simd, start, sums),
                    (true, 5, 5, 1) => self.roll::<S, 5, 5, 1, 5>(simd, start, sums),
                    (true, 5, 5, 2) => self.roll::<S, 5, 5, 2, 3>(simd, start, sums),
                    _ => self.any(simd, start, sums),
                }
            }
        }
    }

    /// # Safety
    /// A vector from `start` on lies in every line and row that [`Self::add`] has checked.
    #[inline(always)]
    unsafe fn roll<S: Simd, const KH: usize, const KW: usize, const STEP: usize, const A: usize>(
        &self,
        simd: S,
        start: usize,
        totals: &mut [T],
    ) {
        const { assert!(KH.div_ceil(STEP) == A) };
        let [rows, width] = self.size;
        let columns: [usize; KW] = from_fn(|j| self.phase.columns[j]);
        let zero = T::splat(simd, T::ZERO);
        let total = totals.as_mut_ptr();
        // SAFETY: the caller's promise; each tap has `LANES` totals, no fewer than a vector's.
        unsafe {
            let mut sums = [[zero; KW]; KH];
            for i in 0..KH {
                for j in 0..KW {
                    sums[i][j] = total.add((i * KW + j) * LANES).cast::<T::Vector<S>>().read_unaligned();
                }
            }
            let mut dy = [zero; A];
            let x = self.x.as_ptr().add(self.phase.lines[0] * self.line + start);
            for i in 0..rows + A - 1 {
                for a in (1..A).rev() {
                    dy[a] = dy[a - 1];
                }
                dy[0] = if i < rows {
                    self.dy.as_ptr().add(i * width + start).cast::<T::Vector<S>>().read_unaligned()
                } else {
                    zero
                };
                for s in 0..STEP {
                    let x = x.add((i * STEP + s) * self.line);
                    for j in 0..KW {
                        let x = x.add(columns[j]).cast::<T::Vector<S>>().read_unaligned();
                        for a in 0..A {
                            if a * STEP + s < KH {
                                let sum = &mut sums[a * STEP + s][j];
                                *sum = T::multiply_add(simd, dy[a], x, *sum);
                            }
                        }
                    }
                }
            }
            for i in 0..KH {
                for j in 0..KW {
                    total.add((i * KW + j) * LANES).cast::<T::Vector<S>>().write_unaligned(sums[i][j]);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::roll`].
    #[inline(always)]
    unsafe fn any<S: Simd>(&self, simd: S, start: usize, totals: &mut [T]) {
        let [rows, width] = self.size;
        let mut totals = totals.chunks_exact_mut(LANES);
        for &line in &self.phase.lines {
            for (&column, total) in self.phase.columns.iter().zip(&mut totals) {
                let total = total.as_mut_ptr().cast::<T::Vector<S>>();
                // SAFETY: the caller's promise.
                unsafe {
                    let mut sum = total.read_unaligned();
                    for row in 0..rows {
                        let x = self.x.as_ptr().add((line + row * self.step) * self.line + column + start);
                        let dy = self.dy.as_ptr().add(row * width + start);
                        let (x, dy) = (x.cast::<T::Vector<S>>(), dy.cast::<T::Vector<S>>());
                        sum = T::multiply_add(simd, dy.read_unaligned(), x.read_unaligned(), sum);
                    }
                    total.write_unaligned(sum);
                }
            }
        }
    }
}

/// As many as the widest vectors of `f32` have.
pub(super) const LANES: usize = REACH / 4;

/// Numbers of a vector.
#[inline(always)]
fn lanes<T: Element, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}
