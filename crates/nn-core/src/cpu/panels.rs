//! Products of few rows with one matrix, again and again: the matrix is laid out once, in the order it is read.
//!
//! A general product arranges both factors anew at each call, which costs more than a few rows are worth. Here the right
//! factor lies in panels of [`WIDTH`] columns, each with its row of biases on top.
//!
//! Source: the register blocking of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#![allow(unsafe_code)]

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use super::Element;
use super::columns::turn;
use super::gemm::Mat;
use super::parallel::for_each_chunk;
use super::simd::vectorised;

/// Columns of a panel: a multiple of what any instruction set computes at once.
const WIDTH: usize = 32;

/// Vectors a tile takes from a panel at once.
const VECTORS: usize = 2;

/// A matrix `[k, n]` and a row of `n` biases, to multiply rows with.
pub(crate) struct Panels<T> {
    /// Panel by panel: the biases, then `k` rows of `WIDTH` numbers, zeros after the last column.
    data: Vec<T>,
    k: usize,
    n: usize,
}

impl<T: Element> Panels<T> {
    /// For `y = a · w`.
    pub(crate) fn new(w: Mat<T>) -> Self {
        let (k, n) = (w.rows, w.cols);
        let mut data = vec![T::ZERO; n.div_ceil(WIDTH) * (k + 1) * WIDTH];
        for_each_chunk(&mut data, (k + 1) * WIDTH, k * n, |p, panel| {
            let (panel, columns) = (&mut panel[WIDTH..], p * WIDTH..n.min((p + 1) * WIDTH));
            if w.row == 1 {
                let from = &w.data[columns.start * w.col..];
                return vectorised(
                    #[inline(always)]
                    || turn(from, [columns.len(), k], w.col, panel, WIDTH),
                );
            }
            for (i, row) in panel.chunks_exact_mut(WIDTH).enumerate() {
                for (x, j) in row.iter_mut().zip(columns.clone()) {
                    *x = w.data[i * w.row + j * w.col];
                }
            }
        });
        Self { data, k, n }
    }

    /// For `y = b + a · w`.
    pub(crate) fn with_bias(mut self, b: &[T]) -> Self {
        assert_eq!(b.len(), self.n, "panels: a bias for each column");
        for (panel, b) in self.data.chunks_exact_mut((self.k + 1) * WIDTH).zip(b.chunks(WIDTH)) {
            panel[..b.len()].copy_from_slice(b);
        }
        self
    }

    /// Row-major `y = b + a · w`; a row's numbers do not depend on which rows are with it.
    pub(crate) fn product(&self, a: &[T], y: &mut [T]) {
        self.run(a, y, Start::Bias);
    }

    /// Row-major `y += a · w`.
    pub(crate) fn add_product(&self, a: &[T], y: &mut [T]) {
        self.run(a, y, Start::Sum);
    }

    fn run(&self, a: &[T], y: &mut [T], start: Start) {
        let rows = y.len() / self.n.max(1);
        assert!(y.len() == rows * self.n && a.len() == rows * self.k, "panels: rows of another length");
        Arch::new().dispatch(Product { panels: self, a, y, rows, start });
    }
}

/// What the sums begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Bias,
    /// The numbers there.
    Sum,
}

struct Product<'a, T> {
    panels: &'a Panels<T>,
    a: &'a [T],
    y: &'a mut [T],
    rows: usize,
    start: Start,
}

impl<T: Element> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // As many sums as registers can hold: of eight rows, or of fewer rows in several panels.
        let most = if S::REGISTER_COUNT >= 32 { 8 } else { 4 };
        let groups = self.rows.div_ceil(most).max(1);
        let (rows, more) = (self.rows / groups, self.rows % groups);
        let side_by_side = (most / self.rows.div_ceil(groups).next_power_of_two()).clamp(1, 4);
        let count = self.panels.n.div_ceil(WIDTH);
        let whole = self.panels.n / WIDTH;
        let mut panel = 0;
        while panel < count {
            let width = if panel + side_by_side <= whole { side_by_side } else { 1 };
            let mut first = 0;
            for group in 0..groups {
                let rows = rows + usize::from(group < more);
                match width {
                    4 => self.few::<S, 4>(simd, [first, rows], panel),
                    2 => self.few::<S, 2>(simd, [first, rows], panel),
                    _ => self.many(simd, [first, rows], panel),
                }
                first += rows;
            }
            panel += width;
        }
    }
}

