//! Adaptive max pooling: the largest pixel of each of a fixed number of bins, whatever the size of the input.
//!
//! Why not Candle's: it has none.
//! Differs: nothing from PyTorch: the first of equal maxima takes the gradient, in row-major order; NaN counts as larger
//! than any number, and the last one of a bin takes the gradient.

use std::ops::Range;

use candle_core::{Module, Result, Shape, Tensor};

use super::bins::{Binned, Bins};
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::parallel::{collect_chunks, collect_pairs};
use crate::cpu::simd::{block, vectorised};

/// The bins of [`adaptive_max_pool2d`], and of [`adaptive_max_pool1d`](super::adaptive_max_pool1d()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool<const AXES: usize> {
    /// How many along height and width, or along the length.
    pub output: [usize; AXES],
}

/// The bins of [`adaptive_max_pool2d`].
pub type AdaptiveMaxPool2d = AdaptiveMaxPool<2>;

impl<const AXES: usize> AdaptiveMaxPool<AXES> {
    /// One bin: the largest pixel of each plane.
    pub const GLOBAL: Self = Self { output: [1; AXES] };
}

/// The largest pixel of bins: bin `i` of `n` along an axis of `N` pixels holds those from `⌊i·N / n⌋` to below
/// `⌈(i + 1)·N / n⌉`.
///
/// `[B, C, H, W]` → `[B, C, H', W']`
///
/// Bins overlap where `n` does not divide `N`, and share pixels where there are more bins than pixels.
///
/// # Errors
/// If `x` is not rank 4, or a size other than its batch is zero; if there are to be no bins.
pub fn adaptive_max_pool2d(x: &Tensor, options: AdaptiveMaxPool2d) -> Result<Tensor> {
    if let Some(half) = half_precision("adaptive_max_pool2d", &[x])? {
        return adaptive_max_pool2d(&widen(x)?, options)?.to_dtype(half);
    }
    let binned = Binned::new("adaptive_max_pool2d", x, options.output)?;
    if on_cpu(&[x]) { apply1(Maxima::new(binned, x), x) } else { portable(x, binned) }
}

impl Module for AdaptiveMaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        adaptive_max_pool2d(x, *self)
    }
}

#[derive(Clone)]
pub(super) struct Maxima {
    binned: Binned,
    /// Where in its plane each maximum is.
    places: Saved<Vec<u32>>,
}

impl Maxima {
    pub(super) fn new(binned: Binned, x: &Tensor) -> Self {
        Self { binned, places: Saved::for_gradients_of(&[x]) }
    }
}

impl Kernel<1> for Maxima {
    const NAME: &'static str = "adaptive_max_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (b, [plane, binned]) = (self.binned, self.binned.planes());
        let (y, places) = collect_pairs(
            b.count(),
            [binned; 2],
            b.work(),
            || Scan::new(b),
            |scan, i| {
                vectorised(
                    #[inline(always)]
                    || scan.plane(&x.data[i * plane..][..plane]),
                );
                (&scan.y, &scan.places)
            },
        );
        self.places.keep(places);
        Ok((y, b.output().into()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(self.clone()), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}

/// `dx[pixel] = Σ over the bins o whose maximum it is of dy[o]`
#[derive(Clone)]
struct Gradient(Maxima);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "adaptive_max_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (b, [plane, binned]) = (self.0.binned, self.0.binned.planes());
        let Some(places) = self.0.places.get() else {
            unreachable!("the forward pass of what is differentiated keeps the places")
        };
        let dx = collect_chunks(
            [b.count(), plane],
            b.work(),
            || vec![T::ZERO; plane],
            |dx, i| {
                let bins = i * binned..(i + 1) * binned;
                dx.fill(T::ZERO);
                for (&place, &dy) in places[bins.clone()].iter().zip(&dy.data[bins]) {
                    dx[place as usize] += dy;
                }
                dx
            },
        );
        Ok((dx, b.input().into()))
    }
}

/// Numbers that are compared at once.
const LANES: usize = 16;

