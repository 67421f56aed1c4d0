//! Cross-entropy of logits against class labels, the loss of classifiers.
//!
//! Why not Candle's: softmax, logarithm and choice of the label are one pass here instead of eight tensors, logits
//! of any rank are taken, and a label that is no class is named (docs/candle-gaps.md).

use std::sync::Arc;

use candle_core::{DType, Result, Shape, Tensor, WithDType};

use super::kernel::{Kernel, View, apply1, detached2, on_cpu};
use super::reduction::Reduction;
use super::softmax::portable_log_softmax;
use crate::cpu::axis::{self, Axis, Block};
use crate::cpu::blank::Blank;
use crate::cpu::{Element, vector};
use crate::ensure;

/// `−ln softmax(logits)[target]`, reduced; the softmax is along axis 1.
///
/// Logits `[B, C]` and targets `[B]`, or `[B, C, d₁, …]` and `[B, d₁, …]` → a scalar, or the shape of the targets
/// with [`Reduction::None`]. Targets are classes in `0..C`, of type `u8`, `u32` or `i64`.
///
/// # Errors
/// If the targets are not integers, the shapes do not belong together, there are no classes, or a target is none
/// of them.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let labels = check(logits, targets)?;
    if on_cpu(&[logits]) {
        apply1(CrossEntropy { labels: labels.into(), reduction }, logits)
    } else {
        reduction.of(&portable(logits, targets)?)
    }
}

/// The targets as numbers, all of them below the number of classes.
fn check(logits: &Tensor, targets: &Tensor) -> Result<Vec<u32>> {
    let (x, t) = (logits.dims(), targets.dims());
    let fits = x.len() >= 2 && x.len() == t.len() + 1 && x[0] == t[0] && x[2..] == t[1..];
    ensure!(fits, "cross_entropy: logits [B, C, …] need targets [B, …], got shapes {x:?} and {t:?}");
    let classes = x[1];
    ensure!(classes > 0, "cross_entropy: logits must have at least one class on axis 1, got shape {x:?}");
    match targets.dtype() {
        DType::U8 => labels::<u8>(targets, classes),
        DType::U32 => labels::<u32>(targets, classes),
        DType::I64 => labels::<i64>(targets, classes),
        other => {
            candle_core::bail!("cross_entropy: targets must be integers (u8, u32 or i64), got {other:?}")
        }
    }
}

fn labels<I: WithDType + TryInto<u32>>(targets: &Tensor, classes: usize) -> Result<Vec<u32>> {
    let mut labels = Vec::with_capacity(targets.elem_count());
    for label in targets.flatten_all()?.to_vec1::<I>()? {
        match label.try_into() {
            Ok(class) if (class as usize) < classes => labels.push(class),
            _ => {
                let at = index_of(labels.len(), targets.dims());
                candle_core::bail!(
                    "cross_entropy: targets must be classes in 0..{classes}, got {label} at {at:?}"
                )
            }
        }
    }
    Ok(labels)
}

/// The index of the `n`th element, in row-major order, of a tensor of these dimensions.
fn index_of(mut n: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (index, &size) in index.iter_mut().zip(dims).rev() {
        *index = n % size;
        n /= size;
    }
    index
}

/// Elementary operations per logit, roughly.
const COST: usize = 16;

#[derive(Clone)]
struct CrossEntropy {
    /// One for each fibre of logits, in the order of the targets.
    labels: Arc<[u32]>,
    reduction: Reduction,
}

impl Kernel<1> for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (axis, labels) = (Axis::new(x.dims, 1), &self.labels);
        let terms = if axis.is_last() {
            axis.per_fibre(
                COST,
                #[inline(always)]
                |i| {
                    let x = axis.fibre(&x.data, i);
                    let (top, rest) = axis::log_sum_exp_of(x);
                    rest - (x[labels[i] as usize] - top)
                },
            )
        } else {
            axis.per_column(
                COST,
                #[inline(always)]
                |at, y| {
                    let x = axis.block(&x.data, at);
                    let (top, rest) = axis::log_sum_exp(x);
                    let labels = &labels[axis.column(at)..][..x.width];
                    y.fill(|j| rest[j] - (x.at(labels[j] as usize, j) - top[j]));
                },
            )
        };
        Ok(match self.reduction {
            Reduction::None => (terms, [&x.dims[..1], &x.dims[2..]].concat().into()),
            reduction => reduction.scalar(vector::total2(&terms, &terms, 1, |y, _| y), terms.len()),
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached2(Gradient(self.clone()), x, dy)?)])
    }
}

