//! Products of matrices that lie in the cache already, and are therefore read where they are: nothing is rearranged.
//!
//! The left factor is read one number at a time, in either orientation; the right one in vectors along its rows.
//!
//! Source: the register blocking of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#![allow(unsafe_code)]

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use super::Element;
use super::gemm::Mat;

/// The columns of a right factor are a multiple of this: of what any instruction set computes at once.
pub(crate) const LANES: usize = 16;

/// What a product does with the numbers that are there before it.
#[derive(Clone, Copy)]
pub(crate) enum Onto<'a, T> {
    /// They are overwritten.
    Nothing,
    /// It is added to them.
    Sum,
    /// It is added to them once row `i` was multiplied by the `i`th factor.
    Scaled(&'a [T]),
}

/// Row-major `c = a · b`, or on top of what `c` holds.
pub(crate) fn product<T: Element>(c: &mut [T], a: Mat<T>, b: Mat<T>, onto: Onto<T>) {
    assert!(a.fits() && b.fits(), "tiles: a matrix reaches beyond its slice");
    assert!(
        a.cols == b.rows && b.col == 1 && b.cols.is_multiple_of(LANES),
        "tiles: the right factor does not suit"
    );
    assert_eq!(c.len(), a.rows * b.cols, "tiles: the product has another size");
    if let Onto::Scaled(factors) = onto {
        assert!(factors.len() >= a.rows, "tiles: a factor for each row");
    }
    Arch::new().dispatch(Product { c, a, b, onto });
}

struct Product<'a, T> {
    c: &'a mut [T],
    a: Mat<'a, T>,
    b: Mat<'a, T>,
    onto: Onto<'a, T>,
}

impl<T: Element> WithSimd for Product<'_, T> {
    type Output = ();

    /// As many sums as there are registers for beside the factors; a row of them needs several vectors, or the numbers of
    /// the left factor are read too often.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let vectors = self.b.cols * size_of::<T>() / size_of::<T::Vector<S>>();
        let mut first = 0;
        while first < vectors {
            let left = vectors - first;
            first += if S::REGISTER_COUNT < 32 {
                match left {
                    1 => self.columns::<S, 8, 1>(simd, first),
                    _ => self.columns::<S, 6, 2>(simd, first),
                }
            } else {
                match left {
                    1 => self.columns::<S, 12, 1>(simd, first),
                    2 => self.columns::<S, 12, 2>(simd, first),
                    3 | 5 => self.columns::<S, 8, 3>(simd, first),
                    _ => self.columns::<S, 6, 4>(simd, first),
                }
            };
        }
    }
}

impl<T: Element> Product<'_, T> {
    /// All rows of the `V` vectors of columns from the one numbered `first` on, `R` rows at a time; gives `V`.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize) -> usize {
        let mut row = 0;
        while row < self.a.rows {
            // SAFETY: no more rows than are left; `with_simd` asks for no more columns than there are.
            row += unsafe {
                match self.a.rows - row {
                    left if left >= R => self.tile::<S, R, V>(simd, row, first),
                    4.. => self.tile::<S, 4, V>(simd, row, first),
                    2.. => self.tile::<S, 2, V>(simd, row, first),
                    _ => self.tile::<S, 1, V>(simd, row, first),
                }
            };
        }
        V
    }

    /// `R` rows from `row` on of `V` vectors of columns from the one numbered `first` on; gives `R`.
    ///
    /// # Safety
    /// The product has these rows and columns.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        row: usize,
        first: usize,
    ) -> usize {
        let Self { a, b, .. } = *self;
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        // SAFETY: `product` has checked that the factors lie inside their slices and that `c` has a number for each row of
        // `a` and column of `b`; rows and columns are the caller's promise.
        unsafe {
            let c: [[*mut T::Vector<S>; V]; R] = from_fn(|r| {
                let c = self.c.as_mut_ptr().add((row + r) * b.cols + first * lanes);
                from_fn(|v| c.add(v * lanes).cast())
            });
            let zero = T::splat(simd, T::ZERO);
            let mut sums = [[zero; V]; R];
            match self.onto {
                Onto::Nothing => {}
                Onto::Sum => sums = c.map(|c| c.map(|c| c.read_unaligned())),
                Onto::Scaled(factors) => {
                    for r in 0..R {
                        let factor = T::splat(simd, factors[row + r]);
                        sums[r] = c[r].map(|c| T::multiply_add(simd, factor, c.read_unaligned(), zero));
                    }
                }
            }
            let left = a.data.as_ptr().add(row * a.row);
            let right = b.data.as_ptr().add(first * lanes);
            for k in 0..a.cols {
                let (left, right) = (left.add(k * a.col), right.add(k * b.row));
                let right: [T::Vector<S>; V] =
                    from_fn(|v| right.add(v * lanes).cast::<T::Vector<S>>().read_unaligned());
                for r in 0..R {
                    let left = T::splat(simd, *left.add(r * a.row));
                    for v in 0..V {
                        sums[r][v] = T::multiply_add(simd, left, right[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    c[r][v].write_unaligned(sums[r][v]);
                }
            }
        }
        R
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f(what, product)` for every instruction set of this processor.
    fn on_each<T: Element>(f: impl Fn(&str, &dyn Fn(Product<'_, T>))) {
        f("scalar", &|p| p.with_simd(pulp::Scalar));
        f("the best", &|p| Arch::new().dispatch(p));
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            f("AVX2", &|p| pulp::Simd::vectorize(v3, p));
        }
    }

    fn all_agree<T: Element>(tolerance: f64) {
        let mut draws = crate::Random::new(3).draws();
        let mut numbers = |n: usize| (0..n).map(|_| T::of(draws.normal())).collect::<Vec<_>>();
        for (m, k, n) in [(1, 1, 1), (5, 3, 2), (13, 7, 3), (25, 2, 4), (7, 65, 5), (15, 0, 1), (0, 3, 1)] {
            let n = n * LANES;
            let (a, b, c) = (numbers(m * k), numbers(k * (n + 3) + n), numbers(m * n));
            let b = Mat { data: &b, rows: k, cols: n, row: n + 3, col: 1 };
            for a in [Mat::new(&a, m, k), Mat::new(&a, k, m).t()] {
                for (onto, before) in
                    [(Onto::Nothing, 0.0), (Onto::Sum, 1.0), (Onto::Scaled(&vec![T::of(2.0); m]), 2.0)]
                {
                    on_each(|what: &str, run: &dyn Fn(Product<'_, T>)| {
                        let mut made = c.clone();
                        run(Product { c: &mut made, a, b, onto });
                        for (i, &y) in made.iter().enumerate() {
                            let at = |x: &Mat<T>, i: usize, j: usize| x.data[i * x.row + j * x.col].to_f64();
                            let terms = (0..k).map(|p| at(&a, i / n, p) * at(&b, p, i % n));
                            let truth =
                                terms.sum::<f64>() + if before > 0.0 { before * c[i].to_f64() } else { 0.0 };
                            assert!(
                                (y.to_f64() - truth).abs() < tolerance,
                                "{what}, {m}×{k}×{n}: {y} is not {truth}"
                            );
                        }
                    });
                }
            }
        }
    }

    #[test]
    fn all_instruction_sets_agree() {
        all_agree::<f32>(3e-5);
        all_agree::<f64>(1e-12);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_factor_that_is_too_short_is_a_bug() {
        let b = [0.0f32; 2 * LANES];
        product(&mut [0.0; LANES], Mat::new(&[0.0; 3], 1, 3), Mat::new(&b, 3, LANES), Onto::Nothing);
    }
}
