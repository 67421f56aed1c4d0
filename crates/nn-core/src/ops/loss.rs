//! The bridge for losses that compare two tensors element by element: each is one [`Elementwise`].

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply2, detached3, on_cpu, wants_gradient};
use super::labels::index_of;
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use crate::cpu::{Element, vector};
use crate::ensure;

/// A differentiable function of a prediction and its target.
pub(super) trait Elementwise: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Elementary operations per element, roughly.
    const COST: usize;

    /// Whether both arguments are probabilities; others are refused where that costs no transfer: on the CPU.
    const PROBABILITIES: bool = false;

    fn value<T: Element>(self, x: T, target: T) -> T;

    /// The derivatives by the prediction and by the target.
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2];

    /// [`Elementwise::value`] of every element from differentiable Candle operations: other devices, and the kernel's
    /// oracle.
    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor>;
}

/// The loss of predictions `x`; both tensors get gradients.
pub(super) fn apply<L: Elementwise>(
    loss: L,
    x: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    if let Some(half) = half_precision(L::NAME, &[x, target])? {
        return apply(loss, &widen(x)?, &widen(target)?, reduction)?.to_dtype(half);
    }
    same_shape(L::NAME, x, target)?;
    if on_cpu(&[x, target]) {
        apply2(Loss { loss, reduction }, x, target)
    } else {
        reduction.of(&loss.portable(x, target)?)
    }
}

/// Refuses to compare tensors of different shapes: where PyTorch spreads one over the other, it warns.
pub(super) fn same_shape(op: &str, x: &Tensor, target: &Tensor) -> Result<()> {
    let (a, b) = (x.dims(), target.dims());
    ensure!(a == b, "{op}: input and target must have one shape, got {a:?} and {b:?}");
    Ok(())
}

#[derive(Clone)]
struct Loss<L> {
    loss: L,
    reduction: Reduction,
}

impl<L: Elementwise> Kernel<2> for Loss<L> {
    const NAME: &'static str = L::NAME;

    fn forward<T: Element>(&self, [x, target]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let loss = self.loss;
        if L::PROBABILITIES {
            in_unit_interval(L::NAME, "input", &x)?;
            in_unit_interval(L::NAME, "target", &target)?;
        }
        if self.reduction == Reduction::None {
            let terms = vector::map2(
                &x.data,
                &target.data,
                L::COST,
                #[inline(always)]
                move |x, target| loss.value(x, target),
            );
            return Ok((terms, x.dims.into()));
        }
        let total = vector::total2(
            &x.data,
            &target.data,
            L::COST,
            #[inline(always)]
            move |x, target| loss.value(x, target),
        );
        Ok(scalar(total * self.reduction.factor(x.data.len() as f64, x.dims)))
    }

    fn backward(&self, [x, target]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let of_x = || detached3(Gradient::<L, 0>(self.clone()), x, target, dy);
        let of_target = || detached3(Gradient::<L, 1>(self.clone()), x, target, dy);
        Ok([wants_gradient(x).then(of_x).transpose()?, wants_gradient(target).then(of_target).transpose()?])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// Refuses numbers that are no probabilities, NaN too.
fn in_unit_interval<T: Element>(op: &str, what: &str, x: &View<'_, T>) -> Result<()> {
    let is_probability = |x: T| x >= T::ZERO && x <= T::ONE;
    let outside =
        vector::total2(&x.data, &x.data, 2, |x, _| if is_probability(x) { T::ZERO } else { T::ONE });
    if outside > 0.0 {
        let at = x.data.iter().position(|&x| !is_probability(x)).unwrap_or_default();
        let place = index_of(at, x.dims);
        candle_core::bail!("{op}: {what} must be in [0, 1], got {} at {place:?}", x.data[at]);
    }
    Ok(())
}

/// The gradient of the argument whose place in [`Elementwise::derivatives`] is `ARGUMENT`.
#[derive(Clone)]
struct Gradient<L, const ARGUMENT: usize>(Loss<L>);

impl<L: Elementwise, const ARGUMENT: usize> Kernel<3> for Gradient<L, ARGUMENT> {
    const NAME: &'static str = L::NAME;

    fn forward<T: Element>(&self, [x, target, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let Loss { loss, reduction } = self.0;
        let dx = match reduction {
            Reduction::None => vector::map3(
                [&x.data, &target.data, &dy.data],
                L::COST,
                #[inline(always)]
                move |x, target, dy| loss.derivatives(x, target)[ARGUMENT] * dy,
            ),
            _ => {
                let dy = dy.data[0] * T::of(reduction.factor(x.data.len() as f64, x.dims));
                vector::map2(
                    &x.data,
                    &target.data,
                    L::COST,
                    #[inline(always)]
                    move |x, target| loss.derivatives(x, target)[ARGUMENT] * dy,
                )
            }
        };
        Ok((dx, x.dims.into()))
    }
}

/// What holds for every loss of this kind.
#[cfg(test)]
pub(super) mod checks {
    use candle_core::{DType, Device};

    use super::super::oracle::{assert_same, assert_types};
    use super::*;

    pub(in super::super) const REDUCTIONS: [Reduction; 4] =
        [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

    /// Demands that the kernel is its portable twin over sizes and types, that no terms are none, that types are
    /// taken as they should be, and that mistakes are named. `inputs` makes predictions and targets of a shape.
    pub(in super::super) fn assert_elementwise<L: Elementwise>(
        loss: L,
        inputs: impl Fn(&[usize]) -> Result<[Tensor; 2]>,
    ) -> Result<()> {
        for shape in [&[] as &[usize], &[0], &[1], &[3, 5], &[40_000]] {
            let inputs = inputs(shape)?;
            for reduction in REDUCTIONS {
                if shape == [0] && matches!(reduction, Reduction::Mean | Reduction::BatchMean) {
                    continue;
                }
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    assert_same(
                        |x| apply(loss, &x[0], &x[1], reduction),
                        |x| reduction.of(&loss.portable(&x[0], &x[1])?),
                        &[inputs[0].to_dtype(dtype)?, inputs[1].to_dtype(dtype)?],
                        tolerance,
                    )?;
                }
            }
        }
        assert_types(L::NAME, |x| apply(loss, &x[0], &x[1], Reduction::None), &inputs(&[4, 7])?)?;
        let x = Tensor::zeros((0, 2), DType::F32, &Device::Cpu)?;
        assert!(apply(loss, &x, &x, Reduction::Mean)?.to_scalar::<f32>()?.is_nan());
        assert_eq!(apply(loss, &x, &x, Reduction::Sum)?.to_scalar::<f32>()?, 0.0);
        assert_eq!(apply(loss, &x, &x, Reduction::None)?.dims(), [0, 2]);
        let zeros = |n: usize, dtype| Tensor::zeros(n, dtype, &Device::Cpu);
        for (target, message) in [
            (zeros(3, DType::F32)?, "input and target must have one shape, got [2] and [3]"),
            (zeros(2, DType::F64)?, "arguments must be of one type, got F32 and F64"),
            (zeros(2, DType::U8)?, "arguments must be f16, bf16, f32 or f64, got U8"),
        ] {
            let error = apply(loss, &zeros(2, DType::F32)?, &target, Reduction::Mean).expect_err(message);
            let (error, message) = (error.to_string(), format!("{}: {message}", L::NAME));
            assert!(error.contains(&message), "{error} does not say {message}");
        }
        Ok(())
    }
}
