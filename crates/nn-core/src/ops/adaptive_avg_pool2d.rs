//! Adaptive average pooling: the mean of each of a fixed number of bins, whatever the size of the input.
//!
//! Why not Candle's: it has none.

use std::ops::Range;

use candle_core::{Module, Result, Shape, Tensor};

use super::kernel::{Kernel, View, apply1, detached1, on_cpu};
use super::pooling::image_sizes;
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::sum_taps;
use crate::cpu::simd::vectorised;
use crate::ensure;

/// The bins of [`adaptive_avg_pool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d {
    /// How many along height and width.
    pub output: [usize; 2],
}

impl AdaptiveAvgPool2d {
    /// One bin: the mean of each plane.
    pub const GLOBAL: Self = Self { output: [1, 1] };
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
    let (lead, input) = image_sizes("adaptive_avg_pool2d", x)?;
    let output = options.output;
    ensure!(!output.contains(&0), "adaptive_avg_pool2d: output must be at least 1 × 1, got {output:?}");
    let bins = [0, 1].map(|axis| Bins { input: input[axis], output: output[axis] });
    let plan = Binned { lead, bins };
    if on_cpu(&[x]) { apply1(plan, x) } else { portable(x, bins) }
}

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        adaptive_avg_pool2d(x, *self)
    }
}

/// The bins along one axis.
#[derive(Clone, Copy)]
struct Bins {
    input: usize,
    output: usize,
}

impl Bins {
    /// The pixels of bin `i`.
    fn pixels(&self, i: usize) -> Range<usize> {
        i * self.input / self.output..((i + 1) * self.input).div_ceil(self.output)
    }

    /// The bins that hold `pixel`.
    fn holding(&self, pixel: usize) -> Range<usize> {
        pixel * self.output / self.input..((pixel + 1) * self.output).div_ceil(self.input)
    }
}

#[derive(Clone, Copy)]
struct Binned {
    lead: [usize; 2],
    bins: [Bins; 2],
}

impl Binned {
    /// Pixels of a plane before and after.
    fn planes(&self) -> [usize; 2] {
        let [down, right] = self.bins;
        [down.input * right.input, down.output * right.output]
    }

    /// Elementary operations of a pass.
    fn work(&self) -> usize {
        let [b, c] = self.lead;
        let [before, after] = self.planes();
        b * c * (before + after)
    }
}

impl Kernel<1> for Binned {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let ([b, c], [down, right], [plane, binned]) = (self.lead, self.bins, self.planes());
        let start = |row: usize| row * right.input;
        let rows: Vec<Vec<usize>> = (0..down.output).map(|o| down.pixels(o).map(start).collect()).collect();
        let columns: Vec<Range<usize>> = (0..right.output).map(|o| right.pixels(o)).collect();
        let y = collect_chunks(
            [b * c, binned],
            self.work(),
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
        Ok((y, (b, c, down.output, right.output).into()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(*self), dy)?)])
    }
}

/// `dx[pixel] = Σ over the bins o that hold it of dy[o] / pixels of o`
#[derive(Clone, Copy)]
struct Gradient(Binned);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "adaptive_avg_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let ([b, c], [down, right], [plane, binned]) = (self.0.lead, self.0.bins, self.0.planes());
        let start = |row: usize| row * right.input;
        let rows: Vec<Vec<usize>> = (0..down.input).map(|r| down.holding(r).map(start).collect()).collect();
        let dx = collect_chunks(
            [b * c, plane],
            self.0.work(),
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
        Ok((dx, (b, c, down.input, right.input).into()))
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(x: &Tensor, [down, right]: [Bins; 2]) -> Result<Tensor> {
    means(&means(x, 2, down)?, 3, right)
}

/// The mean of each bin along `axis`.
fn means(x: &Tensor, axis: usize, bins: Bins) -> Result<Tensor> {
    let along = |values: Vec<f64>| -> Result<Tensor> {
        let mut dims = [1; 4];
        dims[axis] = bins.output;
        Tensor::from_vec(values, &dims, x.device())?.to_dtype(x.dtype())
    };
    let pixels: Vec<Range<usize>> = (0..bins.output).map(|i| bins.pixels(i)).collect();
    let longest = pixels.iter().map(Range::len).max().unwrap_or(0);
    let mut sum: Option<Tensor> = None;
    for k in 0..longest {
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

    use super::super::oracle::{assert_same, with_gradients};
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
    fn bins_and_pixels_know_each_other() {
        for (input, output) in (1..12).flat_map(|i| (1..12).map(move |o| (i, o))) {
            let bins = Bins { input, output };
            for pixel in 0..input {
                let found = (0..output).filter(|&o| bins.pixels(o).contains(&pixel)).collect::<Vec<_>>();
                assert_eq!(
                    bins.holding(pixel).collect::<Vec<_>>(),
                    found,
                    "{input} to {output}, pixel {pixel}"
                );
            }
        }
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for &(shape, output) in CASES {
            for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                let x = randn(1, &shape)?.to_dtype(dtype)?;
                let bins = [0, 1].map(|axis| Bins { input: shape[2 + axis], output: output[axis] });
                let ours = |x: &[Tensor]| adaptive_avg_pool2d(&x[0], AdaptiveAvgPool2d { output });
                assert_same(ours, |x| portable(&x[0], bins), &[x], tolerance)
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
    fn half_precision_is_pooled_in_single() -> Result<()> {
        for dtype in [DType::BF16, DType::F16] {
            let x = randn(6, (1, 2, 7, 6))?.to_dtype(dtype)?;
            let y = adaptive_avg_pool2d(&x, AdaptiveAvgPool2d { output: [3, 4] })?;
            assert_eq!(y.dtype(), dtype);
            let expected =
                adaptive_avg_pool2d(&x.to_dtype(DType::F64)?, AdaptiveAvgPool2d { output: [3, 4] })?;
            assert_close(&y, &expected, 0.02, 0.02)?;
        }
        Ok(())
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
