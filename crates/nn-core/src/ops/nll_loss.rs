//! Negative log-likelihood: the part of cross-entropy that follows a log-softmax.
//!
//! Why not Candle's: it takes logarithms of rank 2 alone, without weights or ignored labels (docs/candle-gaps.md).

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::labels::{IGNORE_INDEX, Labels, places};
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use crate::cpu::axis::{self, Axis};
use crate::cpu::{Element, vector};

/// Options of [`nll_loss`]; a [`Reduction`] alone will do.
#[derive(Clone, Copy, Debug)]
pub struct NllLoss<'a> {
    /// What each class counts, `[C]`, of the type of `x`; 1 if there is nothing. Gets no gradient.
    pub weight: Option<&'a Tensor>,
    /// The label whose places count nothing; −100 unless another is chosen.
    pub ignore_index: i64,
    /// The mean is over what the labels count: the sum of their classes' weights.
    pub reduction: Reduction,
}

impl Default for NllLoss<'_> {
    fn default() -> Self {
        Self { weight: None, ignore_index: IGNORE_INDEX, reduction: Reduction::Mean }
    }
}

impl From<Reduction> for NllLoss<'_> {
    fn from(reduction: Reduction) -> Self {
        Self { reduction, ..Self::default() }
    }
}

/// `−w_t · x_t` for each target `t`, reduced, of logarithms of probabilities `x`.
///
/// `x` `[B, C]` or `[B, C, d₁, …]` and targets `[B, d₁, …]`, classes in `0..C` of type `u8`, `u32` or `i64` → a scalar,
/// or the targets' shape with [`Reduction::None`]. Ignored labels add 0; if nothing counts, the mean is NaN.
///
/// # Errors
/// If `x` is of no float type or has no classes, the shapes or types of `x`, targets and weight do not belong together,
/// or a target is no class and not ignored.
pub fn nll_loss<'a>(x: &Tensor, targets: &Tensor, options: impl Into<NllLoss<'a>>) -> Result<Tensor> {
    let options = options.into();
    if let Some(half) = half_precision(Nll::NAME, &[x])? {
        let weight = options.weight.map(widen).transpose()?;
        return nll_loss(&widen(x)?, targets, NllLoss { weight: weight.as_ref(), ..options })?.to_dtype(half);
    }
    let NllLoss { weight, ignore_index, reduction } = options;
    let labels = Labels::read(Nll::NAME, x, targets, weight, ignore_index)?;
    if on_cpu(&[x]) {
        let factor = reduction.factor(labels.total(), &places(x.dims()));
        apply1(Nll { labels, reduction, factor }, x)
    } else {
        portable(x, &labels, reduction)
    }
}

#[derive(Clone)]
struct Nll {
    labels: Labels,
    reduction: Reduction,
    /// What the terms' sum is multiplied by.
    factor: f64,
}

impl Kernel<1> for Nll {
    const NAME: &'static str = "nll_loss";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(x.dims, 1);
        let term = |i: usize, logarithm: &dyn Fn(usize) -> T| {
            self.labels.at(i).map_or(T::ZERO, |(class, weight)| -T::of(weight) * logarithm(class))
        };
        // Of a row it looks at one number; of columns it walks along all rows.
        let cost = usize::from(!axis.is_last());
        let terms = axis.facts(
            cost,
            |i| [term(i, &|class| axis.fibre(&x.data, i)[class])],
            |at| {
                let (x, first, mut terms) =
                    (axis.block(&x.data, at), axis.column(at), axis::per_column(T::ZERO));
                for j in 0..x.width {
                    terms[j] = term(first + j, &|class| x.at(class, j));
                }
                [terms]
            },
        );
        if self.reduction == Reduction::None {
            return Ok((terms, places(x.dims).into()));
        }
        Ok(scalar(self.factor * vector::total2(&terms, &terms, 1, |y, _| y)))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(self.clone(), x.dims().to_vec()), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}

#[derive(Clone)]
struct Gradient(Nll, Vec<usize>);

impl Kernel<1> for Gradient {
    const NAME: &'static str = Nll::NAME;

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let Self(Nll { labels, reduction, factor }, dims) = self;
        let axis = Axis::new(dims, 1);
        let hit = |i: usize| {
            let dy = if *reduction == Reduction::None { dy.data[i] } else { dy.data[0] };
            labels.at(i).map(|(class, weight)| (class, -T::of(weight * factor) * dy))
        };
        if axis.is_last() {
            // Memory that is zeros from the start.
            let mut dx = vec![T::ZERO; dims.iter().product()];
            for (i, dx) in dx.chunks_mut(axis.rows).enumerate() {
                if let Some((class, slope)) = hit(i) {
                    dx[class] = slope;
                }
            }
            return Ok((dx, dims.as_slice().into()));
        }
        let dx = axis.by_blocks(1, |at, dx| {
            for dx in dx.iter_mut() {
                dx.fill(|_| T::ZERO);
            }
            let first = axis.column(at);
            for j in 0..dx[0].len() {
                if let Some((class, slope)) = hit(first + j) {
                    dx[class].get_mut()[j] = slope;
                }
            }
        });
        Ok((dx, dims.as_slice().into()))
    }
}

