//! Element by element over whole vectors, and the sums and maxima of rows.
//!
//! Everything is cut into pieces of fixed length and combined in a fixed order: the same bits on any number of
//! threads and with vectors of any width.

use std::ops::Range;

use super::Element;
use super::blank::by_chunks;
use super::parallel::for_each_chunk;
use super::simd::vectorised;

/// Elements a task takes at a time: 64 KiB of `f32`, which stay in the second-level cache.
pub(crate) const CHUNK: usize = 16_384;

/// Elements summed in their own type before their sum joins one in `f64`.
pub(super) const PIECE: usize = 1024;

/// Accumulators of a sum or maximum: one 512-bit register of `f32`.
pub(super) const LANES: usize = 16;

/// `f` of each element; `cost` is its number of elementary operations.
///
/// It is copied to each task, here and below: what it holds then cannot be in the memory that a loop writes to, and the
/// loop becomes one of vectors. So let it hold numbers by value, by `move`.
pub(crate) fn map<T: Element>(x: &[T], cost: usize, f: impl Fn(T) -> T + Sync + Send + Copy) -> Vec<T> {
    by_chunks(x.len(), CHUNK, cost * x.len(), |i, y| {
        let x = &x[CHUNK * i..][..y.len()];
        vectorised(
            #[inline(always)]
            move || y.map(x, f).len(),
        );
    })
}

/// `f` of each pair of elements of two equally long vectors.
pub(crate) fn map2<T: Element>(
    a: &[T],
    b: &[T],
    cost: usize,
    f: impl Fn(T, T) -> T + Sync + Send + Copy,
) -> Vec<T> {
    assert_eq!(a.len(), b.len(), "lengths differ");
    by_chunks(a.len(), CHUNK, cost * a.len(), |i, y| {
        let [a, b] = [a, b].map(|x| &x[CHUNK * i..][..y.len()]);
        vectorised(
            #[inline(always)]
            move || y.map2(a, b, f).len(),
        );
    })
}

/// `f` of the elements of three equally long vectors.
pub(crate) fn map3<T: Element>(
    [a, b, c]: [&[T]; 3],
    cost: usize,
    f: impl Fn(T, T, T) -> T + Sync + Send + Copy,
) -> Vec<T> {
    assert!(a.len() == b.len() && a.len() == c.len(), "lengths differ");
    by_chunks(a.len(), CHUNK, cost * a.len(), |i, y| {
        let parts = [a, b, c].map(|x| &x[CHUNK * i..][..y.len()]);
        vectorised(
            #[inline(always)]
            move || y.map3(parts, f).len(),
        );
    })
}

/// `Σ f(a, b)` over the pairs of elements of two equally long vectors, on several threads.
pub(crate) fn total2<T: Element>(a: &[T], b: &[T], cost: usize, f: impl Fn(T, T) -> T + Sync + Send) -> f64 {
    assert_eq!(a.len(), b.len(), "total2: lengths differ");
    total(
        a.len(),
        CHUNK,
        cost,
        #[inline(always)]
        |piece| sum2(&a[piece.clone()], &b[piece], &f),
    )
}

/// `Σ f(piece)` over the pieces of `0..len` of length `chunk` (the last may be shorter), on several threads.
pub(crate) fn total(
    len: usize,
    chunk: usize,
    cost: usize,
    f: impl Fn(Range<usize>) -> f64 + Sync + Send,
) -> f64 {
    let mut parts = vec![0.0; len.div_ceil(chunk)];
    for_each_chunk(&mut parts, 1, cost * len, |i, part| {
        part[0] = vectorised(
            #[inline(always)]
            || f(chunk * i..len.min(chunk * (i + 1))),
        );
    });
    parts.iter().fold(0.0, |total, part| total + part)
}

