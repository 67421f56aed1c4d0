//! Matrices made by several threads at once, each filling bands of columns that are its own.
#![allow(unsafe_code)]

use gemm::Parallelism;
use rayon::prelude::*;

use super::Element;
use super::gemm::{Mat, Start, WORTH_THREADS, raw};

/// Makes `count` row-major `[rows, cols]` matrices, end to end, by handing out their bands of `band` columns.
///
/// `f(matrix, first column, columns)` fills a band; bands run on several threads if `work`, the multiply-adds in
/// all, is worth it. How matrices are cut depends on their size alone, never on the threads.
pub(crate) fn by_bands<T: Element>(
    [count, rows, cols]: [usize; 3],
    band: usize,
    work: usize,
    f: impl Fn(usize, usize, Empty<T>) -> Filled<T> + Sync,
) -> Vec<T> {
    let band = band.clamp(1, cols.max(1));
    let per_matrix = cols.div_ceil(band);
    let mut out: Vec<T> = Vec::with_capacity(count * rows * cols);
    let start = Shared(out.as_mut_ptr());
    let task = |i: usize| {
        let (matrix, first) = (i / per_matrix, i % per_matrix * band);
        // SAFETY: inside the vector's capacity: `matrix < count` and `first < cols`.
        let dst = unsafe { start.get().add(matrix * rows * cols + first) };
        f(matrix, first, Empty { dst, rows, cols: band.min(cols - first), row: cols });
    };
    let tasks = if rows == 0 { 0 } else { count * per_matrix };
    if work < WORTH_THREADS || tasks < 2 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
    }
    // SAFETY: the bands cover every column of every matrix, and `f` can only return by filling its band.
    unsafe { out.set_len(count * rows * cols) };
    out
}

/// A pointer that threads may share because each writes its own columns.
pub(super) struct Shared<T>(pub(super) *mut T);
// SAFETY: `by_bands` gives every task columns of its own.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

/// Columns of a matrix that hold nothing yet and belong to one task alone.
pub(crate) struct Empty<T> {
    dst: *mut T,
    rows: usize,
    cols: usize,
    row: usize,
}

/// Columns of a matrix that hold numbers.
pub(crate) struct Filled<T>(Empty<T>);

impl<T: Element> Empty<T> {
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Fills the band with `a · b`.
    pub(crate) fn product(self, a: Mat<T>, b: Mat<T>) -> Filled<T> {
        self.check(a, b);
        // SAFETY: the band is writable and this task's alone (`by_bands`), and has the product's size.
        unsafe { raw(self.dst, self.row, a, b, Start::Empty, Parallelism::None) };
        Filled(self)
    }

    /// Fills row `i` of the band with `values[i]`.
    pub(crate) fn rows(self, values: &[T]) -> Filled<T> {
        assert_eq!(values.len(), self.rows, "bands: one value a row");
        for (i, &value) in values.iter().enumerate() {
            for j in 0..self.cols {
                // SAFETY: `i < rows` and `j < cols` of a band that is this task's alone.
                unsafe { self.dst.add(i * self.row + j).write(value) };
            }
        }
        Filled(self)
    }

    /// Fills row `i` with the lines of `tile`'s row `i`, plus `b[i]`: from one line to the next in `tile` it is `pitch`
    /// elements, of which the first `width` count.
    pub(crate) fn lines(self, tile: &[T], [width, pitch]: [usize; 2], b: Option<&[T]>) -> Filled<T> {
        let (lines, tile_row) = (self.cols / width.max(1), tile.len() / self.rows.max(1));
        assert_eq!(self.cols, lines * width, "bands: whole lines");
        for i in 0..self.rows {
            let shift = b.map_or(T::ZERO, |b| b[i]);
            for line in 0..lines {
                let from = &tile[i * tile_row + line * pitch..][..width];
                for (j, &x) in from.iter().enumerate() {
                    // SAFETY: `i < rows` and `line · width + j < cols` of a band that is this task's alone.
                    unsafe { self.dst.add(i * self.row + line * width + j).write(x + shift) };
                }
            }
        }
        Filled(self)
    }

    fn check(&self, a: Mat<T>, b: Mat<T>) {
        assert_eq!((self.rows, self.cols), (a.rows, b.cols), "bands: the product has another size");
    }
}

impl<T: Element> Filled<T> {
    /// Adds `a · b`.
    pub(crate) fn add_product(self, a: Mat<T>, b: Mat<T>) -> Self {
        self.0.check(a, b);
        // SAFETY: as in `Empty::product`, and the band has been filled.
        unsafe { raw(self.0.dst, self.0.row, a, b, Start::Sum, Parallelism::None) };
        self
    }

    /// `f(i, row i)` for every row of the band.
    pub(crate) fn for_each_row(self, mut f: impl FnMut(usize, &mut [T])) -> Self {
        let Empty { dst, rows, cols, row } = self.0;
        for i in 0..rows {
            // SAFETY: row `i` of a band that is this task's alone and has been filled.
            f(i, unsafe { std::slice::from_raw_parts_mut(dst.add(i * row), cols) });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::product;
    use super::*;

    #[test]
    fn bands_make_the_whole_product_whatever_their_width() {
        let a: Vec<f64> = (0..6).map(f64::from).collect();
        let b: Vec<f64> = (0..21).map(|i| f64::from(i) - 7.0).collect();
        let whole = product(Mat::new(&a, 2, 3), Mat::new(&b, 3, 7));
        for band in [1, 2, 3, 7, 100] {
            let y = by_bands([1, 2, 7], band, usize::MAX, |_, first, empty| {
                let n = empty.cols();
                let b = Mat { data: &b[first..], rows: 3, cols: n, row: 7, col: 1 };
                empty.rows(&[0.0, 0.0]).add_product(Mat::new(&a, 2, 3), b)
            });
            assert_eq!(y, whole);
        }
    }

    #[test]
    fn lines_leave_out_the_end_of_each() {
        // Two rows of two lines, three elements apart, of which two count.
        let tile = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0, 9.0, 7.0, 8.0, 9.0];
        let y = by_bands([1, 2, 4], 4, 0, |_, _, empty| empty.lines(&tile, [2, 3], Some(&[10.0, 20.0])));
        assert_eq!(y, [11.0, 12.0, 13.0, 14.0, 25.0, 26.0, 27.0, 28.0]);
    }
}
