//! Average pooling: the mean of each window.
//!
//! Why not Candle's: it knows no padding or rounding up, refuses a gradient unless kernel = stride, and gives a
//! gradient to pixels that no window covers.

use candle_core::{Device, Module, Result, Shape, Tensor};

use super::kernel::{Kernel, View, apply1, detached1, on_cpu};
use super::pooling::Pooling;
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::{Phases, sum_taps};
use crate::cpu::simd::vectorised;
use crate::ensure;

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

/// The windows of [`avg_pool2d`], `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Height and width of a window, in pixels.
    pub kernel: [usize; 2],
    /// From a window to the next, in pixels.
    pub stride: [usize; 2],
    /// Pixels of zero added on either side, at most half the kernel.
    pub padding: [usize; 2],
    /// What becomes of pixels at the lower and right edge that do not fill a stride.
    pub rounding: Rounding,
    /// What sums are divided by.
    pub divisor: Divisor,
}

impl AvgPool2d {
    /// Windows side by side: the stride is the kernel. Other options by struct update.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0, 0], rounding: Rounding::Floor, divisor: Divisor::Window }
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
    ensure!(
        options.divisor != Divisor::Fixed(0),
        "avg_pool2d: divisor must not be zero, got {:?}",
        options.divisor
    );
    let pooling = Pooling::new("avg_pool2d", x, windows(options))?;
    let plan = Average { pooling, divisor: options.divisor };
    if on_cpu(&[x]) { apply1(plan, x) } else { portable(x, plan) }
}

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        avg_pool2d(x, *self)
    }
}

/// The windows along height and width.
fn windows(o: AvgPool2d) -> [Window; 2] {
    [0, 1].map(|axis| Window {
        kernel: o.kernel[axis],
        stride: o.stride[axis],
        dilation: 1,
        padding: [o.padding[axis]; 2],
        rounding: o.rounding,
    })
}

#[derive(Clone, Copy)]
struct Average {
    pooling: Pooling,
    divisor: Divisor,
}

impl Average {
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
            || Scratch::new(self),
            |scratch, i| {
                vectorised(
                    #[inline(always)]
                    || scratch.average(&x.data[i * p.plane()..][..p.plane()]),
                );
                &scratch.y
            },
        );
        Ok((y, p.shape()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(*self), dy)?)])
    }
}

/// `dx[pixel] = Σ over the windows o that cover it of dy[o] / divisor`
#[derive(Clone, Copy)]
struct Gradient(Average);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "avg_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let p = self.0.pooling;
        let dx = collect_chunks(
            [p.planes(), p.plane()],
            p.work(),
            || GradientScratch::new(&self.0),
            |scratch, i| {
                vectorised(
                    #[inline(always)]
                    || scratch.spread(&dy.data[i * p.pooled()..][..p.pooled()]),
                );
                &scratch.dx
            },
        );
        Ok((dx, p.input_shape()))
    }
}

/// One plane on its way: rows of pixels are summed first, then pixels of the sums.
struct Scratch<T> {
    pooling: Pooling,
    phases: Phases,
    /// Where the rows of pixels start that each row of windows covers.
    rows: Vec<Vec<usize>>,
    /// Their sums, `[H', W]`, in rows and dealt out.
    sums: Vec<T>,
    buffer: Vec<T>,
    /// Where the taps along the width are in `buffer`.
    taps: Vec<usize>,
    /// The sums over windows and what they are divided by, in rows of one pitch.
    windows: Vec<T>,
    divisors: Vec<T>,
    y: Vec<T>,
}

impl<T: Element> Scratch<T> {
    fn new(a: &Average) -> Self {
        let p = a.pooling;
        let ([height, width], [rows, columns], [down, right]) = (p.input, p.output, p.windows);
        let phases = Phases::new(right, rows, width, columns);
        let start = |o: usize, m: usize| (down.start(o) + m as isize) as usize * width;
        Self {
            pooling: p,
            phases,
            rows: (0..rows).map(|o| down.taps(height, o).map(|m| start(o, m)).collect()).collect(),
            sums: vec![T::ZERO; rows * width],
            buffer: phases.buffer(T::ZERO),
            taps: (0..right.kernel).map(|t| phases.tap(t).start).collect(),
            windows: vec![T::ZERO; phases.phase()],
            divisors: divisors(a, phases.pitch()),
            y: vec![T::ZERO; p.pooled()],
        }
    }

    #[inline(always)]
    fn average(&mut self, x: &[T]) {
        for (sum, rows) in self.sums.chunks_exact_mut(self.pooling.input[1]).zip(&self.rows) {
            sum_taps(x, rows, sum);
        }
        self.phases.split(&self.sums, &mut self.buffer);
        sum_taps(&self.buffer, &self.taps, &mut self.windows);
        let columns = self.pooling.output[1];
        let pitch = self.phases.pitch();
        if columns == pitch {
            divide(&self.windows, &self.divisors, &mut self.y);
            return;
        }
        let rows = self.windows.chunks_exact(pitch).zip(self.divisors.chunks_exact(pitch));
        for (y, (sum, divisor)) in self.y.chunks_exact_mut(columns).zip(rows) {
            divide(&sum[..columns], &divisor[..columns], y);
        }
    }
}

