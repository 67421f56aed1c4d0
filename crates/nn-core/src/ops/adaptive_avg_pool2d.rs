//! Adaptive average pooling: the mean of each of a fixed number of bins, whatever the size of the input.
//!
//! Why not Candle's: it has none.

use std::ops::Range;

use candle_core::{Module, Result, Shape, Tensor};

use super::bins::{Binned, Bins};
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::sum_taps;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::graph::Operation;

/// The bins of [`adaptive_avg_pool2d`], and of [`adaptive_avg_pool1d`](super::adaptive_avg_pool1d()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool<const AXES: usize> {
    /// How many along height and width, or along the length.
    pub output: [usize; AXES],
}

/// The bins of [`adaptive_avg_pool2d`].
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;

impl<const AXES: usize> AdaptiveAvgPool<AXES> {
    /// One bin: the mean of each plane.
    pub const GLOBAL: Self = Self { output: [1; AXES] };
}

/// The mean over bins: bin `i` of `n` along an axis of `N` pixels holds those from `⌊i·N / n⌋` to below `⌈(i + 1)·N / n⌉`.
///
/// `[B, C, H, W]` → `[B, C, H', W']`
///
/// Bins overlap where `n` does not divide `N`, and share pixels where there are more bins than pixels.
///
/// # Errors
/// If `x` is not rank 4, or a size other than its batch is zero; if there are to be no bins.
pub fn adaptive_avg_pool2d(x: &Tensor, options: AdaptiveAvgPool2d) -> Result<Tensor> {
    if let Some(half) = half_precision("adaptive_avg_pool2d", &[x])? {
        return adaptive_avg_pool2d(&widen(x)?, options)?.to_dtype(half);
    }
    let binned = Binned::new("adaptive_avg_pool2d", x, options.output)?;
    if on_cpu(&[x]) { apply1(Means(binned), x) } else { portable(x, binned) }
}

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        adaptive_avg_pool2d(x, *self)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Means(pub(super) Binned);

impl Kernel<1> for Means {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (b, [plane, binned]) = (self.0, self.0.planes());
        if binned == 1 {
            return Ok((mean_of_rows(&x.data, plane), b.output().into()));
        }
        let [down, right] = b.bins;
        let start = |row: usize| row * right.input;
        let rows: Vec<Vec<usize>> = (0..down.output).map(|o| down.pixels(o).map(start).collect()).collect();
        let columns: Vec<Range<usize>> = (0..right.output).map(|o| right.pixels(o)).collect();
        let y = collect_chunks(
            [b.count(), binned],
            b.work(),
            || (vec![T::ZERO; right.input], vec![T::ZERO; binned]),
            |(sum, y), i| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (y, rows) in y.chunks_exact_mut(right.output).zip(&rows) {
                            sum_taps(&x.data[i * plane..][..plane], rows, sum);
                            for (y, columns) in y.iter_mut().zip(&columns) {
                                let pixels = T::of((rows.len() * columns.len()) as f64);
                                *y = sum[columns.clone()].iter().copied().sum::<T>() / pixels;
                            }
                        }
                    },
                );
                y
            },
        );
        Ok((y, b.output().into()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(self.0), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Bins(self.0.bins.map(|bins| bins.output))]
    }
}

/// `dx[pixel] = Σ over the bins o that hold it of dy[o] / pixels of o`
#[derive(Clone, Copy)]
struct Gradient(Binned);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "adaptive_avg_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (b, [plane, binned]) = (self.0, self.0.planes());
        if binned == 1 {
            return Ok((rows_of(&dy.data, plane), b.input().into()));
        }
        let [down, right] = b.bins;
        let start = |row: usize| row * right.input;
        let rows: Vec<Vec<usize>> = (0..down.input).map(|r| down.holding(r).map(start).collect()).collect();
        let dx = collect_chunks(
            [b.count(), plane],
            b.work(),
            || (vec![T::ZERO; down.output * right.input], vec![T::ZERO; plane]),
            |(sums, dx), i| {
                vectorised(
                    #[inline(always)]
                    || {
                        // Along the width first, one row for each row of bins.
                        sums.fill(T::ZERO);
                        let dy = dy.data[i * binned..][..binned].chunks_exact(right.output);
                        for (o, (sum, dy)) in sums.chunks_exact_mut(right.input).zip(dy).enumerate() {
                            for (j, &dy) in dy.iter().enumerate() {
                                let share = dy / T::of((down.pixels(o).len() * right.pixels(j).len()) as f64);
                                sum[right.pixels(j)].iter_mut().for_each(|sum| *sum += share);
                            }
                        }
                        for (dx, rows) in dx.chunks_exact_mut(right.input).zip(&rows) {
                            sum_taps(sums, rows, dx);
                        }
                    },
                );
                dx
            },
        );
        Ok((dx, b.input().into()))
    }
}

