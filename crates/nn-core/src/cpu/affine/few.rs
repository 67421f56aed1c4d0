//! A few rows times the rows of a matrix: `y = x · wᵀ + b`, both factors read along their rows, where they lie.
//!
//! A general product lays out the transpose of `w` first, which for a few rows of `x` takes several times as long as the
//! product. Here numbers of four rows of each factor meet in registers, a vector of them at a time, and are summed across
//! the vector once.
#![allow(unsafe_code)]

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use crate::cpu::Element;
use crate::cpu::blank::by_columns;

/// Rows of `w` that meet one block of rows of `x`, and a task's share of them.
const GROUP: usize = 16;
const TASK: usize = 4 * GROUP;
/// Numbers of a row that are worked on at once: a group's stay in the first-level cache.
const STRETCH: usize = 512;

/// Row-major `y [rows, outputs]` from `x [rows, k]` and `w [outputs, k]`.
pub(super) fn product<T: Element>(x: &[T], w: &[T], k: usize, b: Option<&[T]>) -> Vec<T> {
    let [rows, outputs] = [x, w].map(|m| m.len() / k.max(1));
    by_columns([1, rows, outputs], TASK, rows * outputs * k, |at, y| {
        let width = y.first().map_or(0, |y| y.len());
        let w = &w[at.start * k..][..width * k];
        let mut sums: Vec<T> = match b {
            Some(b) => b[at.start..][..width].repeat(rows),
            None => vec![T::ZERO; rows * width],
        };
        Arch::new().dispatch(AddProduct { x, w, k, y: &mut sums });
        for (y, sums) in y.iter_mut().zip(sums.chunks_exact(width)) {
            y.map(sums, |sum| sum);
        }
    })
}

/// `y += x · wᵀ`
struct AddProduct<'a, T> {
    x: &'a [T],
    w: &'a [T],
    k: usize,
    y: &'a mut [T],
}

impl<T: Element> WithSimd for AddProduct<'_, T> {
    type Output = ();

    /// As many sums as there are registers for beside the factors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT < 32 { self.run::<S, 2>(simd) } else { self.run::<S, 4>(simd) }
    }
}

impl<T: Element> AddProduct<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const R: usize>(mut self, simd: S) {
        let [rows, outputs] = [self.x, self.w].map(|m| m.len() / self.k);
        for stretch in (0..self.k).step_by(STRETCH) {
            let len = STRETCH.min(self.k - stretch);
            for group in (0..outputs).step_by(GROUP) {
                let end = (group + GROUP).min(outputs);
                let mut row = 0;
                while row < rows {
                    let step = if rows - row >= R { R } else { 1 };
                    let mut output = group;
                    while output < end {
                        // SAFETY: no more rows and outputs than are left, and a stretch inside a row.
                        output += unsafe {
                            match (step == R, end - output >= 4) {
                                (true, true) => self.tile::<S, R, 4>(simd, [row, output, stretch], len),
                                (true, false) => self.tile::<S, R, 1>(simd, [row, output, stretch], len),
                                (false, true) => self.tile::<S, 1, 4>(simd, [row, output, stretch], len),
                                (false, false) => self.tile::<S, 1, 1>(simd, [row, output, stretch], len),
                            }
                        };
                    }
                    row += step;
                }
            }
        }
    }

    /// Adds what `len` numbers of `R` rows of `x` and `C` rows of `w` amount to; gives `C`.
    ///
    /// # Safety
    /// Both factors have these rows, and the numbers are inside them.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        simd: S,
        [row, output, first]: [usize; 3],
        len: usize,
    ) -> usize {
        let Self { k, .. } = *self;
        let (lanes, outputs) = (size_of::<T::Vector<S>>() / size_of::<T>(), self.w.len() / k);
        let mut sums = [[T::splat(simd, T::ZERO); C]; R];
        let mut rest = [[T::ZERO; C]; R];
        // SAFETY: rows and numbers are inside the factors by the caller's promise, vectors end before `len`.
        unsafe {
            let x: [*const T; R] = from_fn(|r| self.x.as_ptr().add((row + r) * k + first));
            let w: [*const T; C] = from_fn(|c| self.w.as_ptr().add((output + c) * k + first));
            let whole = len / lanes * lanes;
            for i in (0..whole).step_by(lanes) {
                let w: [T::Vector<S>; C] = w.map(|w| w.add(i).cast::<T::Vector<S>>().read_unaligned());
                for r in 0..R {
                    let x = x[r].add(i).cast::<T::Vector<S>>().read_unaligned();
                    for c in 0..C {
                        sums[r][c] = T::multiply_add(simd, x, w[c], sums[r][c]);
                    }
                }
            }
            for i in whole..len {
                for r in 0..R {
                    for c in 0..C {
                        rest[r][c] = (*x[r].add(i)).mul_add(*w[c].add(i), rest[r][c]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                self.y[(row + r) * outputs + output + c] += T::reduce(simd, sums[r][c]) + rest[r][c];
            }
        }
        C
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<T: Element>(seed: u64, n: usize) -> Vec<T> {
        let mut draws = crate::Random::new(seed).draws();
        (0..n).map(|_| T::of(draws.normal())).collect()
    }

    /// Every instruction set of this processor against sums in double precision.
    fn all_agree<T: Element>(tolerance: f64) {
        for (rows, outputs, k) in [(1, 1, 1), (3, 5, 7), (4, 4, 16), (9, 21, 33), (6, 35, 1100), (2, 3, 512)]
        {
            let (x, w) = (numbers::<T>(1, rows * k), numbers::<T>(2, outputs * k));
            let check = |what: &str, y: &[T]| {
                for (i, y) in y.iter().enumerate() {
                    let (x, w) = (&x[i / outputs * k..][..k], &w[i % outputs * k..][..k]);
                    let truth: f64 = x.iter().zip(w).map(|(x, w)| x.to_f64() * w.to_f64()).sum();
                    let off = (y.to_f64() - truth).abs();
                    assert!(off < tolerance, "{what}, {rows}×{k}→{outputs}: {off} off");
                }
            };
            let run = |f: &dyn Fn(AddProduct<'_, T>)| {
                let mut y = vec![T::ZERO; rows * outputs];
                f(AddProduct { x: &x, w: &w, k, y: &mut y });
                y
            };
            check("scalar", &run(&|p| p.with_simd(pulp::Scalar)));
            check("the best", &run(&|p| Arch::new().dispatch(p)));
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                check("AVX2", &run(&|p| pulp::Simd::vectorize(v3, p)));
            }
            check("whole", &product(&x, &w, k, None));
        }
    }

    #[test]
    fn all_instruction_sets_agree() {
        all_agree::<f32>(2e-4);
        all_agree::<f64>(1e-12);
    }

    #[test]
    fn a_bias_is_added_to_each_row() {
        let y =
            product(&[1.0f64, 2.0, 3.0, 4.0], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2, Some(&[10.0, 20.0, 30.0]));
        assert_eq!(y, [11.0, 22.0, 33.0, 13.0, 24.0, 37.0]);
    }
}
