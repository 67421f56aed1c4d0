//! Kullback–Leibler divergence of a distribution, given by logarithms, from a target.
//!
//! Source: Kullback & Leibler 1951, "On information and sufficiency", Annals of Mathematical Statistics 22.
//!
//! Why not Candle's: it has none, and 0 · ln 0 is NaN in its operations (docs/candle-gaps.md).

use candle_core::{Result, Tensor};

use super::loss::{Elementwise, apply};
use super::reduction::Reduction;
use crate::cpu::Element;

/// Options of [`kl_div`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KlDiv {
    /// What targets are.
    pub target: KlTarget,
    /// What is made of the terms. [`Reduction::BatchMean`] is the divergence as it is defined, for each row its own.
    pub reduction: Reduction,
}

/// What the targets of [`kl_div`] are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KlTarget {
    /// Probabilities.
    #[default]
    Probabilities,
    /// Logarithms of probabilities, as the input is.
    Logarithms,
}

/// `target · (ln target − x)`, or `e^target · (target − x)` of logarithms, reduced; both arguments get gradients.
///
/// Logarithms `x` and targets of one shape → a scalar, or that shape with [`Reduction::None`].
///
/// A probability of 0 adds 0; its own gradient is −∞. A negative one gives NaN.
///
/// # Errors
/// If the two differ in shape or type, or are of no float type.
pub fn kl_div(x: &Tensor, target: &Tensor, options: KlDiv) -> Result<Tensor> {
    match options.target {
        KlTarget::Probabilities => apply(OfProbabilities, x, target, options.reduction),
        KlTarget::Logarithms => apply(OfLogarithms, x, target, options.reduction),
    }
}

#[derive(Clone, Copy)]
struct OfProbabilities;

impl Elementwise for OfProbabilities {
    const NAME: &'static str = "kl_div";
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let entropy = if target == T::ZERO { T::ZERO } else { target * target.ln() };
        entropy - target * x
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        [-target, target.ln() + T::ONE - x]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let zero = target.zeros_like()?;
        // The logarithm of 1 where a target is 0, since 0 · −∞ is NaN.
        let none = target.eq(0.0)?;
        let logarithm = none.where_cond(&target.ones_like()?, target)?.log()?;
        let entropy = (target * logarithm)?;
        none.where_cond(&zero, &entropy)? - (target * x)?
    }
}

#[derive(Clone, Copy)]
struct OfLogarithms;

impl Elementwise for OfLogarithms {
    const NAME: &'static str = "kl_div";
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        target.exp() * (target - x)
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        let p = target.exp();
        [-p, p * (target - x + T::ONE)]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        target.exp()? * (target - x)?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Var};

    use super::*;
    use crate::ops::loss::checks::{REDUCTIONS, assert_elementwise};
    use crate::ops::softmax;
    use crate::testing::{assert_close, gradcheck, randn};

    const TARGETS: [KlTarget; 2] = [KlTarget::Probabilities, KlTarget::Logarithms];

    #[test]
    fn worked_example() -> Result<()> {
        // From a coin to one that falls on one side three times in four, and to one that always does.
        let x = Tensor::full(0.5f64.ln(), (2, 2), &Device::Cpu)?;
        let target = Tensor::new(&[[0.75, 0.25], [1.0, 0.0]], &Device::Cpu)?;
        let options = KlDiv { reduction: Reduction::BatchMean, ..KlDiv::default() };
        let truth = 0.5 * (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln() + 2f64.ln());
        assert!((kl_div(&x, &target, options)?.to_scalar::<f64>()? - truth).abs() < 1e-15);
        let rows = target.narrow(0, 0, 1)?.log()?;
        let options = KlDiv { target: KlTarget::Logarithms, reduction: Reduction::Sum };
        let divergence = kl_div(&x.narrow(0, 0, 1)?, &rows, options)?.to_scalar::<f64>()?;
        assert!((divergence - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn impossible_targets_add_nothing() -> Result<()> {
        let (x, target) = (Var::new(&[-1.0, -2.0], &Device::Cpu)?, Var::new(&[0.0, 1.0], &Device::Cpu)?);
        let y = kl_div(&x, &target, KlDiv { reduction: Reduction::None, ..KlDiv::default() })?;
        assert_eq!(y.to_vec1::<f64>()?, [0.0, 2.0]);
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f64>();
        assert_eq!((get(&x)?, get(&target)?), (vec![-0.0, -1.0], vec![f64::NEG_INFINITY, 3.0]));
        let portable = OfProbabilities.portable(&x, &target)?;
        assert_eq!(portable.to_vec1::<f64>()?, [0.0, 2.0]);
        Ok(())
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        let inputs = |shape: &[usize]| -> Result<[Tensor; 2]> {
            Ok([randn(1, shape)?.abs()?.neg()?, randn(2, shape)?.abs()?])
        };
        assert_elementwise(OfProbabilities, inputs)?;
        assert_elementwise(OfLogarithms, |shape| Ok([randn(1, shape)?, randn(2, shape)?]))?;
        let (x, target) = (randn(3, (4, 5))?, softmax(&randn(4, (4, 5))?, D::Minus1)?);
        let [a, b] = TARGETS.map(|target| KlDiv { target, reduction: Reduction::None });
        assert_close(&kl_div(&x, &target, a)?, &kl_div(&x, &target.log()?, b)?, 1e-13, 1e-14)
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for (reduction, target) in REDUCTIONS.into_iter().flat_map(|r| TARGETS.map(|t| (r, t))) {
            let options = KlDiv { target, reduction };
            let inputs = [randn(3, (3, 4))?, randn(4, (3, 4))?.abs()?];
            gradcheck(|x| kl_div(&x[0], &x[1], options), &inputs)?;
            gradcheck(|x| kl_div(&x[0].t()?, &x[1].t()?.narrow(1, 0, 3)?, options), &inputs)?;
        }
        Ok(())
    }
}