/// The mean of each `len` elements.
fn mean_of_rows<T: Element>(x: &[T], len: usize) -> Vec<T> {
    let many = (CHUNK / len).max(1);
    by_chunks(x.len() / len, many, x.len(), |i, y| {
        vectorised(
            #[inline(always)]
            || {
                y.fill(
                    #[inline(always)]
                    |j| T::of(sum(&x[(i * many + j) * len..][..len]) / len as f64),
                );
            },
        );
    })
}

/// Numbers that are added at once.
const LANES: usize = 16;

/// The sum of a row, which may be short: what does not fill a vector is added apart, so that the others stay in registers.
///
/// Four sums side by side, for an addition waits for the one before it; after 64 numbers each, they join one in `f64`.
#[inline(always)]
fn sum<T: Element>(x: &[T]) -> f64 {
    let mut total = 0.0;
    for piece in x.chunks(64 * 4 * LANES) {
        let mut lanes = [[T::ZERO; LANES]; 4];
        let (blocks, rest) = piece.as_chunks::<{ 4 * LANES }>();
        for block in blocks {
            for (lanes, x) in lanes.iter_mut().zip(block.as_chunks::<LANES>().0) {
                add(lanes, x);
            }
        }
        let (vectors, rest) = rest.as_chunks::<LANES>();
        for x in vectors {
            add(&mut lanes[0], x);
        }
        let [mut first, second, third, fourth] = lanes;
        for lanes in [second, third, fourth] {
            add(&mut first, &lanes);
        }
        let eight: [T; 8] = std::array::from_fn(|i| first[i] + first[i + 8]);
        let four: [T; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
        let rest = rest.iter().fold(T::ZERO, |sum, &x| sum + x);
        total += ((four[0] + four[2]) + (four[1] + four[3]) + rest).to_f64();
    }
    total
}

#[inline(always)]
fn add<T: Element>(sum: &mut [T; LANES], x: &[T; LANES]) {
    for i in 0..LANES {
        sum[i] += x[i];
    }
}

/// `len` times the `len`th part of each element: the gradient of a mean.
fn rows_of<T: Element>(dy: &[T], len: usize) -> Vec<T> {
    let many = (CHUNK / len).max(1);
    let count = T::of(len as f64);
    by_chunks(dy.len() * len, many * len, dy.len() * len, |i, dx| {
        vectorised(
            #[inline(always)]
            || {
                dx.fill_parts(
                    len,
                    #[inline(always)]
                    |j, row| {
                        let share = dy[i * many + j] / count;
                        row.fill(
                            #[inline(always)]
                            |_| share,
                        );
                    },
                );
            },
        );
    })
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
pub(super) fn portable(x: &Tensor, Binned { bins: [down, right], .. }: Binned) -> Result<Tensor> {
    means(&means(x, 2, down)?, 3, right)
}

/// The mean of each bin along `axis`.
fn means(x: &Tensor, axis: usize, bins: Bins) -> Result<Tensor> {
    if bins.output == 1 {
        return x.mean_keepdim(axis);
    }
    let along = |values: Vec<f64>| -> Result<Tensor> {
        let mut dims = [1; 4];
        dims[axis] = bins.output;
        Tensor::from_vec(values, &dims, x.device())?.to_dtype(x.dtype())
    };
    let pixels: Vec<Range<usize>> = (0..bins.output).map(|i| bins.pixels(i)).collect();
    let mut sum: Option<Tensor> = None;
    for k in 0..bins.longest() {
        // Shorter bins read their last pixel once more, and leave it out.
        let at = pixels.iter().map(|bin| (bin.start + k).min(bin.end - 1) as u32);
        let tap = x.index_select(&Tensor::from_iter(at, x.device())?, axis)?;
        let inside = along(pixels.iter().map(|bin| f64::from(u8::from(k < bin.len()))).collect())?;
        let tap = inside.ne(0.0)?.broadcast_as(tap.shape())?.where_cond(&tap, &tap.zeros_like()?)?;
        sum = Some(match sum {
            Some(sum) => (sum + tap)?,
            None => tap,
        });
    }
    let Some(sum) = sum else { unreachable!("a bin has a pixel") };
    sum.broadcast_div(&along(pixels.iter().map(|bin| bin.len() as f64).collect())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::oracle::{assert_same, assert_types, with_gradients};
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    /// Shape of the input, bins.
    const CASES: &[([usize; 4], [usize; 2])] = &[
        ([2, 3, 7, 7], [1, 1]),
        ([1, 2, 6, 4], [3, 2]),
        ([1, 2, 13, 10], [6, 7]),
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
        let x = Var::new(&[[[[1f32, 2.0, 3.0, 4.0, 5.0]]]], &Device::Cpu)?;
        // Bins 0..2, 1..4, 3..5: the second pixel and the fourth are in two of them.
        let y = adaptive_avg_pool2d(&x, AdaptiveAvgPool2d { output: [1, 3] })?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 3.0, 4.5]);
        let dy = Tensor::new(&[[[[2f32, 3.0, 4.0]]]], &Device::Cpu)?;
        let dx = y.mul(&dy)?.sum_all()?.backward()?.remove(&x).map(|dx| dx.flatten_all()?.to_vec1::<f32>());
        assert_eq!(dx.transpose()?, Some(vec![1.0, 2.0, 1.0, 3.0, 2.0]));
        let up = adaptive_avg_pool2d(&x.narrow(3, 0, 2)?, AdaptiveAvgPool2d { output: [1, 3] })?;
        assert_eq!(up.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.5, 2.0]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for &(shape, output) in CASES {
            for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                let x = randn(1, &shape)?.to_dtype(dtype)?;
                let binned = Binned::new("test", &x, output)?;
                let ours = |x: &[Tensor]| adaptive_avg_pool2d(&x[0], AdaptiveAvgPool2d { output });
                assert_same(ours, |x| portable(&x[0], binned), &[x], tolerance)
                    .map_err(|e| e.context(format!("{shape:?} to {output:?}")))?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for &(shape, output) in CASES.iter().filter(|(shape, _)| shape.iter().product::<usize>() < 1000) {
            gradcheck(|x| adaptive_avg_pool2d(&x[0], AdaptiveAvgPool2d { output }), &[randn(2, &shape)?])?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let pool = |x: &[Tensor]| {
            adaptive_avg_pool2d(
                &x[0].transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?,
                AdaptiveAvgPool2d { output: [2, 3] },
            )
        };
        let x = randn(3, (2, 3, 7, 6))?;
        gradcheck(pool, std::slice::from_ref(&x))?;
        let copy = x.transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?.copy()?;
        let expected = adaptive_avg_pool2d(&copy, AdaptiveAvgPool2d { output: [2, 3] })?;
        assert_close(&pool(&[x])?, &expected, 0.0, 0.0)
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let x = randn(5, (5, 0x20, 30, 30))?.to_dtype(DType::F32)?;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                with_gradients(
                    |x| adaptive_avg_pool2d(&x[0], AdaptiveAvgPool2d { output: [3, 4] }),
                    std::slice::from_ref(&x),
                )
            })
        };
        let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
        let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
        assert_close(&y, &z, 0.0, 0.0)?;
        assert_close(dx, dz, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let pool = AdaptiveAvgPool2d { output: [3, 4] };
        assert_types("adaptive_avg_pool2d", |x| pool.forward(&x[0]), &[randn(6, (1, 2, 7, 6))?])
    }

    #[test]
    fn one_bin_is_the_mean() -> Result<()> {
        let x = randn(4, (2, 3, 5, 6))?;
        let y = AdaptiveAvgPool2d::GLOBAL.forward(&x)?;
        assert_close(&y, &x.mean_keepdim((2, 3))?, 1e-14, 1e-14)
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, output, rule) in [
            (vec![2, 5, 5], [1, 1], "adaptive_avg_pool2d: x must be [B, C, H, W], got [2, 5, 5]"),
            (vec![1, 1, 0, 5], [1, 1], "must have channels, height and width, got [1, 1, 0, 5]"),
            (vec![1, 1, 5, 5], [2, 0], "output must be at least 1 × 1, got [2, 0]"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = adaptive_avg_pool2d(&x, AdaptiveAvgPool2d { output }).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