impl<T: Element> Product<'_, T> {
    #[inline(always)]
    fn few<S: Simd, const P: usize>(&mut self, simd: S, [first, rows]: [usize; 2], panel: usize) {
        match rows {
            0 => {}
            1 => self.tiles::<S, 1, P>(simd, first, panel),
            2 => self.tiles::<S, 2, P>(simd, first, panel),
            3 => self.tiles::<S, 3, P>(simd, first, panel),
            _ => self.tiles::<S, 4, P>(simd, first, panel),
        }
    }

    #[inline(always)]
    fn many<S: Simd>(&mut self, simd: S, [first, rows]: [usize; 2], panel: usize) {
        match rows {
            5 => self.tiles::<S, 5, 1>(simd, first, panel),
            6 => self.tiles::<S, 6, 1>(simd, first, panel),
            7 => self.tiles::<S, 7, 1>(simd, first, panel),
            8 => self.tiles::<S, 8, 1>(simd, first, panel),
            _ => self.few::<S, 1>(simd, [first, rows], panel),
        }
    }

    /// `R` rows of `P` panels, [`VECTORS`] at a time.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const P: usize>(&mut self, simd: S, first: usize, panel: usize) {
        let Panels { data, k, n } = self.panels;
        let (k, n, start) = (*k, *n, self.start);
        let a = &self.a[first * k..(first + R) * k];
        let y = &mut self.y[first * n..(first + R) * n];
        let w: [&[T]; P] = from_fn(|p| &data[(panel + p) * (k + 1) * WIDTH..][..(k + 1) * WIDTH]);
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        let last = n - panel * WIDTH;
        if last >= P * WIDTH {
            for column in (0..WIDTH).step_by(VECTORS * lanes) {
                let y = &mut y[panel * WIDTH + column..];
                // SAFETY: `a` has `R` rows of `k`; the panels are whole, and `column` one of their multiples of a tile's
                // width; `y` has `R` rows, `n` apart, with `P` whole panels from `panel` on.
                unsafe {
                    tile::<S, T, R, P>(simd, a, w.map(|w| w[column..].as_ptr()), y.as_mut_ptr(), n, start)
                };
            }
            return;
        }
        // The last panel has zeros after its columns, `y` has not.
        let mut rows = [[T::ZERO; WIDTH]; R];
        for (row, y) in rows.iter_mut().zip(y.chunks_exact(n)) {
            row[..last].copy_from_slice(&y[panel * WIDTH..]);
        }
        for column in (0..WIDTH).step_by(VECTORS * lanes) {
            let y = &mut rows.as_flattened_mut()[column..];
            // SAFETY: as above, with rows `WIDTH` apart; `P` is 1, since several panels are taken only if they are whole.
            unsafe {
                tile::<S, T, R, P>(simd, a, w.map(|w| w[column..].as_ptr()), y.as_mut_ptr(), WIDTH, start)
            };
        }
        for (row, y) in rows.iter().zip(y.chunks_exact_mut(n)) {
            y[panel * WIDTH..].copy_from_slice(&row[..last]);
        }
    }
}

