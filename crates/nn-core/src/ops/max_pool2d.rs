//! Max pooling: the largest pixel of each window.
//!
//! Why not Candle's: it knows no padding, dilation or rounding up, refuses a gradient unless kernel = stride,
//! and divides the gradient it has by the size of the window.
//! Differs: nothing from PyTorch: the first of equal maxima takes the gradient, in row-major order; NaN counts
//! as larger than any number, and the last one of a window takes the gradient.

use candle_core::{Device, Module, Result, Shape, Tensor};

use super::kernel::{Kernel, View, apply1, detached2, on_cpu};
use super::pooling::Pooling;
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::Phases;
use crate::cpu::simd::{block, vectorised};
use crate::ensure;

/// The windows of [`max_pool2d`], `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Taps of a window.
    pub kernel: [usize; 2],
    /// From a window to the next, in pixels.
    pub stride: [usize; 2],
    /// Pixels of −∞ added on either side, at most half the kernel.
    pub padding: [usize; 2],
    /// From a tap to the next, in pixels.
    pub dilation: [usize; 2],
    /// What becomes of pixels at the lower and right edge that do not fill a stride.
    pub rounding: Rounding,
}

impl MaxPool2d {
    /// Windows side by side: the stride is the kernel. Other options by struct update.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0, 0], dilation: [1, 1], rounding: Rounding::Floor }
    }
}

/// `y[b, c, i, j] = max over (m, n) of x[b, c, i·s + m·d − p, j·s + n·d − p]`
///
/// `[B, C, H, W]` → `[B, C, H', W']` with `H' = ⌊(H + 2p − d·(k − 1) − 1) / s⌋ + 1`, or rounded up, for kernel `k`,
/// stride `s`, padding `p` and dilation `d` along the axis.
///
/// # Errors
/// If `x` is not rank 4, or a size other than its batch is zero; if kernel, stride or dilation is zero, the
/// padding more than half the kernel, or no window fits; if a dilated window steps over the whole input.
pub fn max_pool2d(x: &Tensor, options: MaxPool2d) -> Result<Tensor> {
    let p = Pooling::new("max_pool2d", x, windows(options))?;
    for axis in 0..2 {
        let blind = (0..p.output[axis]).any(|o| p.windows[axis].taps(p.input[axis], o).is_empty());
        ensure!(
            !blind,
            "max_pool2d: every window must see a pixel, got dilation {:?} on {:?}",
            options.dilation,
            x.dims()
        );
    }
    ensure!(
        u32::try_from(p.plane()).is_ok(),
        "max_pool2d: a plane must have less than 2³² pixels, got {:?}",
        x.dims()
    );
    if on_cpu(&[x]) { apply1(Maxima(p), x) } else { portable(x, p) }
}

/// The windows along height and width.
fn windows(o: MaxPool2d) -> [Window; 2] {
    [0, 1].map(|axis| Window {
        kernel: o.kernel[axis],
        stride: o.stride[axis],
        dilation: o.dilation[axis],
        padding: [o.padding[axis]; 2],
        rounding: o.rounding,
    })
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        max_pool2d(x, *self)
    }
}

#[derive(Clone, Copy)]
struct Maxima(Pooling);

impl Kernel<1> for Maxima {
    const NAME: &'static str = "max_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let p = self.0;
        let y = collect_chunks(
            [p.planes(), p.pooled()],
            p.work(),
            || (Scan::<T, ()>::new(p), vec![T::ZERO; p.pooled()]),
            |(scan, y), i| {
                vectorised(
                    #[inline(always)]
                    || {
                        scan.columns(&x.data[i * p.plane()..][..p.plane()]);
                        for (o, y) in y.chunks_exact_mut(p.output[1]).enumerate() {
                            scan.row(o, y, &mut vec![(); p.output[1]]);
                        }
                    },
                );
                y
            },
        );
        Ok((y, p.shape()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached2(Gradient(self.0), x, dy)?)])
    }
}

