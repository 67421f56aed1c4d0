//! Max pooling: the largest pixel of each window.
//!
//! Why not Candle's: it knows no padding, dilation or rounding up, refuses a gradient unless kernel = stride,
//! and divides the gradient it has by the size of the window.
//! Differs: nothing from PyTorch: the first of equal maxima takes the gradient, in row-major order; NaN counts
//! as larger than any number, and the last one of a window takes the gradient.

mod gradient;
mod place;
mod scan;

use candle_core::{Device, Module, Result, Shape, Tensor};

use self::gradient::Gradient;
use self::place::{Place, Places};
use self::scan::Scan;
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::pooling::Pooling;
use super::precision::{half_precision, widen};
use super::saved::Saved;
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::parallel::collect_pairs;
use crate::cpu::simd::vectorised;
use crate::ensure;
use crate::graph::Operation;

/// The windows of [`max_pool2d`], `[height, width]`, and of [`max_pool1d`](super::max_pool1d()), `[length]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool<const AXES: usize> {
    /// Taps of a window.
    pub kernel: [usize; AXES],
    /// From a window to the next, in pixels.
    pub stride: [usize; AXES],
    /// Pixels of −∞ added on either side, at most half the kernel.
    pub padding: [usize; AXES],
    /// From a tap to the next, in pixels.
    pub dilation: [usize; AXES],
    /// What becomes of pixels at the lower and right edge that do not fill a stride.
    pub rounding: Rounding,
}

/// The windows of [`max_pool2d`].
pub type MaxPool2d = MaxPool<2>;

impl<const AXES: usize> MaxPool<AXES> {
    /// Windows side by side: the stride is the kernel. Other options by struct update.
    pub const fn new(kernel: [usize; AXES]) -> Self {
        let (padding, dilation) = ([0; AXES], [1; AXES]);
        Self { kernel, stride: kernel, padding, dilation, rounding: Rounding::Floor }
    }

    /// The windows along one axis.
    pub(super) fn window(&self, axis: usize) -> Window {
        Window {
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            padding: [self.padding[axis]; 2],
            rounding: self.rounding,
        }
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
    if let Some(half) = half_precision("max_pool2d", &[x])? {
        return max_pool2d(&widen(x)?, options)?.to_dtype(half);
    }
    let p = Pooling::new("max_pool2d", x, [options.window(0), options.window(1)])?;
    check_sight("max_pool2d", &p)?;
    if on_cpu(&[x]) { apply1(Maxima::new(p, x), x) } else { portable(x, p) }
}

/// Demands that each window has a pixel, so that it has a maximum, and no more taps than can be told apart.
pub(super) fn check_sight(who: &str, p: &Pooling) -> Result<()> {
    for axis in 0..2 {
        let blind = (0..p.output[axis]).any(|o| p.windows[axis].taps(p.input[axis], o).is_empty());
        ensure!(
            !blind,
            "{who}: every window must see a pixel, got dilation {} on {} pixels",
            p.windows[axis].dilation,
            p.input[axis]
        );
    }
    let taps = p.windows[0].kernel.saturating_mul(p.windows[1].kernel);
    ensure!(u32::try_from(taps).is_ok(), "{who}: a window must have less than 2³² taps, got {taps}");
    Ok(())
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        max_pool2d(x, *self)
    }
}

#[derive(Clone)]
pub(super) struct Maxima {
    pooling: Pooling,
    places: Saved<Places>,
}

impl Maxima {
    pub(super) fn new(pooling: Pooling, x: &Tensor) -> Self {
        Self { pooling, places: Saved::for_gradients_of(&[x]) }
    }

    /// The maxima of all planes, and their places.
    fn scan<T: Element, P: Place>(&self, x: &[T]) -> (Vec<T>, Vec<P>) {
        let p = self.pooling;
        collect_pairs(
            p.planes(),
            [p.pooled(); 2],
            p.work(),
            || Scan::<T, P>::new(p),
            |scan, i| {
                vectorised(
                    #[inline(always)]
                    || scan.plane(&x[i * p.plane()..][..p.plane()]),
                );
                (&scan.y, &scan.places)
            },
        )
    }
}

impl Kernel<1> for Maxima {
    const NAME: &'static str = "max_pool2d";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let [down, right] = self.pooling.windows;
        let y = if !self.places.is_wanted() {
            self.scan::<T, ()>(&x.data).0
        } else if down.kernel * right.kernel <= 1 << u8::BITS {
            let (y, places) = self.scan(&x.data);
            self.places.keep(Places::Few(places));
            y
        } else {
            let (y, places) = self.scan(&x.data);
            self.places.keep(Places::Many(places));
            y
        };
        Ok((y, self.pooling.shape()))
    }

    fn backward(&self, _x: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let gradient = Gradient { pooling: self.pooling, places: self.places.clone() };
        Ok([Some(detached1(gradient, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::MaxPool(self.pooling.sliding())]
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
pub(super) fn portable(x: &Tensor, p: Pooling) -> Result<Tensor> {
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

    use super::super::oracle::{assert_types, with_gradients};
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
        ([1, 1, 6, 20], MaxPool2d { stride: [1, 3], padding: [8, 8], ..MaxPool2d::new([16, 17]) }), // many taps
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

    /// NaN as a number, for comparing.
    fn shown(x: &Tensor) -> Result<Tensor> {
        x.ne(x)?.where_cond(&Tensor::full(1e9, x.dims(), x.device())?.to_dtype(x.dtype())?, x)
    }

    #[test]
    fn kernel_equals_portable() -> Result<()> {
        for &(shape, options) in CASES {
            let noise = randn(1, &shape)?;
            let filled = |mask: Tensor, value: f64| {
                mask.where_cond(&Tensor::full(value, &shape, &Device::Cpu)?, &noise)
            };
            // Rounded numbers tie in most windows; many see nothing but −∞ in the third input, and NaN in the fourth.
            let (sparse, nans) =
                (filled(noise.lt(0.8)?, f64::NEG_INFINITY)?, filled(noise.gt(1.0)?, f64::NAN)?);
            for x in [noise.clone(), noise.round()?, sparse, nans] {
                // Values are equal; gradients of overlapping windows add up in another order.
                for (dtype, rounding) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                    let x = [x.to_dtype(dtype)?];
                    let p = Pooling::new("test", &x[0], [options.window(0), options.window(1)])?;
                    let (y, dx) = with_gradients(|x| max_pool2d(&x[0], options), &x)?;
                    let (oracle, expected) = with_gradients(|x| portable(&x[0], p), &x)?;
                    let at = |e: candle_core::Error| e.context(format!("{shape:?} {options:?}"));
                    assert_close(&shown(&y)?, &shown(&oracle)?, 0.0, 0.0).map_err(at)?;
                    let [Some(dx), Some(expected)] = [&dx[0], &expected[0]] else {
                        panic!("no gradient: {options:?}")
                    };
                    assert_close(dx, expected, rounding, rounding).map_err(at)?;
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
    fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let x = randn(5, (5, 0x20, 30, 30))?.to_dtype(DType::F32)?;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| with_gradients(|x| max_pool2d(&x[0], STEM), std::slice::from_ref(&x)))
        };
        let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
        let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
        assert_close(&y, &z, 0.0, 0.0)?;
        assert_close(dx, dz, 0.0, 0.0)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        assert_types("max_pool2d", |x| max_pool2d(&x[0], STEM), &[randn(6, (1, 2, 7, 6))?])
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
                "every window must see a pixel, got dilation 3 on 1 pixels",
            ),
        ] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let error = max_pool2d(&x, options).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
