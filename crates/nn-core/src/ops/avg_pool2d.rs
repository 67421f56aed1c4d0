//! Average pooling: the mean of each window.
//!
//! Why not Candle's: it knows no padding or rounding up, refuses a gradient unless kernel = stride, and gives a
//! gradient to pixels that no window covers.

mod gradient;
mod plane;

use candle_core::{Device, Module, Result, Shape, Tensor};

use self::gradient::Gradient;
use self::plane::{Plane, divisors};
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::pooling::Pooling;
use super::precision::{half_precision, widen};
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::simd::vectorised;
use crate::ensure;
use crate::graph::Operation;

/// What the sum over a window is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Divisor {
    /// Its pixels, padding included; what a window sees beyond the padding (rounding up) does not count.
    #[default]
    Window,
    /// Its pixels inside the input (PyTorch's `count_include_pad=False`).
    Inside,
    /// A number other than zero (PyTorch's `divisor_override`).
    Fixed(usize),
}

/// The windows of [`avg_pool2d`], `[height, width]`, and of [`avg_pool1d`](super::avg_pool1d()), `[length]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool<const AXES: usize> {
    /// Height and width of a window, or its length, in pixels.
    pub kernel: [usize; AXES],
    /// From a window to the next, in pixels.
    pub stride: [usize; AXES],
    /// Pixels of zero added on either side, at most half the kernel.
    pub padding: [usize; AXES],
    /// What becomes of pixels at the lower and right edge that do not fill a stride.
    pub rounding: Rounding,
    /// What sums are divided by.
    pub divisor: Divisor,
}

/// The windows of [`avg_pool2d`].
pub type AvgPool2d = AvgPool<2>;

impl<const AXES: usize> AvgPool<AXES> {
    /// Windows side by side: the stride is the kernel. Other options by struct update.
    pub const fn new(kernel: [usize; AXES]) -> Self {
        let padding = [0; AXES];
        Self { kernel, stride: kernel, padding, rounding: Rounding::Floor, divisor: Divisor::Window }
    }

    /// The windows along one axis.
    pub(super) fn window(&self, axis: usize) -> Window {
        Window {
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: 1,
            padding: [self.padding[axis]; 2],
            rounding: self.rounding,
        }
    }
}

/// `y[b, c, i, j] = Σ over (m, n) of x[b, c, i·s + m − p, j·s + n − p] / divisor`
///
/// `[B, C, H, W]` → `[B, C, H', W']` with `H' = ⌊(H + 2p − k) / s⌋ + 1`, or rounded up, for kernel `k`, stride `s` and
/// padding `p` along the axis.
///
/// # Errors
/// If `x` is not rank 4, or a size other than its batch is zero; if kernel, stride or divisor is zero, the
/// padding more than half the kernel, or no window fits.
pub fn avg_pool2d(x: &Tensor, options: AvgPool2d) -> Result<Tensor> {
    if let Some(half) = half_precision("avg_pool2d", &[x])? {
        return avg_pool2d(&widen(x)?, options)?.to_dtype(half);
    }
    let pooling = Pooling::new("avg_pool2d", x, [options.window(0), options.window(1)])?;
    let plan = Average::new("avg_pool2d", pooling, options.divisor)?;
    if on_cpu(&[x]) { apply1(plan, x) } else { portable(x, plan) }
}

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        avg_pool2d(x, *self)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Average {
    pooling: Pooling,
    divisor: Divisor,
}

impl Average {
    pub(super) fn new(who: &str, pooling: Pooling, divisor: Divisor) -> Result<Self> {
        ensure!(divisor != Divisor::Fixed(0), "{who}: divisor must not be zero, got {divisor:?}");
        Ok(Self { pooling, divisor })
    }

    /// What the sum over window `[i, j]` is divided by.
    fn divisor(&self, at: [usize; 2]) -> f64 {
        let pixels = |axis: usize| {
            let (window, size) = (self.pooling.windows[axis], self.pooling.input[axis]);
            match self.divisor {
                Divisor::Inside => window.taps(size, at[axis]).len(),
                _ => {
                    let padded = window.padding[0] + size + window.padding[1];
                    window.kernel.min(padded - at[axis] * window.stride)
                }
            }
        };
        match self.divisor {
            Divisor::Fixed(n) => n as f64,
            _ => (pixels(0) * pixels(1)) as f64,
        }
    }
}

