//! Binary cross-entropy of logits, the loss of yes-or-no questions.
//!
//! Why not Candle's: it takes the logarithm of a sigmoid, which is NaN once the sigmoid rounds to 0 or 1
//! (docs/candle-gaps.md).

mod positive;

use candle_core::{Result, Tensor};

use self::positive::Positive;
use super::kernel::{apply3, on_cpu};
use super::loss::{Elementwise, apply, same_shape};
use super::precision::{half_precision, widen};
use super::reduction::Reduction;
use crate::cpu::Element;
use crate::ensure;

/// Options of [`bce_with_logits`]; a [`Reduction`] alone will do.
#[derive(Clone, Copy, Debug, Default)]
pub struct BceWithLogits<'a> {
    /// What each term is multiplied by, of a shape that spreads over that of `x`. Gets no gradient.
    pub weight: Option<&'a Tensor>,
    /// What the term of a positive answer is multiplied by, of a shape that spreads over that of `x`: `[C]` for the
    /// classes on its last axis. Gets no gradient.
    pub pos_weight: Option<&'a Tensor>,
    /// What is made of the terms; a mean is over their number, whatever they weigh.
    pub reduction: Reduction,
}

impl From<Reduction> for BceWithLogits<'_> {
    fn from(reduction: Reduction) -> Self {
        Self { reduction, ..Self::default() }
    }
}

/// `−w (p · target · ln σ(x) + (1 − target) · ln(1 − σ(x)))`, reduced, with weights `w` and `p` of terms and of
/// positive answers, 1 unless given; `x` and `target` get gradients.
///
/// Logits `x` and probabilities `target` in [0, 1], of one shape → a scalar, or that shape with
/// [`Reduction::None`]. Finite for every finite logit.
///
/// # Errors
/// If `x` and target differ in shape or type or are of no float type, or a weight does not spread over them.
pub fn bce_with_logits<'a>(
    x: &Tensor,
    target: &Tensor,
    options: impl Into<BceWithLogits<'a>>,
) -> Result<Tensor> {
    let BceWithLogits { weight, pos_weight, reduction } = options.into();
    if weight.is_none() && pos_weight.is_none() {
        return apply(Plain, x, target, reduction);
    }
    if let Some(half) = half_precision(Plain::NAME, &[x, target])? {
        let (weight, pos_weight) = (weight.map(widen).transpose()?, pos_weight.map(widen).transpose()?);
        let wide = BceWithLogits { weight: weight.as_ref(), pos_weight: pos_weight.as_ref(), reduction };
        return bce_with_logits(&widen(x)?, &widen(target)?, wide)?.to_dtype(half);
    }
    same_shape(Plain::NAME, x, target)?;
    let Some(weight) = weight else { return positive(x, target, pos_weight, reduction) };
    let weight = spread("weight", weight, x)?;
    reduction.of(&positive(x, target, pos_weight, Reduction::None)?.broadcast_mul(&weight)?)
}

/// The loss with a weight of positive answers alone.
fn positive(
    x: &Tensor,
    target: &Tensor,
    pos_weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    let Some(pos_weight) = pos_weight else { return apply(Plain, x, target, reduction) };
    let pos_weight = spread("pos_weight", pos_weight, x)?;
    if on_cpu(&[x, target]) {
        apply3(Positive { reduction }, x, target, &repeating(&pos_weight, x)?)
    } else {
        reduction.of(&portable_positive(x, target, &pos_weight)?)
    }
}

/// A weight without a graph, checked to spread over `x`.
fn spread(what: &str, weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (dims, shape) = (weight.dims(), x.dims());
    let tail = &shape[shape.len().saturating_sub(dims.len())..];
    let fits = dims.len() <= shape.len() && dims.iter().zip(tail).all(|(&n, &size)| n == size || n == 1);
    ensure!(fits, "{}: {what} must spread over the logits, {shape:?}, got shape {dims:?}", Plain::NAME);
    let (a, b) = (x.dtype(), weight.dtype());
    ensure!(a == b, "{}: input and {what} must have one type, got {a:?} and {b:?}", Plain::NAME);
    Ok(weight.detach())
}

/// What `weight` repeats over all of `x`: it spread over the last axes alone, from its first of more than one number on.
fn repeating(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let varying = weight.dims().iter().position(|&n| n > 1).map_or(0, |first| weight.rank() - first);
    let sizes = weight.dims()[weight.rank() - varying..].to_vec();
    weight.reshape(sizes)?.broadcast_as(&x.dims()[x.rank() - varying..])?.contiguous()
}