/// `Σ f(a, b)` over one row, or another short stretch; see [`total2`].
///
/// Stretches of [`PIECE`] are summed in `T`, and those sums in `f64`.
#[inline(always)]
pub(crate) fn sum2<T: Element>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
        let mut lanes = [T::ZERO; LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += f(a, b);
            }
        }
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *lane += f(a, b);
        }
        total += join(lanes, |a, b| a + b).to_f64();
    }
    total
}

/// `Σ f(a, b, c)` over one row; see [`sum2`].
#[inline(always)]
pub(crate) fn sum3<T: Element>([a, b, c]: [&[T]; 3], f: impl Fn(T, T, T) -> T) -> f64 {
    let mut total = 0.0;
    for (a, (b, c)) in a.chunks(PIECE).zip(b.chunks(PIECE).zip(c.chunks(PIECE))) {
        let mut lanes = [T::ZERO; LANES];
        let [(a, a_rest), (b, b_rest), (c, c_rest)] = [a, b, c].map(<[T]>::as_chunks::<LANES>);
        for (a, (b, c)) in a.iter().zip(b.iter().zip(c)) {
            for (lane, (&a, (&b, &c))) in lanes.iter_mut().zip(a.iter().zip(b.iter().zip(c))) {
                *lane += f(a, b, c);
            }
        }
        for (lane, (&a, (&b, &c))) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest.iter().zip(c_rest))) {
            *lane += f(a, b, c);
        }
        total += join(lanes, |a, b| a + b).to_f64();
    }
    total
}

/// `Σ f(x)` over one row.
#[inline(always)]
pub(crate) fn sum<T: Element>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    sum2(
        x,
        x,
        #[inline(always)]
        |x, _| f(x),
    )
}

/// The largest element of a row, −∞ if there is none; NaN is passed over.
#[inline(always)]
pub(crate) fn max<T: Element>(x: &[T]) -> T {
    // Several at once: each comparison waits for the one before it.
    let mut many = [[T::NEG_INFINITY; LANES]; 4];
    let (blocks, rest) = x.as_chunks::<{ 4 * LANES }>();
    for block in blocks {
        for (lanes, x) in many.iter_mut().zip(block.as_chunks::<LANES>().0) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane = larger(*lane, x);
            }
        }
    }
    let [mut lanes, rows @ ..] = many;
    let (whole, rest) = rest.as_chunks::<LANES>();
    for x in rows.iter().chain(whole) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = larger(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    join(lanes, larger)
}

/// `(m, Σ e^(x − m))` of a row, where `m` is its largest element.
///
/// In one pass, so that the memory's time and the exponentials' overlap: what was summed is scaled down whenever the
/// largest grows. Without a finite element the sum is 0 or NaN.
#[inline(always)]
pub(crate) fn exponential_sum<T: Element>(x: &[T]) -> (T, f64) {
    let (mut top, mut total) = (T::of(LEAST), 0.0);
    let mut merge = |(more_top, more): (T, f64)| {
        let larger = larger(top, more_top);
        let [old, new] = [top, more_top].map(|top| (top - larger).exp_nonpositive().to_f64());
        total = total * old + more * new;
        top = larger;
    };
    for piece in x.chunks(4 * PIECE) {
        let (blocks, rest) = piece.as_chunks::<BLOCK>();
        if !blocks.is_empty() {
            let (tops, sums) = lanes_of_exponentials(blocks);
            let top = join(tops, larger);
            let mut parts = [T::ZERO; LANES];
            for (part, (&sum, &lane)) in parts.iter_mut().zip(sums.iter().zip(&tops)) {
                *part = sum * (lane - top).exp_nonpositive();
            }
            merge((top, join(parts, |a, b| a + b).to_f64()));
        }
        if !rest.is_empty() {
            let top = larger(T::of(LEAST), max(rest));
            merge((
                top,
                sum(
                    rest,
                    #[inline(always)]
                    |x| (x - top).exp_nonpositive(),
                ),
            ));
        }
    }
    (top, total)
}

/// Elements of a row that [`exponential_sum`] compares before it takes their exponentials.
const BLOCK: usize = 8 * LANES;

