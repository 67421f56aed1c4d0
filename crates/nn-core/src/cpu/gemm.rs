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

    /// Whether every element is inside the slice.
    pub(super) fn fits(&self) -> bool {
        last_index(self.rows, self.cols, self.row, self.col).is_none_or(|i| i < self.data.len())
    }
}

/// The largest index an `[rows, cols]` matrix touches; `None` if it is empty.
fn last_index(rows: usize, cols: usize, row: usize, col: usize) -> Option<usize> {
    (rows > 0 && cols > 0).then(|| (rows - 1) * row + (cols - 1) * col)
}

/// Products at least this large are worth several threads (the library's own measure, multiply-adds).
pub(super) const WORTH_THREADS: usize = 48 * 48 * 256;

/// `a · b` as a new row-major vector; on several threads if it is large enough.
///
/// Every element is summed over the inner dimension in one order, however rows and columns are cut for threads.
pub(crate) fn product<T: Element>(a: Mat<T>, b: Mat<T>) -> Vec<T> {
    let (m, n) = (a.rows, b.cols);
    let mut y = Vec::with_capacity(m * n);
    // SAFETY: the vector has room for m × n elements, which the product writes without reading them.
    unsafe {
        raw(y.as_mut_ptr(), n, a, b, Start::Empty, threads(m * n * a.cols));
        y.set_len(m * n);
    }
    y
}

/// `dst += a · b` on a row-major `dst`; on several threads if it is large enough.
pub(crate) fn add_product<T: Element>(dst: &mut [T], a: Mat<T>, b: Mat<T>) {
    assert_eq!(dst.len(), a.rows * b.cols, "gemm: dst has another size");
    // SAFETY: `dst` has exactly the product's size and is borrowed mutably, so `a` and `b` do not overlap it.
    unsafe { raw(dst.as_mut_ptr(), b.cols, a, b, Start::Sum, threads(a.rows * b.cols * a.cols)) }
}

fn threads(work: usize) -> gemm::Parallelism {
    if work < WORTH_THREADS { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(0) }
}

/// What the destination holds before the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing that may be read.
    Empty,
    /// Numbers to add to.
    Sum,
}

/// # Safety
/// `dst` points at `a.rows` rows of `b.cols` elements, `row` elements apart, that may be written and that `a`, `b`
/// and other threads do not touch; with [`Start::Sum`] they are initialised.
pub(super) unsafe fn raw<T: Element>(
    dst: *mut T,
    row: usize,
    a: Mat<T>,
    b: Mat<T>,
    start: Start,
    threads: gemm::Parallelism,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(a.cols, b.rows, "gemm: inner dimensions differ");
    assert!(a.fits() && b.fits(), "gemm: a matrix reaches beyond its slice");
    if m == 0 || n == 0 {
        return;
    }
    let alpha = if start == Start::Sum { T::ONE } else { T::ZERO };
    // SAFETY: `a` and `b` lie inside their slices (asserted above), `dst` is the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            row as isize,
            start == Start::Sum,
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
            threads,
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
                let mut y = product(a, b);
                assert_eq!(y, [5.0, 11.0, 14.0, 23.0]);
                add_product(&mut y, a, b);
                assert_eq!(y, [10.0, 22.0, 28.0, 46.0]);
            }
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        assert_eq!(product::<f32>(Mat::new(&[], 2, 0), Mat::new(&[], 0, 2)), [0.0; 4]);
        assert!(product::<f32>(Mat::new(&[], 0, 3), Mat::new(&[0.0; 6], 3, 2)).is_empty());
    }

    #[test]
    fn large_products_do_not_depend_on_the_number_of_threads() {
        let (m, n, k) = (130, 170, 300);
        let mut draws = crate::Random::new(5).draws();
        let mut numbers = |len: usize| (0..len).map(|_| draws.normal() as f32).collect::<Vec<_>>();
        let (a, b) = (numbers(m * k), numbers(k * n));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| product(Mat::new(&a, m, k), Mat::new(&b, k, n)))
        };
        let one = run(1);
        for threads in [2, 3, 5] {
            assert!(one.iter().zip(run(threads)).all(|(x, y)| x.to_bits() == y.to_bits()));
        }
    }
}