/// `dx = (softmax(x) − onehot(target)) · dy` for each fibre.
#[derive(Clone)]
struct Gradient(CrossEntropy);

impl Gradient {
    /// What fibre `i` is weighted with.
    #[inline(always)]
    fn weight<T: Element>(&self, dy: &[T], i: usize) -> T {
        match self.0.reduction {
            Reduction::None => dy[i],
            reduction => dy[0] * T::of(reduction.factor(self.0.labels.len())),
        }
    }

    #[inline(always)]
    fn fibre<T: Element>(x: &[T], label: usize, dy: T, dx: &mut Blank<'_, T>) {
        let (dx, total) = axis::exponentials_of(x, dx);
        let scale = T::of(1.0 / total);
        let hit = (dx[label] * scale - T::ONE) * dy;
        let scale = scale * dy;
        for dx in dx.iter_mut() {
            *dx *= scale;
        }
        dx[label] = hit;
    }

    #[inline(always)]
    fn block<T: Element>(x: Block<'_, T>, labels: &[u32], dy: impl Fn(usize) -> T, dx: &mut [Blank<'_, T>]) {
        let mut scale = axis::exponentials(x, dx);
        let mut hit = axis::per_column(T::ZERO);
        for (j, &label) in labels.iter().enumerate() {
            let dy = dy(j);
            scale[j] = T::ONE / scale[j];
            hit[j] = (dx[label as usize].get_mut()[j] * scale[j] - T::ONE) * dy;
            scale[j] *= dy;
        }
        for dx in dx.iter_mut() {
            axis::scale(dx.get_mut(), &scale);
        }
        for (j, &label) in labels.iter().enumerate() {
            dx[label as usize].get_mut()[j] = hit[j];
        }
    }
}

impl Kernel<2> for Gradient {
    const NAME: &'static str = "cross_entropy";

    fn forward<T: Element>(&self, [x, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let (axis, labels) = (Axis::new(x.dims, 1), &self.0.labels);
        let dx = if axis.is_last() {
            axis.by_fibres(
                COST,
                #[inline(always)]
                |i, dx| {
                    Self::fibre(axis.fibre(&x.data, i), labels[i] as usize, self.weight(&dy.data, i), dx);
                },
            )
        } else {
            axis.by_blocks(
                COST,
                #[inline(always)]
                |at, dx| {
                    let (x, first) = (axis.block(&x.data, at), axis.column(at));
                    let labels = &labels[first..][..x.width];
                    Self::block(
                        x,
                        labels,
                        #[inline(always)]
                        |j| self.weight(&dy.data, first + j),
                        dx,
                    );
                },
            )
        };
        Ok((dx, x.dims.into()))
    }
}

/// The terms from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let shape = targets.shape();
    if shape.elem_count() == 0 {
        return logits.sum(1); // no number, in the right shape
    }
    let targets = targets.to_device(logits.device())?.contiguous()?.unsqueeze(1)?;
    portable_log_softmax(logits, 1)?.contiguous()?.gather(&targets, 1)?.neg()?.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::oracle::assert_same;
    use crate::testing::{gradcheck, randn};

    const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

    /// Classes below `classes`, in an order without pattern.
    fn targets(dims: &[usize], classes: usize) -> Result<Tensor> {
        let labels: Vec<u32> =
            (0..dims.iter().product()).map(|i: usize| (i * 7919 % 31 % classes) as u32).collect();
        Tensor::from_vec(labels, dims, &Device::Cpu)
    }

