//! Products whose right factor is laid out once while the left one is read where it lies, whichever way round.
//!
//! A general product lays out both. Where the right factor has few columns, the layout of a large left factor is much of the
//! work, and each thread that computes some of the columns does it again.
//!
//! Source: the register blocking of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".

use super::Element;
use super::gemm::Mat;
use super::parallel::for_each_chunk;
use super::simd::vectorised;
use super::tiles::{LANES, Onto, product};

/// Rows of the right factor that are worked on at once: with some hundred columns they stay in the second-level cache.
const DEPTH: usize = 384;
/// Rows and columns that are turned around at once.
const BLOCK: usize = 16;
/// Multiply-adds that take as long as one of the elementary operations that `for_each_chunk` counts.
const AT_ONCE: usize = 16;

/// A matrix `[depth, count]`, its rows filled up with zeros to whole vectors.
pub(crate) struct Columns<T> {
    data: Vec<T>,
    width: usize,
}

impl<T: Element> Columns<T> {
    /// The transpose of row-major `[count, depth]`.
    pub(crate) fn of_rows(x: &[T], depth: usize) -> Self {
        let rows = x.len() / depth.max(1);
        let width = rows.next_multiple_of(LANES);
        let mut data = vec![T::ZERO; depth * width];
        for_each_chunk(&mut data, 4 * BLOCK * width, x.len(), |n, data| {
            let first = 4 * BLOCK * n;
            vectorised(
                #[inline(always)]
                || turn(&x[first..], [rows, data.len() / width], depth, data, width),
            );
        });
        Self { data, width }
    }

    /// Planes `[images, depth, plane]` of which `pick` copies the columns of one: those of an image beside those of another.
    pub(crate) fn of_planes(
        x: &[T],
        [images, depth]: [usize; 2],
        count: usize,
        pick: impl Fn(&[T], &mut [T]) + Sync + Send,
    ) -> Self {
        let width = (images * count).next_multiple_of(LANES);
        let plane = x.len() / (images * depth).max(1);
        let mut data = vec![T::ZERO; depth * width];
        for_each_chunk(&mut data, BLOCK * width, x.len(), |n, data| {
            for (row, data) in data.chunks_exact_mut(width).enumerate() {
                for (image, data) in data[..images * count].chunks_exact_mut(count).enumerate() {
                    pick(&x[(image * depth + BLOCK * n + row) * plane..][..plane], data);
                }
            }
        });
        Self { data, width }
    }

    /// Numbers of a row of a product with these columns; those after the last column are zeros.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Row-major `a · self`.
    pub(crate) fn times(&self, a: Mat<T>) -> Vec<T> {
        let mut y = vec![T::ZERO; a.rows * self.width];
        self.add_times(a, &mut y);
        y
    }

    /// Adds row-major `a · self` to `y`.
    pub(crate) fn add_times(&self, a: Mat<T>, y: &mut [T]) {
        let (depth, width) = (a.cols, self.width);
        assert_eq!(depth * width, self.data.len(), "columns: inner dimensions differ");
        for first in (0..depth).step_by(DEPTH) {
            let rows = DEPTH.min(depth - first);
            let left = Mat { data: &a.data[first * a.col..], cols: rows, ..a };
            let right = Mat::new(&self.data[first * width..(first + rows) * width], rows, width);
            product(y, left, right, Onto::Sum);
        }
    }
}

/// What so many multiply-adds of such products count where work is shared out.
pub(crate) fn work(multiply_adds: usize) -> usize {
    multiply_adds / AT_ONCE
}

/// `to[j · width + i] = from[i · step + j]` for `i` below the first size and `j` below the second.
#[inline(always)]
pub(crate) fn turn<T: Element>(
    from: &[T],
    [rows, columns]: [usize; 2],
    step: usize,
    to: &mut [T],
    width: usize,
) {
    for i in (0..rows).step_by(BLOCK) {
        for j in (0..columns).step_by(BLOCK) {
            let mut block = [[T::ZERO; BLOCK]; BLOCK];
            let (height, length) = (BLOCK.min(rows - i), BLOCK.min(columns - j));
            for (r, block) in block.iter_mut().enumerate().take(height) {
                let from = &from[(i + r) * step + j..];
                match from.first_chunk() {
                    Some(from) if length == BLOCK => *block = *from,
                    _ => block[..length].copy_from_slice(&from[..length]),
                }
            }
            for c in 0..length {
                let to = &mut to[(j + c) * width + i..];
                match to.first_chunk_mut::<BLOCK>() {
                    Some(to) if height == BLOCK => *to = std::array::from_fn(|r| block[r][c]),
                    _ => (0..height).for_each(|r| to[r] = block[r][c]),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut draws = crate::Random::new(seed).draws();
        (0..n).map(|_| draws.normal()).collect()
    }

    fn check(columns: &Columns<f64>, a: Mat<f64>, right: impl Fn(usize, usize) -> f64, count: usize) {
        let y = columns.times(a);
        assert_eq!(y.len(), a.rows * columns.width());
        for (at, y) in y.iter().enumerate() {
            let (i, j) = (at / columns.width(), at % columns.width());
            let left = |k: usize| a.data[i * a.row + k * a.col];
            let truth: f64 = if j < count { (0..a.cols).map(|k| left(k) * right(k, j)).sum() } else { 0.0 };
            assert!((y - truth).abs() < 1e-10, "at {i}, {j}: {y} is not {truth}");
        }
    }

    #[test]
    fn products_with_rows_and_with_planes_are_the_sums_they_stand_for() {
        for (m, k, n) in [(1, 1, 1), (5, 3, 17), (13, 70, 16), (7, 2 * DEPTH + 3, 35), (25, 40, 100)] {
            let (w, x) = (numbers(1, m * k), numbers(2, n * k));
            for w in [Mat::new(&w, m, k), Mat::new(&w, k, m).t()] {
                check(&Columns::of_rows(&x, k), w, |i, j| x[j * k + i], n);
                let planes = Columns::of_planes(&x, [1, k], n, |from, to| to.copy_from_slice(from));
                check(&planes, w, |i, j| x[i * n + j], n);
            }
        }
    }

    #[test]
    fn images_lie_side_by_side_and_may_be_seen_in_part() {
        let (images, k, plane) = (3, 18, 10);
        let (x, w) = (numbers(1, images * k * plane), numbers(2, 4 * k));
        let every_other = |from: &[f64], to: &mut [f64]| {
            to.iter_mut().zip(from.iter().step_by(2)).for_each(|(y, x)| *y = *x)
        };
        let columns = Columns::of_planes(&x, [images, k], 5, every_other);
        let at = |i: usize, j: usize| x[(j / 5 * k + i) * plane + j % 5 * 2];
        check(&columns, Mat::new(&w, 4, k), at, images * 5);
    }

    #[test]
    fn nothing_by_nothing_is_nothing() {
        assert!(Columns::of_rows(&[0.0f32; 0], 3).times(Mat::new(&[1.0; 6], 2, 3)).is_empty());
        assert!(Columns::of_rows(&[1.0f32; 6], 3).times(Mat::new(&[], 0, 3)).is_empty());
    }
}
