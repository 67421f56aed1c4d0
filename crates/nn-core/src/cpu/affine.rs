//! `y = x · wᵀ + b`: the rows of one matrix times the rows of another, with `b` on top of each.

mod few;

use super::Element;
use super::blank::by_columns;
use super::columns::{self, Columns, turn};
use super::gemm::{Mat, add_product, product};
use super::simd::vectorised;

/// Rows of `x` up to which numbers meet where they lie: a layout of so few would have many zeros.
const FEW: usize = 7;
/// Multiply-adds of a single row from which several threads read `w`: its memory is what such a product waits for.
const SHARED: usize = 1 << 15;
/// Rows of `x` beyond which laying out `w` costs little of the product.
const MANY: usize = 512;
/// Rows of `w` of a task.
const TASK: usize = 96;

/// Row-major `y [rows, outputs]` from row-major `x [rows, k]` and `w [outputs, k]`.
pub(crate) fn affine<T: Element>(x: Mat<T>, w: Mat<T>, b: Option<&[T]>) -> Vec<T> {
    assert!([x, w].iter().all(|m| (m.row, m.col) == (m.cols, 1)), "affine: rows one after the other");
    assert_eq!(x.cols, w.cols, "affine: rows of another length");
    assert!(b.is_none_or(|b| b.len() == w.rows), "affine: a bias for each output");
    let least = if x.cols * w.rows < SHARED { 2 } else { 1 };
    if x.cols > 0 && (least..=FEW).contains(&x.rows) {
        return few::product(x.data, w.data, x.cols, b);
    }
    if x.cols > 0 && (FEW + 1..=MANY).contains(&x.rows) {
        return some(x.data, w.data, x.cols, b);
    }
    let Some(b) = b else { return product(x, w.t()) };
    let mut y = b.repeat(x.rows);
    add_product(&mut y, x, w.t());
    y
}

/// `yᵀ = w · xᵀ`: `w` is read once, where it lies.
fn some<T: Element>(x: &[T], w: &[T], k: usize, b: Option<&[T]>) -> Vec<T> {
    let [rows, outputs] = [x, w].map(|m| m.len() / k);
    let laid_out = Columns::of_rows(x, k);
    let width = laid_out.width();
    by_columns([1, rows, outputs], TASK, columns::work(rows * outputs * k), |at, y| {
        let count = y.first().map_or(0, |y| y.len());
        let turned = laid_out.times(Mat::new(&w[at.start * k..][..count * k], count, k));
        let mut sums = vec![T::ZERO; rows * count];
        vectorised(
            #[inline(always)]
            || {
                turn(&turned, [count, rows], width, &mut sums, count);
                for (y, sums) in y.iter_mut().zip(sums.chunks_exact(count)) {
                    match b {
                        Some(b) => y.map2(sums, &b[at.start..][..count], |sum, b| sum + b),
                        None => y.map(sums, |sum| sum),
                    };
                }
            },
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<T: Element>(seed: u64, n: usize) -> Vec<T> {
        let mut draws = crate::Random::new(seed).draws();
        (0..n).map(|_| T::of(draws.normal())).collect()
    }

    fn check<T: Element>(tolerance: f64) {
        for (rows, outputs, k) in [
            (1, 5, 3),
            (1, 1100, 67),
            (2, 3, 7),
            (8, 130, 20),
            (9, 130, 20),
            (33, 97, 500),
            (512, 3, 4),
            (513, 3, 4),
        ] {
            let (x, w) = (numbers::<T>(1, rows * k), numbers::<T>(2, outputs * k));
            let bias = numbers::<T>(3, outputs);
            for b in [None, Some(bias.as_slice())] {
                let [x, w] = [(&x, rows), (&w, outputs)].map(|(m, rows)| Mat::new(m, rows, k));
                for (i, y) in affine(x, w, b).iter().enumerate() {
                    let (x, w) = (&x.data[i / outputs * k..][..k], &w.data[i % outputs * k..][..k]);
                    let sum: f64 = x.iter().zip(w).map(|(x, w)| x.to_f64() * w.to_f64()).sum();
                    let truth = sum + b.map_or(0.0, |b| b[i % outputs].to_f64());
                    let off = (y.to_f64() - truth).abs();
                    assert!(off < tolerance, "{rows}×{k}→{outputs}: {off} off");
                }
            }
        }
    }

    #[test]
    fn any_number_of_rows_gives_the_sums() {
        check::<f32>(2e-4);
        check::<f64>(1e-12);
    }

    #[test]
    fn sums_of_nothing_are_the_bias() {
        for rows in [1, 3, 9] {
            let (x, w) = (Mat::new(&[], rows, 0), Mat::new(&[], 2, 0));
            assert_eq!(affine::<f64>(x, w, None), vec![0.0; 2 * rows]);
            assert_eq!(affine(x, w, Some(&[1.0, 2.0])), [1.0, 2.0].repeat(rows));
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        for rows in [1, 5, 30, 600] {
            let (x, w) = (numbers::<f32>(1, rows * 700), numbers::<f32>(2, 300 * 700));
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| affine(Mat::new(&x, rows, 700), Mat::new(&w, 300, 700), None))
            };
            let one = run(1);
            for threads in [2, 3, 5] {
                assert!(one.iter().zip(run(threads)).all(|(x, y)| x.to_bits() == y.to_bits()));
            }
        }
    }
}