    #[test]
    fn worked_example() -> Result<()> {
        // Probabilities 1/8, 2/8, 5/8 twice; labels 2 and 0.
        let row = [1f64.ln(), 2f64.ln(), 5f64.ln()];
        let x = Var::new(&[row, row], &Device::Cpu)?;
        for targets in [Tensor::new(&[2u8, 0], &Device::Cpu)?, Tensor::new(&[2i64, 0], &Device::Cpu)?] {
            let y = cross_entropy(&x, &targets, Reduction::Mean)?;
            assert!((y.to_scalar::<f64>()? - 0.5 * (1.6f64.ln() + 8f64.ln())).abs() < 1e-15);
            let grads = y.backward()?;
            let dx = grads.get(&x).expect("x is a variable").flatten_all()?.to_vec1::<f64>()?;
            for (dx, truth) in dx.iter().zip([0.0625, 0.125, -0.1875, -0.4375, 0.125, 0.3125]) {
                assert!((dx - truth).abs() < 1e-15, "{dx} is not {truth}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for shape in [
            vec![0, 3],
            vec![1, 1],
            vec![1, 4],
            vec![5, 3],
            vec![3, 1000],
            vec![2, 3, 4],
            vec![2, 5, 7, 100],
            vec![2, 3, 0],
        ] {
            let x = (randn(1, shape.as_slice())? * 3.0)?;
            let targets = targets(&[&shape[..1], &shape[2..]].concat(), shape[1])?;
            for reduction in REDUCTIONS {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-6)] {
                    if shape.contains(&0) && reduction == Reduction::Mean {
                        continue;
                    }
                    let x = x.to_dtype(dtype)?;
                    assert_same(
                        |x| cross_entropy(&x[0], &targets, reduction),
                        |x| reduction.of(&portable(&x[0], &targets)?),
                        &[x],
                        tolerance,
                    )?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for reduction in REDUCTIONS {
            let labels = targets(&[4], 3)?;
            gradcheck(|x| cross_entropy(&x[0], &labels, reduction), &[randn(2, (4, 3))?])?;
            gradcheck(|x| cross_entropy(&x[0].t()?, &labels, reduction), &[randn(3, (3, 4))?])?;
            let labels = targets(&[3, 2, 5], 4)?.transpose(1, 2)?; // [3, 5, 2]
            gradcheck(|x| cross_entropy(&x[0], &labels, reduction), &[randn(4, (3, 4, 5, 2))?])?;
            gradcheck(
                |x| cross_entropy(&x[0].transpose(1, 3)?, &labels, reduction),
                &[randn(5, (3, 2, 5, 4))?],
            )?;
        }
        Ok(())
    }

    #[test]
    fn extreme_logits_and_empty_batches() -> Result<()> {
        let x = Var::new(&[[1000f32, -1000.0], [-1000.0, 1000.0]], &Device::Cpu)?;
        let targets = Tensor::new(&[0u32, 0], &Device::Cpu)?;
        let y = cross_entropy(&x, &targets, Reduction::None)?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0, 2000.0]);
        let grads = y.sum_all()?.backward()?;
        let dx = grads.get(&x).expect("x is a variable").to_vec2::<f32>()?;
        assert_eq!(dx, [[0.0, 0.0], [-1.0, 1.0]]);
        let (x, targets) = (x.narrow(0, 0, 0)?, targets.narrow(0, 0, 0)?);
        assert!(cross_entropy(&x, &targets, Reduction::Mean)?.to_scalar::<f32>()?.is_nan());
        assert_eq!(cross_entropy(&x, &targets, Reduction::Sum)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let cpu = Device::Cpu;
        let f = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &cpu);
        let u = |dims: &[usize]| Tensor::zeros(dims, DType::U32, &cpu);
        let cases = [
            (f(&[2, 3])?, f(&[2])?, "integers (u8, u32 or i64), got F32"),
            (f(&[2, 3])?, u(&[3])?, "got shapes [2, 3] and [3]"),
            (f(&[3])?, u(&[])?, "got shapes [3] and []"),
            (f(&[2, 3, 4, 5])?, u(&[2, 5, 4])?, "got shapes [2, 3, 4, 5] and [2, 5, 4]"),
            (f(&[2, 0])?, u(&[2])?, "at least one class on axis 1, got shape [2, 0]"),
            (f(&[2, 10])?, Tensor::new(&[3u32, 10], &cpu)?, "classes in 0..10, got 10 at [1]"),
            (f(&[2, 10])?, Tensor::new(&[-1i64, 3], &cpu)?, "classes in 0..10, got -1 at [0]"),
            (
                f(&[1, 5, 2, 2])?,
                Tensor::new(&[[[0u8, 1], [255, 3]]], &cpu)?,
                "classes in 0..5, got 255 at [0, 1, 0]",
            ),
        ];
        for (x, targets, message) in cases {
            let error = cross_entropy(&x, &targets, Reduction::Mean).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
