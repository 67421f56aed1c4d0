//! A leaky ReLU whose slope is trained.
//!
//! Source: He et al. 2015, arXiv:1502.01852, §2.1; numbers and gradients are those of `torch.nn.PReLU`.

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply2, detached3, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::blank::{by_chunks, by_chunks_finding};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::{CHUNK, sum2};
use crate::ensure;

const NAME: &str = "prelu";

/// `x` where `x > 0`, else `slope · x`, with one slope in all or one a channel.
///
/// `x` `[B, C, …]` (or any shape with one slope), `slope` `[1]` or `[C]` → `x`'s shape.
///
/// # Errors
/// If `slope` is neither one number nor one a channel, or types differ or are no float types.
pub fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[x, slope])? {
        return prelu(&widen(x)?, &widen(slope)?)?.to_dtype(half);
    }
    let (dims, channels) = (x.dims(), slope.elem_count());
    let fits = slope.rank() == 1 && (channels == 1 || dims.get(1) == Some(&channels));
    ensure!(fits, "{NAME}: x {dims:?} needs slope [1], or one a channel, got {:?}", slope.dims());
    if x.elem_count() == 0 || !on_cpu(&[x, slope]) {
        return portable(x, slope);
    }
    let run = if channels == 1 { CHUNK } else { dims[2..].iter().product() };
    apply2(Rectify { run, channels }, x, slope)
}

/// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    if slope.elem_count() > 1 {
        shape[1] = slope.elem_count();
    }
    let negative = x.broadcast_mul(&slope.reshape(shape)?)?;
    x.gt(0.0)?.where_cond(x, &negative)
}

/// Runs of numbers with one slope each, the slopes in turn.
#[derive(Clone, Copy)]
struct Rectify {
    run: usize,
    channels: usize,
}

impl Rectify {
    /// Runs of a task.
    fn runs(self) -> usize {
        (CHUNK / self.run).max(1)
    }
}

impl Kernel<2> for Rectify {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x, slope]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let &Self { run, channels } = self;
        let y = by_chunks(x.data.len(), self.runs() * run, 2 * x.data.len(), |task, y| {
            vectorised(
                #[inline(always)]
                || {
                    y.fill_parts(
                        run,
                        #[inline(always)]
                        |n, y| {
                            let n = task * self.runs() + n;
                            let slope = slope.data[n % channels];
                            let x = &x.data[n * run..][..y.len()];
                            y.map(
                                x,
                                #[inline(always)]
                                move |x| if x > T::ZERO { x } else { slope * x },
                            );
                        },
                    );
                },
            );
        });
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x, slope]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sums = Arc::new(OnceLock::new());
        let dx = detached3(Gradient { of: *self, sums: sums.clone() }, x, slope, dy)?;
        let by_slope = || {
            let sums = sums.get().cloned().unwrap_or_default();
            Tensor::from_vec(sums, slope.dims(), slope.device())?.to_dtype(slope.dtype())
        };
        Ok([wants_gradient(x).then_some(dx), wants_gradient(slope).then(by_slope).transpose()?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }
}

/// The gradient by `x`, from `x`, slopes and `dy`.
#[derive(Clone)]
struct Gradient {
    of: Rectify,
    /// Filled by the forward pass: the gradient by each slope.
    sums: Arc<OnceLock<Vec<f64>>>,
}

impl Kernel<3> for Gradient {
    const NAME: &'static str = "prelu-dx";

    fn forward<T: Element>(&self, [x, slope, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let Rectify { run, channels } = self.of;
        let runs = self.of.runs();
        let (dx, found) = by_chunks_finding(x.data.len(), runs * run, 4 * x.data.len(), |task, dx| {
            let mut found = Vec::with_capacity(runs);
            vectorised(
                #[inline(always)]
                || {
                    dx.fill_parts(
                        run,
                        #[inline(always)]
                        |n, dx| {
                            let n = task * runs + n;
                            let slope = slope.data[n % channels];
                            let [x, dy] = [&x, &dy].map(|t| &t.data[n * run..][..dx.len()]);
                            found.push(sum2(
                                x,
                                dy,
                                #[inline(always)]
                                |x, dy| if x > T::ZERO { T::ZERO } else { x * dy },
                            ));
                            dx.map2(
                                x,
                                dy,
                                #[inline(always)]
                                move |x, dy| if x > T::ZERO { dy } else { slope * dy },
                            );
                        },
                    );
                },
            );
            found
        });
        let mut total = vec![0.0; channels];
        found.concat().into_iter().enumerate().for_each(|(n, sum)| total[n % channels] += sum);
        let first = self.sums.set(total).is_ok();
        debug_assert!(first, "a gradient's kernel runs once");
        Ok((dx, x.dims.into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn a_worked_example_with_its_gradients() -> Result<()> {
        let x = candle_core::Var::new(&[[-2f32, 0.0, 3.0], [-1.0, -4.0, 5.0]], &Device::Cpu)?;
        let slope = candle_core::Var::new(&[0.5f32, 0.25, 1.0], &Device::Cpu)?;
        let y = prelu(&x, &slope)?;
        assert_eq!(y.to_vec2::<f32>()?, [[-1.0, 0.0, 3.0], [-0.5, -1.0, 5.0]]);
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&slope).expect("a variable").to_vec1::<f32>()?, [-3.0, -4.0, 0.0]);
        let dx = grads.get(&x).expect("a variable").to_vec2::<f32>()?;
        assert_eq!(dx, [[0.5, 0.25, 1.0], [0.5, 0.25, 1.0]]); // at 0 the slope, as in PyTorch
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for (x, slope) in [(vec![3, 4], 1), (vec![2, 3, 4, 5], 3), (vec![5], 1)] {
            gradcheck(|v| prelu(&v[0], &v[1]), &[randn(1, x.as_slice())?, randn(2, slope)?])?;
        }
        assert_types(NAME, |v| prelu(&v[0], &v[1]), &[randn(1, (2, 3))?, randn(2, 3)?])
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for (x, slope) in [
            (vec![40, 1000], 1),
            (vec![7], 1),
            (vec![3, 5], 5),
            (vec![2, 3, 90, 80], 3),
            (vec![9, 70, 5, 6], 70),
        ] {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-4)] {
                let x = [randn(1, x.as_slice())?.to_dtype(dtype)?, randn(2, slope)?.to_dtype(dtype)?];
                assert_same(|x| prelu(&x[0], &x[1]), |x| portable(&x[0], &x[1]), &x, tolerance)?;
            }
        }
        assert_eq!(prelu(&randn(1, (0, 3, 2))?, &randn(2, 3)?)?.dims(), [0, 3, 2]);
        Ok(())
    }

    #[test]
    fn slopes_that_do_not_fit_are_named() -> Result<()> {
        let error = prelu(&randn(1, (2, 3))?, &randn(2, 2)?).expect_err("two slopes").to_string();
        assert!(error.contains("prelu: x [2, 3] needs slope [1], or one a channel, got [2]"), "{error}");
        Ok(())
    }
}