/// Below all finite numbers that matter, and finite itself: of −∞ nothing could be subtracted.
const LEAST: f64 = -3e38;

/// `(m, Σ e^(x − m))` for each lane.
#[inline(always)]
fn lanes_of_exponentials<T: Element>(blocks: &[[T; BLOCK]]) -> ([T; LANES], [T; LANES]) {
    let (mut top, mut total) = ([T::of(LEAST); LANES], [T::ZERO; LANES]);
    for block in blocks {
        let (vectors, before) = (block.as_chunks::<LANES>().0, top);
        for x in vectors {
            for (top, &x) in top.iter_mut().zip(x) {
                *top = larger(*top, x);
            }
        }
        for (total, (&before, &top)) in total.iter_mut().zip(before.iter().zip(&top)) {
            *total *= (before - top).exp_nonpositive();
        }
        for x in vectors {
            for (total, (&x, &top)) in total.iter_mut().zip(x.iter().zip(&top)) {
                *total += (x - top).exp_nonpositive();
            }
        }
    }
    (top, total)
}

/// The larger of two numbers; `a` if `b` is NaN.
#[inline(always)]
pub(crate) fn larger<T: Element>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// Combines lanes by halves: a tree, always the same.
#[inline(always)]
pub(super) fn join<T: Element>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_accurate_over_ten_million_elements() {
        let x = vec![0.1f32; 10_000_000];
        let total = total2(&x, &x, 1, |a, _| a);
        let truth = f64::from(0.1f32) * 1e7;
        assert!((total / truth - 1.0).abs() < 1e-6, "{total} is not {truth}");
    }

    #[test]
    fn rows_of_any_length() {
        for n in [0usize, 1, 15, 16, 17, 1023, 1024, 1025, 3000] {
            let x: Vec<f64> = (0..n).map(|i| ((i * 7919) % 1000) as f64).collect();
            assert_eq!(sum(&x, |x| x), x.iter().fold(0.0, |a, b| a + b), "{n} elements");
            assert_eq!(sum2(&x, &x, |a, b| a * b), x.iter().fold(0.0, |a, b| a + b * b), "{n} elements");
            let cubes = x.iter().fold(0.0, |a, b| a + b * b * b);
            assert_eq!(sum3([&x, &x, &x], |a, b, c| a * b * c), cubes, "{n} elements");
            assert_eq!(max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max), "{n} elements");
        }
        assert_eq!(max(&[1.0, f64::NAN, 3.0]), 3.0);
    }

    #[test]
    fn sums_of_exponentials() {
        let inf = f64::INFINITY;
        for n in [1usize, 5, 128, 129, 1000, 4096, 9001] {
            // Growing, falling, and huge.
            for slope in [0.01, -0.02, 100.0] {
                let x: Vec<f64> = (0..n).map(|i| slope * ((i * 7919) % n + i) as f64).collect();
                let (top, total) = exponential_sum(&x);
                assert_eq!(top, max(&x));
                let truth: f64 = x.iter().map(|x| (x - top).exp()).sum();
                assert!((total / truth - 1.0).abs() < 1e-12, "{n} elements: {total} is not {truth}");
            }
        }
        let mut x = vec![-inf; 300];
        assert_eq!(exponential_sum(&x).1, 0.0);
        x[200] = 3.0;
        assert_eq!(exponential_sum(&x), (3.0, 1.0));
        for odd in [f64::NAN, inf] {
            x[7] = odd;
            assert!(exponential_sum(&x).1.is_nan());
        }
    }

    #[test]
    fn maps_cover_every_element() {
        for n in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
            assert_eq!(map(&x, 1, |x| x + 1.0), (1..=n).map(|i| i as f64).collect::<Vec<_>>());
            assert_eq!(map2(&x, &x, 1, |a, b| a * b), x.iter().map(|x| x * x).collect::<Vec<_>>());
            assert_eq!(map3([&x, &x, &x], 1, |a, b, c| a + b - c), x);
        }
    }
}