/// The maxima of one plane and their places.
struct Scan<T> {
    bins: [Bins; 2],
    /// The maxima of the columns of a row of bins, and where their rows start.
    best: Vec<T>,
    rows: Vec<u32>,
    y: Vec<T>,
    places: Vec<u32>,
}

impl<T: Element> Scan<T> {
    fn new(b: Binned) -> Self {
        let (width, [_, binned]) = (b.bins[1].input, b.planes());
        Self {
            bins: b.bins,
            best: vec![T::ZERO; width],
            rows: vec![0; width],
            y: vec![T::ZERO; binned],
            places: vec![0; binned],
        }
    }

    #[inline(always)]
    fn plane(&mut self, x: &[T]) {
        let [down, right] = self.bins;
        if [down.output, right.output] == [1, 1] {
            (self.y[0], self.places[0]) = largest(x);
            return;
        }
        for o in 0..down.output {
            let rows = down.pixels(o);
            match right.input {
                LANES.. => columns::<T, LANES>(x, rows, &mut self.best, &mut self.rows),
                4.. => columns::<T, 4>(x, rows, &mut self.best, &mut self.rows),
                _ => columns::<T, 1>(x, rows, &mut self.best, &mut self.rows),
            }
            for j in 0..right.output {
                let pixels = right.pixels(j);
                let at = |column: usize| (self.best[column], self.rows[column] + column as u32);
                let first = at(pixels.start);
                let top = pixels.skip(1).fold(first, |top, column| better(top, at(column)));
                (self.y[o * right.output + j], self.places[o * right.output + j]) = top;
            }
        }
    }
}

/// The maximum of each column over some rows, and where the row starts that has it first.
#[inline(always)]
fn columns<T: Element, const N: usize>(x: &[T], rows: Range<usize>, best: &mut [T], starts: &mut [u32]) {
    let width = best.len();
    let mut next = 0;
    while next < width {
        // The last ones are worked out twice if `N` does not divide their number.
        let at = next.min(width - N);
        let start = rows.start * width;
        let (mut top, mut from) = (block::<T, N>(x, start + at), [start as u32; N]);
        for row in rows.clone().skip(1) {
            let start = row * width;
            update(&mut top, &mut from, &block(x, start + at), start as u32);
        }
        best[at..at + N].copy_from_slice(&top);
        starts[at..at + N].copy_from_slice(&from);
        next += N;
    }
}

/// The first maximum of a row, or its last NaN, and its place.
#[inline(always)]
fn largest<T: Element>(x: &[T]) -> (T, u32) {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut top = (x[0], 0);
    if let Some((first, blocks)) = blocks.split_first() {
        let (mut best, mut from) = (*first, [0; LANES]);
        for (start, x) in (LANES as u32..).step_by(LANES).zip(blocks) {
            update(&mut best, &mut from, x, start);
        }
        top = join(best, std::array::from_fn(|i| from[i] + i as u32));
    }
    let start = (x.len() - rest.len()) as u32;
    (start..).zip(rest).fold(top, |top, (place, &x)| better(top, (x, place)))
}

/// Takes in more numbers, which come from `start` on, each after all that its lane has seen.
#[inline(always)]
fn update<T: Element, const N: usize>(best: &mut [T; N], from: &mut [u32; N], x: &[T; N], start: u32) {
    // A loop for each step: of one loop over all of them the compiler makes branches, not vectors.
    let mut wins = [false; N];
    for i in 0..N {
        wins[i] = (x[i] > best[i]) | is_nan(x[i]);
    }
    for i in 0..N {
        from[i] = if wins[i] { start } else { from[i] };
    }
    for i in 0..N {
        best[i] = if wins[i] { x[i] } else { best[i] };
    }
}

/// The maximum of all lanes and its place, by halves.
#[inline(always)]
fn join<T: Element>(mut best: [T; LANES], mut places: [u32; LANES]) -> (T, u32) {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let pairs = [(best[i], places[i]), (best[i + half], places[i + half])];
            (best[i], places[i]) = better(pairs[0], pairs[1]);
        }
        half /= 2;
    }
    (best[0], places[0])
}