/// `y[r, p] = start + Σ a[r, i] · w[p][i]` for `R` rows and [`VECTORS`] vectors of each of `P` panels.
///
/// # Safety
/// Each of `w` can be read for [`VECTORS`] vectors in `1 + a.len() / R` rows, [`WIDTH`] apart; `y` read and written for as
/// many at every [`WIDTH`] in `R` rows, `step` apart.
#[inline(always)]
unsafe fn tile<S: Simd, T: Element, const R: usize, const P: usize>(
    simd: S,
    a: &[T],
    w: [*const T; P],
    y: *mut T,
    step: usize,
    start: Start,
) {
    let (k, lanes) = (a.len() / R, size_of::<T::Vector<S>>() / size_of::<T>());
    // SAFETY: all reads and writes are those the caller promises.
    unsafe {
        let read = |w: *const T| -> [T::Vector<S>; VECTORS] {
            from_fn(|v| w.add(v * lanes).cast::<T::Vector<S>>().read_unaligned())
        };
        let place = |r: usize, p: usize| y.add(r * step + p * WIDTH);
        let mut sums: [[[T::Vector<S>; VECTORS]; P]; R] = match start {
            Start::Bias => [w.map(read); R],
            Start::Sum => from_fn(|r| from_fn(|p| read(place(r, p).cast_const()))),
        };
        let a: [*const T; R] = from_fn(|r| a.as_ptr().add(r * k));
        for i in 0..k {
            let x: [[T::Vector<S>; VECTORS]; P] = from_fn(|p| read(w[p].add((i + 1) * WIDTH)));
            for r in 0..R {
                let a = T::splat(simd, *a[r].add(i));
                for p in 0..P {
                    for v in 0..VECTORS {
                        sums[r][p][v] = T::multiply_add(simd, a, x[p][v], sums[r][p][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                for v in 0..VECTORS {
                    place(r, p).add(v * lanes).cast::<T::Vector<S>>().write_unaligned(sums[r][p][v]);
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

    /// Demands `b + a · w` and `y + a · w` of `run`, in `f64` and `f32`.
    fn check(
        rows: usize,
        k: usize,
        n: usize,
        run: impl Fn(Product<'_, f64>),
        single: impl Fn(Product<'_, f32>),
    ) {
        let (a, w, b) = (numbers(1, rows * k), numbers(2, k * n), numbers(3, n));
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let panels = Panels::new(Mat::new(&w, k, n)).with_bias(&b);
        let narrow_panels = Panels::new(Mat::new(&narrow(&w), k, n)).with_bias(&narrow(&b));
        for start in [Start::Bias, Start::Sum] {
            let before = numbers(4, rows * n);
            let (mut y, mut z) = (before.clone(), narrow(&before));
            run(Product { panels: &panels, a: &a, y: &mut y, rows, start });
            single(Product { panels: &narrow_panels, a: &narrow(&a), y: &mut z, rows, start });
            for (at, (y, z)) in y.iter().zip(z).enumerate() {
                let (i, j) = (at / n, at % n);
                let first = if start == Start::Bias { b[j] } else { before[at] };
                let truth = (0..k).fold(first, |sum, l| sum + a[i * k + l] * w[l * n + j]);
                assert!((y - truth).abs() < 1e-12, "{rows}×{k}×{n} at {i}, {j}: {y} is not {truth}");
                assert!(
                    (f64::from(z) - truth).abs() < 1e-4,
                    "{rows}×{k}×{n} at {i}, {j}: {z} is not {truth}"
                );
            }
        }
    }

    #[test]
    fn all_instruction_sets_agree_on_any_size() {
        for rows in [0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 21] {
            for (k, n) in [(1, 1), (5, 31), (3, 32), (4, 33), (7, 128), (2, 165), (0, 3)] {
                check(rows, k, n, |p| Arch::new().dispatch(p), |p| Arch::new().dispatch(p));
                check(rows, k, n, |p| p.with_simd(pulp::Scalar), |p| p.with_simd(pulp::Scalar));
                #[cfg(target_arch = "x86_64")]
                if let Some(v3) = pulp::x86::V3::try_new() {
                    check(rows, k, n, |p| Simd::vectorize(v3, p), |p| Simd::vectorize(v3, p));
                }
            }
        }
    }

    #[test]
    fn transposes_are_laid_out_as_they_are() {
        let w = numbers(1, 6);
        let a = [1.0, 10.0];
        let mut y = [0.0; 3];
        Panels::new(Mat::new(&w, 3, 2).t()).product(&a, &mut y);
        assert_eq!(y, [0, 1, 2].map(|j| 10.0f64.mul_add(w[2 * j + 1], w[2 * j])));
    }
}