/// The loss from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, labels: &Labels, reduction: Reduction) -> Result<Tensor> {
    let shape = places(x.dims());
    if x.elem_count() == 0 {
        return reduction.of_weighted(&x.sum(1)?, 0.0);
    }
    let hit = x.contiguous()?.gather(&labels.classes(x)?.unsqueeze(1)?, 1)?.reshape(shape)?;
    reduction.of_weighted(&(hit * labels.weights(x, |w| -w)?)?, labels.total())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::ops::{cross_entropy, log_softmax};
    use crate::testing::{assert_close, gradcheck, randn};

    const REDUCTIONS: [Reduction; 4] =
        [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

    fn targets(dims: &[usize], classes: usize) -> Result<Tensor> {
        let labels: Vec<u32> =
            (0..dims.iter().product()).map(|i: usize| (i * 7919 % 31 % classes) as u32).collect();
        Tensor::from_vec(labels, dims, &Device::Cpu)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let x = Tensor::new(&[[-1.0, -2.0], [-3.0, -5.0], [-7.0, -11.0]], &Device::Cpu)?;
        let targets = Tensor::new(&[1u8, 0, 9], &Device::Cpu)?;
        let weight = Tensor::new(&[1.0, 3.0], &Device::Cpu)?;
        let options = NllLoss { weight: Some(&weight), ignore_index: 9, ..NllLoss::default() };
        assert_eq!(nll_loss(&x, &targets, options)?.to_scalar::<f64>()?, 9.0 / 4.0);
        let terms = NllLoss { reduction: Reduction::None, ..options };
        assert_eq!(nll_loss(&x, &targets, terms)?.to_vec1::<f64>()?, [6.0, 3.0, 0.0]);
        Ok(())
    }

    #[test]
    fn it_is_what_cross_entropy_does_after_its_softmax() -> Result<()> {
        let (x, labels) = (randn(1, (3, 4, 5))?, targets(&[3, 5], 4)?);
        let loss = nll_loss(&log_softmax(&x, 1)?, &labels, Reduction::Mean)?;
        assert_close(&loss, &cross_entropy(&x, &labels, Reduction::Mean)?, 1e-14, 0.0)
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for shape in [vec![0, 3], vec![1, 1], vec![5, 3], vec![2, 3, 4], vec![2, 5, 7, 10], vec![2, 3, 0]] {
            let x = randn(1, shape.as_slice())?;
            let targets = targets(&places(&shape), shape[1])?;
            let weight = randn(2, shape[1])?.abs()?;
            for reduction in REDUCTIONS {
                let mean = matches!(reduction, Reduction::Mean | Reduction::BatchMean);
                if shape.contains(&0) && mean || shape[1] == 1 {
                    continue;
                }
                let options = NllLoss { weight: Some(&weight), ignore_index: 1, reduction };
                let labels = Labels::read("nll_loss", &x, &targets, options.weight, 1)?;
                let portable = |x: &[Tensor]| portable(&x[0], &labels, reduction);
                assert_same(
                    |x| nll_loss(&x[0], &targets, options),
                    portable,
                    std::slice::from_ref(&x),
                    1e-12,
                )?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        let (labels, pixels) = (targets(&[4], 3)?, targets(&[2, 5], 3)?);
        for reduction in REDUCTIONS {
            gradcheck(|x| nll_loss(&x[0].t()?, &labels, reduction), &[randn(3, (3, 4))?])?;
            gradcheck(|x| nll_loss(&x[0].transpose(1, 2)?, &pixels, reduction), &[randn(4, (2, 5, 3))?])?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        let labels = targets(&[4], 3)?;
        assert_types("nll_loss", |x| nll_loss(&x[0], &labels, Reduction::Sum), &[randn(5, (4, 3))?])
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        for (targets, message) in [
            (
                Tensor::new(&[0u32], &Device::Cpu)?,
                "nll_loss: input [B, C, …] needs targets [B, …], got shapes",
            ),
            (
                Tensor::new(&[0i64, -7], &Device::Cpu)?,
                "nll_loss: targets must be classes in 0..3, got -7 at [1]",
            ),
            (Tensor::new(&[0f32, 1.0], &Device::Cpu)?, "integers (u8, u32 or i64), got F32"),
        ] {
            let error = nll_loss(&x, &targets, Reduction::Mean).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
        }
        Ok(())
    }
}