/// The maximum of two numbers with their places, in whichever order they come.
#[inline(always)]
fn better<T: Element>(a: (T, u32), b: (T, u32)) -> (T, u32) {
    // Without branches: which of two pixels is larger is hard to predict.
    let larger = (b.0 > a.0) | ((b.0 == a.0) & (b.1 < a.1));
    let wins = larger | (is_nan(b.0) & (!is_nan(a.0) | (b.1 > a.1)));
    if wins { b } else { a }
}

#[inline(always)]
#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn is_nan<T: Element>(x: T) -> bool {
    x != x
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
pub(super) fn portable(x: &Tensor, Binned { bins: [down, right], .. }: Binned) -> Result<Tensor> {
    // Shorter bins read their last pixel once more, which changes nothing.
    let tap = |bins: Bins, tap: usize| {
        let pixel = |i: usize| (bins.pixels(i).start + tap).min(bins.pixels(i).end - 1) as u32;
        Tensor::from_iter((0..bins.output).map(pixel), x.device())
    };
    let mut best: Option<Tensor> = None;
    for m in 0..down.longest() {
        let rows = x.index_select(&tap(down, m)?, 2)?;
        for n in 0..right.longest() {
            let x = rows.index_select(&tap(right, n)?, 3)?;
            best = Some(match best {
                Some(best) => x.gt(&best)?.add(&x.ne(&x)?)?.where_cond(&x, &best)?,
                None => x,
            });
        }
    }
    let Some(best) = best else { unreachable!("a bin has a pixel") };
    Ok(best)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::oracle::{assert_types, with_gradients};
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    /// Shape of the input, bins.
    const CASES: &[([usize; 4], [usize; 2])] = &[
        ([2, 3, 7, 7], [1, 1]),
        ([2, 2, 3, 3], [1, 1]),
        ([1, 2, 6, 4], [3, 2]),
        ([1, 2, 13, 20], [6, 7]),
        ([1, 1, 5, 5], [5, 5]),
        ([1, 2, 3, 2], [7, 5]),
        ([1, 2, 9, 3], [2, 8]),
        ([1, 1, 1, 1], [1, 1]),
        ([1, 1, 1, 1], [3, 2]),
        ([0, 2, 4, 4], [2, 2]),
        ([5, 0x40, 12, 12], [5, 5]), // worth a thread
    ];

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Var::new(&[[[[1f32, 3.0, 3.0, 0.0, -5.0]]]], &Device::Cpu)?;
        // Bins 0..2, 1..4, 3..5: the second pixel is in two of them, and before the third.
        let y = adaptive_max_pool2d(&x, AdaptiveMaxPool2d { output: [1, 3] })?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.0, 3.0, 0.0]);
        let dy = Tensor::new(&[[[[2f32, 3.0, 4.0]]]], &Device::Cpu)?;
        let dx = y.mul(&dy)?.sum_all()?.backward()?.remove(&x).map(|dx| dx.flatten_all()?.to_vec1::<f32>());
        assert_eq!(dx.transpose()?, Some(vec![0.0, 5.0, 0.0, 4.0, 0.0]));
        Ok(())
    }

    /// NaN as a number, for comparing.
    fn shown(x: &Tensor) -> Result<Tensor> {
        x.ne(x)?.where_cond(&Tensor::full(1e9, x.dims(), x.device())?.to_dtype(x.dtype())?, x)
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for &(shape, output) in CASES {
            let noise = randn(1, &shape)?;
            let filled = |mask: Tensor, value: f64| {
                mask.where_cond(&Tensor::full(value, &shape, &Device::Cpu)?, &noise)
            };
            let (sparse, nans) =
                (filled(noise.lt(0.8)?, f64::NEG_INFINITY)?, filled(noise.gt(1.0)?, f64::NAN)?);
            for x in [noise.clone(), noise.round()?, sparse, nans] {
                for dtype in [DType::F64, DType::F32] {
                    let x = [x.to_dtype(dtype)?];
                    let binned = Binned::new("test", &x[0], output)?;
                    let pool = |x: &[Tensor]| adaptive_max_pool2d(&x[0], AdaptiveMaxPool2d { output });
                    let (y, dx) = with_gradients(pool, &x)?;
                    let (oracle, expected) = with_gradients(|x| portable(&x[0], binned), &x)?;
                    let at = |e: candle_core::Error| e.context(format!("{shape:?} to {output:?}"));
                    assert_close(&shown(&y)?, &shown(&oracle)?, 0.0, 0.0).map_err(at)?;
                    let [Some(dx), Some(expected)] = [&dx[0], &expected[0]] else {
                        assert_eq!(shape[0], 0, "no gradient: {output:?}");
                        continue;
                    };
                    // Bins overlap, and their gradients add up in another order.
                    assert_close(dx, expected, 1e-6, 1e-6).map_err(at)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for &(shape, output) in CASES.iter().filter(|(shape, _)| shape.iter().product::<usize>() < 1000) {
            gradcheck(|x| adaptive_max_pool2d(&x[0], AdaptiveMaxPool2d { output }), &[randn(2, &shape)?])?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let pool = AdaptiveMaxPool2d { output: [2, 3] };
        let view = |x: &Tensor| x.transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2);
        let x = randn(3, (2, 3, 7, 6))?;
        gradcheck(|x| pool.forward(&view(&x[0])?), std::slice::from_ref(&x))?;
        assert_close(&pool.forward(&view(&x)?)?, &pool.forward(&view(&x)?.copy()?)?, 0.0, 0.0)
    }

    #[test]
    fn nan_wins_and_the_last_one_takes_the_gradient() -> Result<()> {
        // The NaNs lie in different rows, columns and lanes.
        let mut x = vec![0f64; 6 * 20];
        for place in [3, 19, 41, 85] {
            x[place] = f64::NAN;
        }
        x[100] = f64::INFINITY;
        let x = Var::from_vec(x, (1, 1, 6, 20), &Device::Cpu)?;
        for output in [[1, 1], [1, 2]] {
            let y = adaptive_max_pool2d(&x, AdaptiveMaxPool2d { output })?;
            assert!(y.flatten_all()?.to_vec1::<f64>()?.iter().all(|y| y.is_nan()));
            let dx =
                y.sum_all()?.backward()?.remove(&x).expect("a gradient").flatten_all()?.to_vec1::<f64>()?;
            let places = dx.iter().enumerate().filter(|(_, dx)| **dx != 0.0).map(|(i, _)| i);
            let expected = if output == [1, 1] { vec![85] } else { vec![19, 85] };
            assert_eq!(places.collect::<Vec<_>>(), expected);
        }
        Ok(())
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let x = randn(5, (5, 0x20, 30, 30))?.to_dtype(DType::F32)?;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let ours = |x: &[Tensor]| adaptive_max_pool2d(&x[0], AdaptiveMaxPool2d { output: [3, 4] });
            pool.install(|| with_gradients(ours, std::slice::from_ref(&x)))
        };
        let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
        let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
        assert_close(&y, &z, 0.0, 0.0)?;
        assert_close(dx, dz, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let pool = AdaptiveMaxPool2d { output: [3, 4] };
        assert_types("adaptive_max_pool2d", |x| pool.forward(&x[0]), &[randn(6, (1, 2, 7, 6))?])
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, output, rule) in [
            (vec![2, 5, 5], [1, 1], "adaptive_max_pool2d: x must be [B, C, H, W], got [2, 5, 5]"),
            (vec![1, 1, 0, 5], [1, 1], "must have channels, height and width, got [1, 1, 0, 5]"),
            (vec![1, 1, 5, 5], [2, 0], "output must be at least 1 × 1, got [2, 0]"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = adaptive_max_pool2d(&x, AdaptiveMaxPool2d { output }).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