/// One plane of the gradient on its way back: along the width first.
struct GradientScratch<T> {
    pooling: Pooling,
    phases: Phases,
    divisors: Vec<T>,
    /// Gradients of sums over windows, in rows of one pitch with zeros between them and before the first.
    windows: Vec<T>,
    /// For each phase, where the windows are in `windows` that its pixels are in.
    taps: Vec<Vec<usize>>,
    /// Gradients of sums of rows, `[H', W]`, dealt out and in rows.
    buffer: Vec<T>,
    sums: Vec<T>,
    /// Where the rows of windows start that cover each row of pixels.
    rows: Vec<Vec<usize>>,
    dx: Vec<T>,
}

impl<T: Element> GradientScratch<T> {
    fn new(a: &Average) -> Self {
        let p = a.pooling;
        let ([height, width], [rows, columns], [down, right]) = (p.input, p.output, p.windows);
        let phases = Phases::new(right, rows, width, columns);
        let gap = phases.pitch() - columns;
        let taps = |phase: usize| (phase..right.kernel).step_by(right.stride).map(|t| gap - t / right.stride);
        Self {
            pooling: p,
            phases,
            divisors: divisors(a, columns),
            windows: vec![T::ZERO; gap + phases.phase()],
            taps: (0..phases.used()).map(|phase| taps(phase).collect()).collect(),
            buffer: phases.buffer(T::ZERO),
            sums: vec![T::ZERO; rows * width],
            rows: (0..height).map(|r| down.covering(r, rows).map(|o| o * width).collect()).collect(),
            dx: vec![T::ZERO; p.plane()],
        }
    }

    #[inline(always)]
    fn spread(&mut self, dy: &[T]) {
        let (columns, pitch) = (self.pooling.output[1], self.phases.pitch());
        let gap = pitch - columns;
        if gap == 0 {
            divide(dy, &self.divisors, &mut self.windows);
        } else {
            let rows = dy.chunks_exact(columns).zip(self.divisors.chunks_exact(columns));
            for (window, (dy, divisor)) in self.windows[gap..].chunks_exact_mut(pitch).zip(rows) {
                divide(dy, divisor, &mut window[..columns]);
            }
        }
        for (taps, phase) in self.taps.iter().zip(self.buffer.chunks_exact_mut(self.phases.phase())) {
            sum_taps(&self.windows, taps, phase);
        }
        self.phases.merge(&self.buffer, &mut self.sums);
        for (dx, rows) in self.dx.chunks_exact_mut(self.pooling.input[1]).zip(&self.rows) {
            sum_taps(&self.sums, rows, dx);
        }
    }
}

/// The divisor of each window, in rows of `pitch`; what is between two rows is divided by one.
fn divisors<T: Element>(a: &Average, pitch: usize) -> Vec<T> {
    let [rows, columns] = a.pooling.output;
    let at = |i: usize| [i / pitch, i % pitch];
    let divisor = |[i, j]: [usize; 2]| if j < columns { a.divisor([i, j]) } else { 1.0 };
    (0..rows * pitch).map(|i| T::of(divisor(at(i)))).collect()
}

#[inline(always)]
fn divide<T: Element>(sums: &[T], divisors: &[T], y: &mut [T]) {
    for ((y, &sum), &divisor) in y.iter_mut().zip(sums).zip(divisors) {
        *y = sum / divisor;
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(x: &Tensor, a: Average) -> Result<Tensor> {
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

    /// Value and gradient of `f` at `x`, the output weighted so that errors cannot cancel.
    fn both(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<[Tensor; 2]> {
        let x = Var::from_tensor(x)?;
        let y = f(&x)?;
        let grads = y.mul(&randn(9, y.dims())?.to_dtype(x.dtype())?)?.sum_all()?.backward()?;
        Ok([y, grads.get(&x).cloned().expect("the input's gradient")])
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for (shape, options) in cases() {
            for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                let x = randn(1, &shape)?.to_dtype(dtype)?;
                let oracle = |x: &Tensor| {
                    let pooling = Pooling::new("test", x, windows(options))?;
                    portable(x, Average { pooling, divisor: options.divisor })
                };
                let (ours, oracle) = (both(|x| avg_pool2d(x, options), &x)?, both(oracle, &x)?);
                for (ours, oracle) in ours.iter().zip(&oracle) {
                    assert_close(ours, oracle, tolerance, tolerance)
                        .map_err(|e| e.context(format!("{shape:?} {options:?}")))?;
                }
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
