//! Convolution as a matrix product: patches of an image laid out as columns, and back (im2col, col2im).

use std::ops::Range;

use super::Element;
use super::gemm::Mat;
use super::simd::vectorised;
use crate::ops::window::Window;

/// Where the taps of a kernel fall on an image: row `(channel, kh, kw)`, column `(output row, output column)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches {
    /// Height and width of the image.
    pub(crate) input: [usize; 2],
    /// The windows along height and width.
    pub(crate) windows: [Window; 2],
    /// How many there are.
    pub(crate) output: [usize; 2],
}

impl Patches {
    /// The windows as [`crate::graph`] has them.
    pub(crate) fn sliding(&self, groups: usize) -> crate::graph::Taps {
        crate::ops::window::sliding(self.windows, self.input, self.output, groups)
    }

    /// Taps of the kernel on one channel.
    pub(crate) fn taps(&self) -> usize {
        self.windows[0].kernel * self.windows[1].kernel
    }

    /// Pixels of one input plane.
    pub(crate) fn plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Pixels of one output plane.
    pub(crate) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Whether the columns are the image itself: 1×1, stride 1, no padding, all pixels.
    pub(crate) fn are_pixels(&self) -> bool {
        let plain = |w: &Window| w.kernel == 1 && w.stride == 1 && w.padding == [0, 0];
        self.input == self.output && self.windows.iter().all(plain)
    }

    /// Whether every output sees one pixel, and none sees the padding.
    pub(crate) fn are_picked(&self) -> bool {
        self.windows.iter().all(|w| w.kernel == 1 && w.padding == [0, 0])
    }

    /// Copies the pixels of a plane that [are picked](Self::are_picked).
    pub(crate) fn pick<T: Element>(&self, plane: &[T], to: &mut [T]) {
        let [down, across] = self.windows.map(|w| w.stride);
        if self.are_pixels() {
            return to.copy_from_slice(plane);
        }
        let lines = plane.chunks_exact(self.input[1]).step_by(down);
        for (to, line) in to.chunks_exact_mut(self.output[1]).zip(lines) {
            to.iter_mut().zip(line.iter().step_by(across)).for_each(|(to, &x)| *to = x);
        }
    }

    /// Writes numbers to the pixels of a plane that [are picked](Self::are_picked).
    pub(crate) fn put<T: Element>(&self, from: &[T], plane: &mut [T]) {
        let [down, across] = self.windows.map(|w| w.stride);
        let lines = plane.chunks_exact_mut(self.input[1]).step_by(down);
        for (from, line) in from.chunks_exact(self.output[1]).zip(lines) {
            line.iter_mut().step_by(across).zip(from).for_each(|(x, &from)| *x = from);
        }
    }

    /// The columns of some output rows as a matrix; `buffer` holds them unless they are the image itself.
    pub(crate) fn columns<'a, T: Element>(
        &self,
        x: &'a [T],
        rows: Range<usize>,
        buffer: &'a mut Vec<T>,
    ) -> Mat<'a, T> {
        let (first, cols) = (rows.start * self.output[1], rows.len() * self.output[1]);
        if self.are_pixels() {
            return Mat { data: &x[first..], rows: x.len() / self.plane(), cols, row: self.plane(), col: 1 };
        }
        buffer.clear();
        vectorised(
            #[inline(always)]
            || self.gather(x, rows, buffer),
        );
        Mat::new(buffer, buffer.len() / cols, cols)
    }

    /// Appends every `(channel, kh, kw)` row for the given output rows.
    #[inline(always)]
    fn gather<T: Element>(&self, x: &[T], rows: Range<usize>, columns: &mut Vec<T>) {
        let wo = self.output[1];
        columns.reserve(x.len() / self.plane() * self.taps() * rows.len() * wo);
        for plane in x.chunks_exact(self.plane()) {
            for kh in 0..self.windows[0].kernel {
                for kw in 0..self.windows[1].kernel {
                    let inside = self.inside(1, kw);
                    for row in rows.clone() {
                        let Some(line) = self.line(row, kh) else {
                            columns.resize(columns.len() + wo, T::ZERO);
                            continue;
                        };
                        columns.resize(columns.len() + inside.start, T::ZERO);
                        let line = &plane[line..line + self.input[1]];
                        let first = self.pixel(1, inside.start, kw);
                        match self.windows[1].stride {
                            1 => columns.extend_from_slice(&line[first..first + inside.len()]),
                            s => columns.extend((0..inside.len()).map(|i| line[first + i * s])),
                        }
                        columns.resize(columns.len() + wo - inside.end, T::ZERO);
                    }
                }
            }
        }
    }

    /// Adds columns for the given output rows back to the pixels they came from: the adjoint of [`Self::columns`].
    pub(crate) fn scatter_add<T: Element>(&self, columns: &[T], rows: Range<usize>, dx: &mut [T]) {
        vectorised(
            #[inline(always)]
            || self.scatter(columns, rows, dx),
        );
    }

    #[inline(always)]
    fn scatter<T: Element>(&self, columns: &[T], rows: Range<usize>, dx: &mut [T]) {
        let mut columns = columns.chunks_exact(self.output[1]);
        for plane in dx.chunks_exact_mut(self.plane()) {
            for kh in 0..self.windows[0].kernel {
                for kw in 0..self.windows[1].kernel {
                    let inside = self.inside(1, kw);
                    for (row, column) in rows.clone().zip(&mut columns) {
                        let Some(line) = self.line(row, kh) else { continue };
                        let first = line + self.pixel(1, inside.start, kw);
                        let (dx, column) = (&mut plane[first..line + self.input[1]], &column[inside.clone()]);
                        match self.windows[1].stride {
                            1 => dx.iter_mut().zip(column).for_each(|(dx, &d)| *dx += d),
                            s => dx.iter_mut().step_by(s).zip(column).for_each(|(dx, &d)| *dx += d),
                        }
                    }
                }
            }
        }
    }

    /// Where in a plane the input line under tap `kh` of output row `row` starts; `None` in the padding.
    #[inline(always)]
    fn line(&self, row: usize, kh: usize) -> Option<usize> {
        self.inside(0, kh).contains(&row).then(|| self.pixel(0, row, kh) * self.input[1])
    }

    /// The windows along an axis whose tap `k` sees a pixel; empty if none does.
    #[inline(always)]
    fn inside(&self, axis: usize, k: usize) -> Range<usize> {
        let (w, count) = (&self.windows[axis], self.output[axis]);
        let (offset, before) = (k * w.dilation, w.padding[0]);
        let first = before.saturating_sub(offset).div_ceil(w.stride);
        let end = (self.input[axis] + before).saturating_sub(offset).div_ceil(w.stride).min(count);
        if first < end { first..end } else { 0..0 }
    }

    /// The pixel under tap `k` of window `o`; meaningless (but no panic) where the tap sees none.
    #[inline(always)]
    fn pixel(&self, axis: usize, o: usize, k: usize) -> usize {
        let w = &self.windows[axis];
        (o * w.stride + k * w.dilation).saturating_sub(w.padding[0]).min(self.input[axis])
    }
}
