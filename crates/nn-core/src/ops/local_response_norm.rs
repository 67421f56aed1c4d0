//! Local response normalisation: a number is divided by a power of the mean square of its neighbours in other channels.
//!
//! Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks", §3.3.
//! Differs: α multiplies the mean over the window and not the sum, as in PyTorch: their α of 1e-4 is 5e-4 here.
//!
//! Why not Candle's: it has none.

use candle_core::{Module, Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached2, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::axis::{self, Axis, PerColumn};
use crate::ensure;
use crate::graph::Operation;

/// Options of [`local_response_norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Channels of a window, padded with zeros at both ends.
    pub size: usize,
    /// What the mean square is multiplied with.
    pub alpha: f64,
    /// The power.
    pub beta: f64,
    /// Added to the mean square.
    pub k: f64,
}

impl LocalResponseNorm {
    /// PyTorch's defaults: `alpha` 1e-4, `beta` 0.75, `k` 1. Other options by struct update.
    pub const fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

/// `y[c] = x[c] / (k + α/size · Σ x[j]²)^β`, the sum over `j` from `c − ⌊size/2⌋` to `c + ⌊(size − 1)/2⌋`. Also half
/// precision.
///
/// `[B, C, …]` → `[B, C, …]`
///
/// # Errors
/// If `x` has no channels, the size is 0, or `x` is not of a float type.
pub fn local_response_norm(x: &Tensor, options: LocalResponseNorm) -> Result<Tensor> {
    ensure!(x.rank() >= 2, "local_response_norm: the input must be [B, C, …], got {:?}", x.dims());
    ensure!(options.size > 0, "local_response_norm: the size must be at least 1, got 0");
    if let Some(half) = half_precision(Response::NAME, &[x])? {
        return local_response_norm(&widen(x)?, options)?.to_dtype(half);
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if on_cpu(&[x]) { apply1(Response(options), x) } else { portable(x, options) }
}

impl Module for LocalResponseNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        local_response_norm(x, *self)
    }
}

/// Elementary operations per element, roughly.
const COST: usize = 40;

#[derive(Clone, Copy)]
struct Response(LocalResponseNorm);

impl Response {
    /// Channels before and after one in its window.
    fn reach(self) -> [usize; 2] {
        [self.0.size / 2, (self.0.size - 1) / 2]
    }

    /// `Σ rows` from `before` rows before row `c` to `after` rows after it, of those that there are.
    #[inline(always)]
    fn window<T: Element>(
        rows: &[&[T]],
        c: usize,
        [before, after]: [usize; 2],
        f: impl Fn(T, T) -> T,
    ) -> PerColumn<T> {
        let mut total = axis::per_column(T::ZERO);
        for row in &rows[c.saturating_sub(before)..(c + after + 1).min(rows.len())] {
            axis::fold(&mut total, row, &f);
        }
        total
    }

    /// `k + α/size · Σ x²` at row `c`.
    #[inline(always)]
    fn denominators<T: Element>(self, rows: &[&[T]], c: usize) -> PerColumn<T> {
        let (a, k) = (T::of(self.0.alpha / self.0.size as f64), T::of(self.0.k));
        let mut d = Self::window(
            rows,
            c,
            self.reach(),
            #[inline(always)]
            |total, x| x.mul_add(x, total),
        );
        for d in &mut d {
            *d = d.mul_add(a, k);
        }
        d
    }

    /// `d^−β`
    #[inline(always)]
    fn power<T: Element>(self, d: T) -> T {
        (T::of(-self.0.beta) * d.ln()).exp()
    }
}

impl Kernel<1> for Response {
    const NAME: &'static str = "local_response_norm";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let y = axis.by_blocks(
            COST,
            #[inline(always)]
            |at, y| {
                let block = axis.block(&x.data, at);
                let rows: Vec<&[T]> = block.rows().collect();
                for (c, y) in y.iter_mut().enumerate() {
                    let d = self.denominators(&rows, c);
                    y.map2(
                        rows[c],
                        &d[..block.width],
                        #[inline(always)]
                        |x, d| x * self.power(d),
                    );
                }
            },
        );
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached2(Gradient(*self), x, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::LocalResponseNorm(self.0)]
    }
}

/// With `d` the denominator: `dx[j] = dy[j] · d[j]^−β − 2β·α/size · x[j] · Σ dy[c] · x[c] · d[c]^(−β − 1)` over the `c`
/// whose windows hold `j`.
#[derive(Clone, Copy)]
struct Gradient(Response);

impl Kernel<2> for Gradient {
    const NAME: &'static str = Response::NAME;