/// `dx[place of the maximum of window o] += dy[o]`
#[derive(Clone, Copy)]
struct Gradient(Pooling);

impl Kernel<2> for Gradient {
    const NAME: &'static str = "max_pool2d-dx";

    fn forward<T: Element>(&self, [x, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let p = self.0;
        let dx = collect_chunks(
            [p.planes(), p.plane()],
            p.work(),
            || {
                (
                    Scan::<T, u32>::new(p),
                    vec![T::ZERO; p.plane()],
                    vec![T::ZERO; p.output[1]],
                    vec![0; p.output[1]],
                )
            },
            |(scan, dx, best, place), i| {
                vectorised(
                    #[inline(always)]
                    || {
                        scan.columns(&x.data[i * p.plane()..][..p.plane()]);
                        dx.fill(T::ZERO);
                        let dy = dy.data[i * p.pooled()..][..p.pooled()].chunks_exact(p.output[1]);
                        for (o, dy) in dy.enumerate() {
                            scan.row(o, best, place);
                            scatter(p, o, place, dy, dx);
                        }
                    },
                );
                dx
            },
        );
        Ok((dx, p.input_shape()))
    }
}

/// Adds the gradient of row `o` of the windows to the pixels their maxima are at.
#[inline(always)]
fn scatter<T: Element>(p: Pooling, o: usize, place: &[u32], dy: &[T], dx: &mut [T]) {
    let [down, right] = p.windows;
    // Where a window starts may lie before the plane; the place of its maximum does not.
    let start = down.start(o) * p.input[1] as isize + right.start(0);
    let mut start = start as usize;
    for (&place, &dy) in place.iter().zip(dy) {
        dx[start.wrapping_add(place as usize)] += dy;
        start = start.wrapping_add(right.stride);
    }
}

/// The place of a pixel, counted from the start of its window; nothing where nobody asks for it.
trait Place: Copy + Send + Sync {
    fn at(offset: usize) -> Self;
    fn plus(self, offset: Self) -> Self;
}

impl Place for u32 {
    fn at(offset: usize) -> Self {
        offset as u32
    }

    fn plus(self, offset: Self) -> Self {
        self.wrapping_add(offset)
    }
}

impl Place for () {
    fn at(_: usize) {}

    fn plus(self, (): Self) {}
}

/// The only walk over windows there is: forward reads the maxima it finds, backward their places.
///
/// First the maxima of every row of pixels under every window, then of the rows of a window: in this order the first
/// of equal maxima is the first in row-major order.
struct Scan<T, P> {
    phases: Phases,
    buffer: Vec<T>,
    /// The taps along the width, in `buffer` and `places`.
    taps: Vec<Tap<P>>,
    /// The places of tap 0, that is of the first pixel if the tap sees none, and zeros for the other taps.
    places: Vec<P>,
    best: Vec<T>,
    place: Vec<P>,
    /// The rows of pixels that each row of windows sees, in `best` and `place`.
    rows: Vec<Vec<Tap<P>>>,
}

/// What a tap sees, for one window after the other.
struct Tap<P> {
    /// Where the pixels start.
    values: usize,
    /// Where their places start, counted from the start of the window but for `offset`.
    places: usize,
    offset: P,
}

impl<T: Element, P: Place> Scan<T, P> {
    fn new(p: Pooling) -> Self {
        let ([height, width], [down, right]) = (p.input, p.windows);
        let phases = Phases::new(right, height, width, p.output[1]);
        let tap = |t: usize| {
            let places = if t == 0 { 0 } else { phases.phase() };
            Tap { values: phases.tap(t).start, places, offset: P::at(t * right.dilation) }
        };
        let first = |i: usize| if i < p.output[1] { right.taps(width, i).start * right.dilation } else { 0 };
        let mut places: Vec<P> = (0..phases.phase()).map(|i| P::at(first(i % phases.pitch()))).collect();
        places.resize(2 * phases.phase(), P::at(0));
        let row = |o: usize, m: usize| {
            let below = m * down.dilation;
            let start = (down.start(o) + below as isize) as usize * phases.pitch();
            Tap { values: start, places: start, offset: P::at(below * width) }
        };
        Self {
            phases,
            buffer: phases.buffer(T::NEG_INFINITY),
            taps: (0..right.kernel).map(tap).collect(),
            places,
            best: vec![T::ZERO; phases.phase()],
            place: vec![P::at(0); phases.phase()],
            rows: (0..p.output[0]).map(|o| down.taps(height, o).map(|m| row(o, m)).collect()).collect(),
        }
    }

