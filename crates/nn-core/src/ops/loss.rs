//! The bridge for losses that compare two tensors element by element: each is one [`Elementwise`].

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, View, apply2, detached3, on_cpu, wants_gradient};
use super::reduction::Reduction;
use crate::cpu::{Element, vector};
use crate::ensure;

/// A differentiable function of a prediction and its target.
pub(super) trait Elementwise: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Elementary operations per element, roughly.
    const COST: usize;

    fn value<T: Element>(self, x: T, target: T) -> T;

    /// The derivatives by the prediction and by the target.
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2];

    /// [`Elementwise::value`] of every element from differentiable Candle operations: other devices and types, and
    /// the kernel's oracle.
    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor>;
}

/// The loss of predictions `x`; both tensors get gradients.
pub(super) fn apply<L: Elementwise>(
    loss: L,
    x: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    let name = L::NAME;
    let (a, b) = (x.dims(), target.dims());
    ensure!(a == b, "{name}: input and target must have one shape, got {a:?} and {b:?}");
    let (a, b) = (x.dtype(), target.dtype());
    ensure!(a == b, "{name}: input and target must have one type, got {a:?} and {b:?}");
    if on_cpu(&[x, target]) {
        apply2(Loss { loss, reduction }, x, target)
    } else {
        reduction.of(&loss.portable(x, target)?)
    }
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
        if self.reduction == Reduction::None {
            let terms = vector::map2(
                &x.data,
                &target.data,
                L::COST,
                #[inline(always)]
                |x, target| loss.value(x, target),
            );
            return Ok((terms, x.dims.into()));
        }
        let total = vector::total2(
            &x.data,
            &target.data,
            L::COST,
            #[inline(always)]
            |x, target| loss.value(x, target),
        );
        Ok(self.reduction.scalar(total, x.data.len()))
    }

    fn backward(&self, [x, target]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let gradient = |of: Of, arg: &Tensor| {
            let kernel = Gradient { of, loss: self.clone() };
            wants_gradient(arg).then(|| detached3(kernel, x, target, dy)).transpose()
        };
        Ok([gradient(Of::Input, x)?, gradient(Of::Target, target)?])
    }
}

/// Which argument a gradient belongs to; also its place in [`Elementwise::derivatives`].
#[derive(Clone, Copy)]
enum Of {
    Input,
    Target,
}

#[derive(Clone)]
struct Gradient<L> {
    of: Of,
    loss: Loss<L>,
}

impl<L: Elementwise> Kernel<3> for Gradient<L> {
    const NAME: &'static str = L::NAME;

    fn forward<T: Element>(&self, [x, target, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let Loss { loss, reduction } = self.loss;
        let which = self.of as usize;
        let dx = match reduction {
            Reduction::None => vector::map3(
                [&x.data, &target.data, &dy.data],
                L::COST,
                #[inline(always)]
                |x, target, dy| loss.derivatives(x, target)[which] * dy,
            ),
            _ => {
                let dy = dy.data[0] * T::of(reduction.factor(x.data.len()));
                vector::map2(
                    &x.data,
                    &target.data,
                    L::COST,
                    #[inline(always)]
                    |x, target| loss.derivatives(x, target)[which] * dy,
                )
            }
        };
        Ok((dx, x.dims.into()))
    }
}