/// `bce(x, t) + (p − 1) t · ln(1 + e^−x)`, and that logarithm is the loss of a positive answer.
fn portable_positive(x: &Tensor, target: &Tensor, pos_weight: &Tensor) -> Result<Tensor> {
    let more = target.broadcast_mul(&pos_weight.affine(1.0, -1.0)?)?;
    Plain.portable(x, target)? + (more * Plain.portable(x, &x.ones_like()?)?)?
}

#[derive(Clone, Copy)]
struct Plain;

impl Elementwise for Plain {
    const NAME: &'static str = "bce_with_logits";
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T, target: T) -> T {
        let positive = if x < T::ZERO { T::ZERO } else { x };
        (-x).mul_add(target, positive) + (-x.abs()).exp().ln_1p()
    }

    #[inline(always)]
    fn derivatives<T: Element>(self, x: T, target: T) -> [T; 2] {
        [x.sigmoid() - target, -x]
    }

    fn portable(self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        // (1 − target) · x + m + ln(e^−m + e^(−x−m)) holds for every m; this one keeps both powers from overflow.
        let m = x.neg()?.maximum(&x.zeros_like()?)?.detach();
        let softplus = ((x + &m)?.neg()?.exp()? + m.neg()?.exp()?)?.log()?;
        (x - (target * x)?)? + (softplus + m)?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::loss::checks::{REDUCTIONS, assert_elementwise};
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    /// Terms and the gradients of logits and targets.
    fn at(x: &[f32], target: &[f32]) -> Result<[Vec<f32>; 3]> {
        let (x, target) = (Var::new(x, &Device::Cpu)?, Var::new(target, &Device::Cpu)?);
        let y = bce_with_logits(&x, &target, Reduction::None)?;
        let grads = y.sum_all()?.backward()?;
        let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f32>();
        Ok([y.to_vec1()?, get(&x)?, get(&target)?])
    }

    #[test]
    fn worked_example() -> Result<()> {
        // σ(ln 3) = ¾
        let [y, dx, dt] = at(&[0.0, 3f32.ln(), 3f32.ln()], &[0.25, 1.0, 0.0])?;
        let truth =
            [[2f32.ln(), -0.75f32.ln(), 4f32.ln()], [0.25, -0.25, 0.75], [0.0, -3f32.ln(), -3f32.ln()]];
        for (got, truth) in [y, dx, dt].iter().zip(truth) {
            for (got, truth) in got.iter().zip(truth) {
                assert!((got - truth).abs() < 2e-7, "{got} is not {truth}");
            }
        }
        Ok(())
    }

    #[test]
    fn extreme_logits_are_those_of_pytorch() -> Result<()> {
        let [y, dx, dt] =
            at(&[1000.0, -1000.0, 1000.0, -1000.0, 100.0, -40.0], &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0])?;
        assert_eq!(y[..5], [1000.0, 1000.0, 0.0, 0.0, (-100f32).exp()]);
        assert_eq!(dx[..5], [1.0, -1.0, 0.0, 0.0, 0.0]);
        assert_eq!(dt, [-1000.0, 1000.0, -1000.0, 1000.0, -100.0, 40.0]);
        // Small terms keep their relative precision.
        assert!((y[5] / (-40f32).exp() - 1.0).abs() < 1e-6 && (dx[5] / (-40f32).exp() - 1.0).abs() < 1e-6);
        Ok(())
    }

    /// Logits and probabilities.
    fn inputs(seed: u64, shape: &[usize]) -> Result<[Tensor; 2]> {
        Ok([(randn(seed, shape)? * 3.0)?, randn(seed + 1, shape)?.tanh()?.affine(0.5, 0.5)?])
    }

    #[test]
    fn it_is_a_loss_of_elements() -> Result<()> {
        assert_elementwise(Plain, |shape| inputs(1, shape))?;
        // Both forms at the corner of |x| and where one power underflows.
        let x = Tensor::new(&[0.0, -0.0, 1000.0, -1000.0], &Device::Cpu)?;
        let target = Tensor::new(&[0.5, 1.0, 0.0, 1.0], &Device::Cpu)?;
        let op = |x: &[Tensor]| bce_with_logits(&x[0], &x[1], Reduction::None);
        assert_same(op, |x| Plain.portable(&x[0], &x[1]), &[x, target], 1e-12)
    }

    #[test]
    fn weights_by_hand() -> Result<()> {
        let x = Tensor::zeros((2, 2), DType::F64, &Device::Cpu)?;
        let target = Tensor::new(&[[1.0, 0.0], [0.5, 1.0]], &Device::Cpu)?;
        let (weight, pos_weight) =
            (Tensor::new(&[[1.0], [2.0]], &Device::Cpu)?, Tensor::new(&[3.0, 5.0], &Device::Cpu)?);
        let options = BceWithLogits { pos_weight: Some(&pos_weight), ..Reduction::None.into() };
        let close = |options, truth: Tensor| {
            let y = (bce_with_logits(&x, &target, options)? / std::f64::consts::LN_2)?;
            assert_close(&y, &truth, 1e-15, 0.0)
        };
        close(options, Tensor::new(&[[3.0, 1.0], [2.0, 5.0]], &Device::Cpu)?)?;
        let both = BceWithLogits { weight: Some(&weight), ..options };
        close(both, Tensor::new(&[[3.0, 1.0], [4.0, 10.0]], &Device::Cpu)?)?;
        close(BceWithLogits { reduction: Reduction::Mean, ..both }, Tensor::new(4.5, &Device::Cpu)?)
    }

    #[test]
    fn weighted_kernels_are_their_portable_twins() -> Result<()> {
        let shapes: [(&[usize], &[usize]); 7] = [
            (&[2, 3], &[]),
            (&[2, 3], &[1]),
            (&[2, 3], &[3]),
            (&[700, 30], &[700, 1]),
            (&[3, 5, 2000], &[5, 1]),
            (&[3, 2, 30, 40], &[2, 30, 1]),
            (&[0, 3], &[3]),
        ];
        for (shape, spread) in shapes {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let [x, target] = inputs(3, shape)?;
                let inputs = [x.to_dtype(dtype)?, target.to_dtype(dtype)?];
                let pos_weight = randn(5, spread)?.abs()?.to_dtype(dtype)?;
                for reduction in [Reduction::Sum, Reduction::None] {
                    let options = BceWithLogits { pos_weight: Some(&pos_weight), ..reduction.into() };
                    let portable =
                        |x: &[Tensor]| reduction.of(&portable_positive(&x[0], &x[1], &pos_weight)?);
                    let op = |x: &[Tensor]| bce_with_logits(&x[0], &x[1], options);
                    assert_same(op, portable, &inputs, tolerance)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        let (weight, pos_weight) = (randn(5, (4, 1))?.abs()?, randn(6, 3)?.abs()?);
        let all = [
            (None, None),
            (Some(&weight), None),
            (None, Some(&pos_weight)),
            (Some(&weight), Some(&pos_weight)),
        ];
        for (reduction, (weight, pos_weight)) in REDUCTIONS.into_iter().flat_map(|r| all.map(|w| (r, w))) {
            let options = BceWithLogits { weight, pos_weight, reduction };
            gradcheck(|x| bce_with_logits(&x[0], &x[1], options), &inputs(3, &[4, 3])?)?;
            let view = |x: &Tensor| x.t()?.narrow(1, 1, 3);
            gradcheck(|x| bce_with_logits(&view(&x[0])?, &view(&x[1])?, options), &inputs(3, &[5, 4])?)?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        let pos_weight = randn(6, 3)?.abs()?.to_dtype(DType::F32)?;
        let options = BceWithLogits { pos_weight: Some(&pos_weight), ..Reduction::None.into() };
        assert_types("bce_with_logits", |x| bce_with_logits(&x[0], &x[1], options), &inputs(3, &[4, 3])?)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu);
        let x = zeros(&[2, 3], DType::F32)?;
        for (weight, message) in [
            (zeros(&[2], DType::F32)?, "pos_weight must spread over the logits, [2, 3], got shape [2]"),
            (
                zeros(&[1, 2, 3], DType::F32)?,
                "pos_weight must spread over the logits, [2, 3], got shape [1, 2, 3]",
            ),
            (zeros(&[3], DType::F64)?, "input and pos_weight must have one type, got F32 and F64"),
        ] {
            let options = BceWithLogits { pos_weight: Some(&weight), ..BceWithLogits::default() };
            let error = bce_with_logits(&x, &x, options).expect_err(message).to_string();
            assert!(error.contains(message), "{error} does not say {message}");
            let target = zeros(&[3], DType::F32)?;
            let error = bce_with_logits(&x, &target, options).expect_err("shapes differ").to_string();
            assert!(error.contains("one shape, got [2, 3] and [3]"), "{error}");
        }
        Ok(())
    }
}