    /// Finds the maximum of each row of pixels under each window.
    #[inline(always)]
    fn columns(&mut self, x: &[T]) {
        self.phases.split(x, &mut self.buffer);
        maxima(&self.taps, (&self.buffer, &self.places), (&mut self.best, &mut self.place));
    }

    /// Finds the maximum of each window of row `o`, from those of its rows of pixels.
    #[inline(always)]
    fn row(&self, o: usize, best: &mut [T], place: &mut [P]) {
        maxima(&self.rows[o], (&self.best, &self.place), (best, place));
    }
}

/// The first maximum over the taps of each window, and its place.
#[inline(always)]
fn maxima<T: Element, P: Place>(taps: &[Tap<P>], x: (&[T], &[P]), y: (&mut [T], &mut [P])) {
    // Whole vectors even for short rows.
    match y.0.len() {
        16.. => blocks::<T, P, 16>(taps, x, y),
        8.. => blocks::<T, P, 8>(taps, x, y),
        4.. => blocks::<T, P, 4>(taps, x, y),
        _ => blocks::<T, P, 1>(taps, x, y),
    }
}

/// [`maxima`] of `N` windows at a time; the last ones are worked out twice if `N` does not divide their number.
#[inline(always)]
fn blocks<T: Element, P: Place, const N: usize>(
    taps: &[Tap<P>],
    (x, places): (&[T], &[P]),
    (best, place): (&mut [T], &mut [P]),
) {
    let mut start = 0;
    while start < best.len() {
        let at = start.min(best.len() - N);
        let mut b = block::<T, N>(x, taps[0].values + at);
        let mut p = block::<P, N>(places, taps[0].places + at);
        for i in 0..N {
            p[i] = p[i].plus(taps[0].offset);
        }
        for tap in &taps[1..] {
            let x = block::<T, N>(x, tap.values + at);
            let q = block::<P, N>(places, tap.places + at);
            // A loop for each: of one loop with two choices the compiler makes branches, not vectors.
            let mut wins = [false; N];
            for i in 0..N {
                wins[i] = beats(x[i], b[i]);
            }
            for i in 0..N {
                p[i] = if wins[i] { q[i].plus(tap.offset) } else { p[i] };
            }
            for i in 0..N {
                b[i] = if wins[i] { x[i] } else { b[i] };
            }
        }
        best[at..at + N].copy_from_slice(&b);
        place[at..at + N].copy_from_slice(&p);
        start += N;
    }
}

/// Whether `x` takes the place of an earlier maximum.
#[inline(always)]
fn beats<T: Element>(x: T, best: T) -> bool {
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    let nan = x != x;
    (x > best) | nan
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(x: &Tensor, p: Pooling) -> Result<Tensor> {
    let mut best = Tensor::full(f64::NEG_INFINITY, p.shape(), x.device())?.to_dtype(x.dtype())?;
    for (tap, x) in p.taps(x, f64::NEG_INFINITY)? {
        // NaN wins, and so does the first pixel, though it be −∞ itself: it is better than padding.
        let wins = x.gt(&best)?.add(&x.ne(&x)?)?.broadcast_add(&first_pixel(p, tap, x.device())?)?;
        best = wins.where_cond(&x, &best)?;
    }
    Ok(best)
}

/// 1 for each window `[1, 1, H', W']` whose first pixel is under `tap`, else 0.
fn first_pixel(p: Pooling, tap: [usize; 2], device: &Device) -> Result<Tensor> {
    let ([height, width], [rows, columns], [down, right]) = (p.input, p.output, p.windows);
    let first = (0..rows * columns).map(|i| {
        u8::from([down.taps(height, i / columns).start, right.taps(width, i % columns).start] == tap)
    });
    Tensor::from_iter(first, device)?.reshape((1, 1, rows, columns))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    const PLAIN: MaxPool2d = MaxPool2d::new([2, 2]);
    const STEM: MaxPool2d = MaxPool2d { stride: [2, 2], padding: [1, 1], ..MaxPool2d::new([3, 3]) };
    const CEIL: MaxPool2d = MaxPool2d { rounding: Rounding::Ceil, ..STEM };

    /// Shape of the input, windows.
    const CASES: &[([usize; 4], MaxPool2d)] = &[
        ([2, 3, 4, 6], PLAIN),
        ([1, 2, 5, 7], PLAIN),
        ([1, 2, 5, 7], MaxPool2d { rounding: Rounding::Ceil, ..PLAIN }),
        ([2, 1, 7, 9], STEM),
        ([2, 1, 8, 6], STEM),
        ([2, 1, 8, 6], CEIL),
        ([1, 1, 9, 5], MaxPool2d { padding: [0, 0], ..CEIL }),
        ([1, 2, 6, 5], MaxPool2d { stride: [1, 1], ..STEM }),
        ([1, 2, 9, 8], MaxPool2d { dilation: [2, 3], ..STEM }),
        ([1, 1, 9, 11], MaxPool2d { dilation: [2, 1], stride: [3, 4], ..CEIL }),
        ([1, 2, 6, 7], MaxPool2d { stride: [2, 1], padding: [0, 2], ..MaxPool2d::new([1, 4]) }),
        ([1, 2, 7, 6], MaxPool2d { stride: [3, 5], ..MaxPool2d::new([2, 1]) }),
        ([1, 1, 1, 1], MaxPool2d::new([1, 1])),
        ([1, 1, 1, 1], STEM),
        ([1, 1, 1, 1], MaxPool2d { rounding: Rounding::Ceil, ..PLAIN }),
        ([0, 2, 5, 5], STEM),
        ([3, 0x20, 40, 40], STEM), // worth a thread
    ];

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Var::new(&[[[[1f32, 2.0, 5.0], [4.0, 3.0, 5.0], [0.0, 4.0, -1.0]]]], &Device::Cpu)?;
        let y = max_pool2d(&x, MaxPool2d { stride: [1, 1], ..PLAIN })?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [4.0, 5.0, 4.0, 5.0]);
        let dy = Tensor::new(&[[[[1f32, 10.0], [100.0, 1000.0]]]], &Device::Cpu)?;
        let grads = y.mul(&dy)?.sum_all()?.backward()?;
        // The two 4s tie in the third window and the first takes it; the 5s tie in the second.
        let dx = grads.get(&x).map(|dx| dx.flatten_all()?.to_vec1::<f32>()).transpose()?;
        assert_eq!(dx, Some(vec![0.0, 0.0, 10.0, 101.0, 0.0, 1000.0, 0.0, 0.0, 0.0]));
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
        for &(shape, options) in CASES {
            for dtype in [DType::F64, DType::F32] {
                let noise = randn(1, &shape)?;
                // Rounded numbers tie in most windows; most of those clamped are −∞.
                let ties = noise.round()?;
                let sparse = noise
                    .lt(0.5)?
                    .where_cond(&Tensor::full(f64::NEG_INFINITY, &shape, &Device::Cpu)?, &noise)?;
                let nans =
                    noise.gt(1.0)?.where_cond(&Tensor::full(f64::NAN, &shape, &Device::Cpu)?, &noise)?;
                for x in [noise, ties, sparse, nans] {
                    let x = x.to_dtype(dtype)?;
                    let p =
                        |x: &Tensor| Pooling::new("test", x, windows(options)).and_then(|p| portable(x, p));
                    let (ours, oracle) = (both(|x| max_pool2d(x, options), &x)?, both(p, &x)?);
                    let bits = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
                    // Values are equal; gradients of overlapping windows add up in another order.
                    let rounding = if dtype == DType::F32 { 1e-6 } else { 1e-14 };
                    for ((ours, oracle), tolerance) in ours.iter().zip(&oracle).zip([0.0, rounding]) {
                        assert_eq!(ours.dims(), oracle.dims(), "{shape:?} {options:?}");
                        for (a, b) in bits(ours)?.into_iter().zip(bits(oracle)?) {
                            let close = a == b
                                || (a.is_nan() && b.is_nan())
                                || (a - b).abs() <= tolerance * (1.0 + b.abs());
                            assert!(close, "{a} is not {b}: {shape:?} {options:?}");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for &(shape, options) in CASES.iter().filter(|(shape, _)| shape.iter().product::<usize>() < 1000) {
            gradcheck(|x| max_pool2d(&x[0], options), &[randn(2, &shape)?])?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        for options in [PLAIN, STEM] {
            let pool =
                |x: &[Tensor]| max_pool2d(&x[0].transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?, options);
            let x = randn(3, (2, 3, 7, 6))?;
            gradcheck(pool, std::slice::from_ref(&x))?;
            let copy = x.transpose(2, 3)?.narrow(3, 1, 5)?.narrow(1, 1, 2)?.copy()?;
            assert_close(&pool(&[x])?, &max_pool2d(&copy, options)?, 0.0, 0.0)?;
        }
        Ok(())
    }

    #[test]
    fn nan_wins_and_the_last_one_takes_the_gradient() -> Result<()> {
        let x = Var::new(&[[[[f64::NAN, f64::INFINITY], [f64::NAN, 1.0]]]], &Device::Cpu)?;
        let y = max_pool2d(&x, PLAIN)?;
        assert!(y.flatten_all()?.to_vec1::<f64>()?[0].is_nan());
        let dx = y.backward()?.remove(&x).map(|dx| dx.flatten_all()?.to_vec1::<f64>()).transpose()?;
        assert_eq!(dx, Some(vec![0.0, 0.0, 1.0, 0.0]));
        Ok(())
    }

    #[test]
    fn a_module_is_the_function() -> Result<()> {
        let x = randn(4, (1, 2, 5, 5))?;
        assert_close(&STEM.forward(&x)?, &max_pool2d(&x, STEM)?, 0.0, 0.0)
    }

    #[test]
    fn refusals_name_the_rule() -> Result<()> {
        for (shape, options, rule) in [
            (vec![2, 5, 5], PLAIN, "max_pool2d: x must be [B, C, H, W], got [2, 5, 5]"),
            (vec![1, 0, 5, 5], PLAIN, "must have channels, height and width, got [1, 0, 5, 5]"),
            (vec![1, 1, 5, 0], STEM, "must have channels, height and width, got [1, 1, 5, 0]"),
            (
                vec![1, 1, 5, 5],
                MaxPool2d { stride: [2, 0], ..PLAIN },
                "stride must be at least 1 along the width",
            ),
            (vec![1, 1, 5, 5], MaxPool2d::new([0, 2]), "kernel must be at least 1 along the height"),
            (
                vec![1, 1, 5, 5],
                MaxPool2d { dilation: [0, 1], ..PLAIN },
                "dilation must be at least 1 along the height",
            ),
            (
                vec![1, 1, 5, 5],
                MaxPool2d { padding: [1, 2], ..STEM },
                "half the kernel of 3 along the width, got 2",
            ),
            (vec![1, 1, 1, 5], PLAIN, "a window of 2 and 1 pixels along the height"),
            (
                vec![1, 1, 1, 9],
                MaxPool2d { padding: [1, 1], dilation: [3, 3], rounding: Rounding::Ceil, ..PLAIN },
                "every window must see a pixel, got dilation [3, 3]",
            ),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = max_pool2d(&x, options).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
