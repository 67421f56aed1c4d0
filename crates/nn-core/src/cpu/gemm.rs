//! Matrix products on slices, over the `gemm` crate.
#![allow(unsafe_code)]

use super::Element;

/// A matrix inside a slice: element `(i, j)` is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row: cols, col: 1 }
    }

    /// The transpose, without moving a number.
    pub(crate) fn t(self) -> Self {
        Self { data: self.data, rows: self.cols, cols: self.rows, row: self.col, col: self.row }
    }

    fn fits(&self) -> bool {
        last_index(self.rows, self.cols, self.row, self.col).is_none_or(|i| i < self.data.len())
    }
}

/// The largest index an `[rows, cols]` matrix touches; `None` if it is empty.
fn last_index(rows: usize, cols: usize, row: usize, col: usize) -> Option<usize> {
    (rows > 0 && cols > 0).then(|| (rows - 1) * row + (cols - 1) * col)
}

/// What happens to the numbers that were there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Overwrite,
    Add,
}

/// `dst = a · b` or `dst += a · b`, row-major, with `row` elements from one row of `dst` to the next; one thread.
///
/// Each element is summed in the order of the inner dimension, so how a product is cut into rows and columns for
/// several threads does not change it.
pub(crate) fn gemm<T: Element>(dst: &mut [T], row: usize, a: Mat<T>, b: Mat<T>, write: Write) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(a.cols, b.rows, "gemm: inner dimensions differ");
    assert!(a.fits() && b.fits(), "gemm: a matrix reaches beyond its slice");
    assert!(row >= n, "gemm: rows of dst overlap");
    assert!(last_index(m, n, row, 1).is_none_or(|i| i < dst.len()), "gemm: dst is too short");
    if m == 0 || n == 0 {
        return;
    }
    let alpha = if write == Write::Add { T::ONE } else { T::ZERO };
    // SAFETY: all three matrices lie inside their slices (asserted above), `dst` is borrowed mutably and so
    // overlaps neither `a` nor `b`, and `Overwrite` reads nothing of `dst`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            row as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            alpha,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_orientations() {
        // [[1, 2, 3], [4, 5, 6]] · [[1, 0], [2, 1], [0, 3]] = [[5, 11], [14, 23]]
        let (a, b) = ([1f64, 2.0, 3.0, 4.0, 5.0, 6.0], [1f64, 0.0, 2.0, 1.0, 0.0, 3.0]);
        let (at, bt) = ([1f64, 4.0, 2.0, 5.0, 3.0, 6.0], [1f64, 2.0, 0.0, 0.0, 1.0, 3.0]);
        for a in [Mat::new(&a, 2, 3), Mat::new(&at, 3, 2).t()] {
            for b in [Mat::new(&b, 3, 2), Mat::new(&bt, 2, 3).t()] {
                let mut y = [9.0; 6];
                gemm(&mut y, 3, a, b, Write::Overwrite);
                assert_eq!(y, [5.0, 11.0, 9.0, 14.0, 23.0, 9.0]);
                gemm(&mut y, 3, a, b, Write::Add);
                assert_eq!(y, [10.0, 22.0, 9.0, 28.0, 46.0, 9.0]);
            }
        }
    }

    #[test]
    fn an_empty_inner_dimension_writes_zeros() {
        let mut y = [7f32; 4];
        gemm(&mut y, 2, Mat::new(&[], 2, 0), Mat::new(&[], 0, 2), Write::Overwrite);
        assert_eq!(y, [0.0; 4]);
    }
}