    fn forward<T: Element>(&self, [x, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let (op, axis) = (self.0, Axis::new(x.dims, 1));
        let [before, after] = op.reach();
        let factor = T::of(-2.0 * op.0.beta * op.0.alpha / op.0.size as f64);
        let dx = axis.by_blocks(
            2 * COST,
            #[inline(always)]
            |at, dx| {
                let block = axis.block(&x.data, at);
                let rows: Vec<&[T]> = block.rows().collect();
                let mut terms = vec![T::ZERO; rows.len() * block.width];
                let backs = axis.block(&dy.data, at).rows();
                for (c, (terms, dy)) in terms.chunks_exact_mut(block.width).zip(backs).enumerate() {
                    let d = op.denominators(&rows, c);
                    let dx = dx[c].map2(
                        dy,
                        &d[..block.width],
                        #[inline(always)]
                        |dy, d| dy * op.power(d),
                    );
                    for i in 0..terms.len() {
                        terms[i] = dx[i] * rows[c][i] / d[i];
                    }
                }
                let terms: Vec<&[T]> = terms.chunks_exact(block.width).collect();
                for (j, dx) in dx.iter_mut().enumerate() {
                    let sum = Response::window(
                        &terms,
                        j,
                        [after, before],
                        #[inline(always)]
                        |total, term| total + term,
                    );
                    for (dx, (&x, &sum)) in dx.get_mut().iter_mut().zip(rows[j].iter().zip(&sum)) {
                        *dx = (x * factor).mul_add(sum, *dx);
                    }
                }
            },
        );
        Ok((dx, x.dims.into()))
    }
}

/// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, options: LocalResponseNorm) -> Result<Tensor> {
    let [before, after] = Response(options).reach();
    let squares = x.sqr()?.pad_with_zeros(1, before, after)?;
    let mut total = x.zeros_like()?;
    for start in 0..options.size {
        total = (total + squares.narrow(1, start, x.dims()[1])?)?;
    }
    let d = total.affine(options.alpha / options.size as f64, options.k)?;
    x * d.powf(-options.beta)?
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    /// Effects that show.
    fn strong(size: usize) -> LocalResponseNorm {
        LocalResponseNorm { alpha: 0.5, beta: 0.7, k: 1.5, ..LocalResponseNorm::new(size) }
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f64], [2.0], [3.0]]], &Device::Cpu)?;
        let options = LocalResponseNorm { alpha: 2.0, beta: 1.0, k: 0.0, ..LocalResponseNorm::new(2) };
        let y = local_response_norm(&x, options)?.flatten_all()?.to_vec1::<f64>()?; // over 1, 1 + 4 and 4 + 9
        for (y, truth) in y.into_iter().zip([1.0, 2.0 / 5.0, 3.0 / 13.0]) {
            assert!((y - truth).abs() < 1e-15, "{y} is not {truth}");
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for size in [1, 2, 3, 4, 5, 9] {
            for shape in [vec![2, 3], vec![2, 1, 3], vec![2, 7, 5], vec![1, 6, 20, 17]] {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    let x = randn(1, shape.as_slice())?.to_dtype(dtype)?;
                    let options = strong(size);
                    assert_same(
                        |x| local_response_norm(&x[0], options),
                        |x| portable(&x[0], options),
                        &[x],
                        tolerance,
                    )?;
                }
            }
        }
        let x = Tensor::zeros((0, 3, 2), DType::F32, &Device::Cpu)?;
        assert_eq!(local_response_norm(&x, strong(3))?.dims(), [0, 3, 2]);
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        for size in [2, 5] {
            gradcheck(|x| local_response_norm(&x[0], strong(size)), &[randn(1, (2, 6, 3))?])?;
        }
        gradcheck(|x| local_response_norm(&x[0].t()?.narrow(1, 0, 2)?, strong(3)), &[randn(2, (2, 4, 3))?])
    }

    #[test]
    fn types() -> Result<()> {
        assert_types(
            "local_response_norm",
            |x| local_response_norm(&x[0], strong(3)),
            &[randn(1, (2, 4, 3))?],
        )
    }

    #[test]
    fn what_has_no_channels_or_no_window_is_an_error() -> Result<()> {
        let error = local_response_norm(&randn(1, 3)?, strong(3)).expect_err("rank 1").to_string();
        assert!(error.contains("must be [B, C, …], got [3]"), "{error}");
        let error = local_response_norm(&randn(1, (2, 3))?, strong(0)).expect_err("no window").to_string();
        assert!(error.contains("at least 1, got 0"), "{error}");
        Ok(())
    }
}