impl Kernel<1> for Average {
    const NAME: &'static str = "avg_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let p = self.pooling;
        let y = collect_chunks(
            [p.planes(), p.pooled()],
            p.work(),
            || Plane::new(self),
            |plane, i| {
                vectorised(
                    #[inline(always)]
                    || plane.average(&x.data[i * p.plane()..][..p.plane()]),
                );
                &plane.y
            },
        );
        Ok((y, p.shape()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(*self), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let plain = |w: &Window| w.rounding == Rounding::Floor;
        let bare = |w: &Window| w.padding == [0, 0];
        let windows = &self.pooling.windows;
        let divisor = match self.divisor {
            // A window at the end counts the padding that was asked for, and not how far it reaches.
            Divisor::Window if windows.iter().all(bare) => Divisor::Inside,
            Divisor::Window if !windows.iter().all(plain) => return Vec::new(),
            divisor => divisor,
        };
        vec![Operation::AveragePool { taps: self.pooling.sliding(), divisor }]
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
pub(super) fn portable(x: &Tensor, a: Average) -> Result<Tensor> {
    let mut taps = a.pooling.taps(x, 0.0)?.into_iter();
    let Some((_, mut sum)) = taps.next() else { unreachable!("a window has a tap") };
    for (_, tap) in taps {
        sum = (sum + tap)?;
    }
    let [rows, columns] = a.pooling.output;
    let divisors = Tensor::from_vec(divisors::<f64>(&a, columns), (1, 1, rows, columns), &Device::Cpu)?;
    sum.broadcast_div(&divisors.to_dtype(x.dtype())?.to_device(x.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::super::oracle::{assert_same, assert_types, with_gradients};
    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    const PLAIN: AvgPool2d = AvgPool2d::new([2, 2]);
    const SAME: AvgPool2d = AvgPool2d { stride: [1, 1], padding: [1, 1], ..AvgPool2d::new([3, 3]) };
    const CEIL: AvgPool2d = AvgPool2d { stride: [2, 2], rounding: Rounding::Ceil, ..SAME };

    /// Shape of the input, windows.
    const CASES: &[([usize; 4], AvgPool2d)] = &[
        ([2, 3, 4, 6], PLAIN),
        ([1, 2, 5, 5], PLAIN),
        ([1, 2, 5, 7], AvgPool2d { rounding: Rounding::Ceil, ..PLAIN }),
        ([2, 1, 7, 9], SAME),
        ([2, 1, 7, 9], CEIL),
        ([2, 1, 8, 6], CEIL),
        ([1, 1, 9, 5], AvgPool2d { padding: [0, 0], ..CEIL }),
        ([1, 2, 9, 8], AvgPool2d { stride: [3, 3], ..AvgPool2d::new([5, 5]) }),
        ([1, 2, 6, 7], AvgPool2d { stride: [2, 1], padding: [0, 2], ..AvgPool2d::new([1, 4]) }),
        ([1, 2, 7, 6], AvgPool2d { stride: [3, 5], ..AvgPool2d::new([2, 1]) }),
        ([1, 1, 9, 21], AvgPool2d { stride: [2, 2], padding: [3, 2], ..AvgPool2d::new([7, 5]) }),
        ([1, 1, 1, 1], AvgPool2d::new([1, 1])),
        ([1, 1, 1, 1], SAME),
        ([1, 1, 1, 1], AvgPool2d { rounding: Rounding::Ceil, ..PLAIN }),
        ([0, 2, 5, 5], SAME),
        ([3, 0x20, 40, 40], SAME), // worth a thread
    ];

    /// Every case with every divisor.
    fn cases() -> impl Iterator<Item = ([usize; 4], AvgPool2d)> {
        CASES.iter().flat_map(|&(shape, options)| {
            [Divisor::Window, Divisor::Inside, Divisor::Fixed(3)]
                .map(|divisor| (shape, AvgPool2d { divisor, ..options }))
        })
    }

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Var::new(&[[[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]], &Device::Cpu)?;
        let pool = AvgPool2d { stride: [2, 2], padding: [1, 1], rounding: Rounding::Ceil, ..PLAIN };
        for (divisor, expected) in [
            (Divisor::Window, [0.25, 1.25, 2.75, 7.0]),
            (Divisor::Inside, [1.0, 2.5, 5.5, 7.0]),
            (Divisor::Fixed(2), [0.5, 2.5, 5.5, 14.0]),
        ] {
            let y = avg_pool2d(&x, AvgPool2d { divisor, ..pool })?;
            assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, expected, "{divisor:?}");
        }
        // Beyond the padding nothing counts: this window has two rows, and one column.
        let y = avg_pool2d(&x.narrow(3, 0, 1)?.narrow(2, 0, 2)?, AvgPool2d { padding: [0, 0], ..pool })?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2.5]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for (shape, options) in cases() {
            for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                let x = randn(1, &shape)?.to_dtype(dtype)?;
                let oracle = |x: &Tensor| {
                    let pooling = Pooling::new("test", x, [options.window(0), options.window(1)])?;
                    portable(x, Average { pooling, divisor: options.divisor })
                };
                assert_same(|x| avg_pool2d(&x[0], options), |x| oracle(&x[0]), &[x], tolerance)
                    .map_err(|e| e.context(format!("{shape:?} {options:?}")))?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for (shape, options) in cases().filter(|(shape, _)| shape.iter().product::<usize>() < 1000) {
            gradcheck(|x| avg_pool2d(&x[0], options), &[randn(2, &shape)?])?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        for options in [PLAIN, SAME] {
            let pool =
                |x: &[Tensor]| avg_pool2d(&x[0].transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?, options);
            let x = randn(3, (2, 3, 7, 6))?;
            gradcheck(pool, std::slice::from_ref(&x))?;
            let copy = x.transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?.copy()?;
            assert_close(&pool(&[x])?, &avg_pool2d(&copy, options)?, 0.0, 0.0)?;
        }
        Ok(())
    }

    #[test]
    fn infinity_and_nan_stay_in_their_windows() -> Result<()> {
        let x = Tensor::new(&[[[[f64::INFINITY, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, f64::NAN]]]], &Device::Cpu)?;
        let y = avg_pool2d(&x, AvgPool2d::new([1, 2]))?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(y[..3], [f64::INFINITY, 1.0, 0.0]);
        assert!(y[3].is_nan());
        Ok(())
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let x = randn(5, (5, 0x20, 30, 30))?.to_dtype(DType::F32)?;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| with_gradients(|x| avg_pool2d(&x[0], SAME), std::slice::from_ref(&x)))
        };
        let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
        let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
        assert_close(&y, &z, 0.0, 0.0)?;
        assert_close(dx, dz, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("avg_pool2d", |x| avg_pool2d(&x[0], SAME), &[randn(6, (1, 2, 7, 6))?])
    }

    #[test]
    fn a_module_is_the_function() -> Result<()> {
        let x = randn(4, (1, 2, 5, 5))?;
        assert_close(&SAME.forward(&x)?, &avg_pool2d(&x, SAME)?, 0.0, 0.0)
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, options, rule) in [
            (vec![2, 5, 5], PLAIN, "avg_pool2d: x must be [B, C, H, W], got [2, 5, 5]"),
            (vec![1, 0, 5, 5], PLAIN, "must have channels, height and width, got [1, 0, 5, 5]"),
            (
                vec![1, 1, 5, 5],
                AvgPool2d { stride: [2, 0], ..PLAIN },
                "stride must be at least 1 along the width",
            ),
            (vec![1, 1, 5, 5], AvgPool2d::new([0, 2]), "kernel must be at least 1 along the height"),
            (
                vec![1, 1, 5, 5],
                AvgPool2d { padding: [2, 1], ..SAME },
                "half the kernel of 3 along the height, got 2",
            ),
            (vec![1, 1, 5, 1], PLAIN, "a window of 2 and 1 pixels along the width"),
            (vec![1, 1, 5, 5], AvgPool2d { divisor: Divisor::Fixed(0), ..PLAIN }, "divisor must not be zero"),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = avg_pool2d(&x, options).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
