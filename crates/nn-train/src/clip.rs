//! Clipping of gradients, by their norm or one by one.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::{ensure, ops, vectorised};
use rayon::prelude::*;

use crate::trainer::Trainer;

/// Added to the norm before the division, as PyTorch does.
const EPSILON: f64 = 1e-6;

/// Scales all gradients by `min(1, max_norm / (‖g‖ + 1e-6))`, where `‖g‖` is the Euclidean norm of all of them
/// together, and returns `‖g‖`.
///
/// Source: `torch.nn.utils.clip_grad_norm_`. Parameters without a gradient do not count. Sums are taken in `f64` and
/// in a fixed order, whatever the number of threads.
///
/// [`FitConfig::clip_norm`](crate::FitConfig) makes the loop do it. In a loop of one's own:
///
/// ```
/// # use candle_core::{Device, Tensor, Var};
/// use nn_train::clip::clip_grad_norm;
/// use nn_train::{Optimizer, Rule};
///
/// let w = Var::new(&[1f32, 2.0], &Device::Cpu)?;
/// let mut optimizer = Optimizer::new(Rule::default(), vec![("w".to_owned(), w.clone())])?;
/// let mut grads = nn_core::backward(&(w.as_tensor() * 50.0)?.sum_all()?)?;
/// let norm = clip_grad_norm(&mut grads, optimizer.parameters(), 1.0)?;
/// optimizer.step(&grads, 0.1)?;
/// assert!((norm - 50.0 * 2f64.sqrt()).abs() < 1e-4);
/// # candle_core::Result::Ok(())
/// ```
///
/// # Errors
/// If `max_norm` is not above 0.
pub fn clip_grad_norm(grads: &mut GradStore, parameters: &[(String, Var)], max_norm: f64) -> Result<f64> {
    ensure!(max_norm > 0.0, "clip_grad_norm: max_norm must be above 0, got {max_norm}");
    let mut total = 0.0;
    for (_, var) in parameters {
        if let Some(grad) = grads.get(var) {
            total += sum_of_squares(grad)?;
        }
    }
    let norm = total.sqrt();
    let factor = max_norm / (norm + EPSILON);
    if factor < 1.0 {
        for (_, var) in parameters {
            // A new tensor: the gradient's memory may be shared with another's.
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad * factor)?);
            }
        }
    }
    Ok(norm)
}

/// Brings every element of the gradients into [−`max_value`, `max_value`].
///
/// Source: `torch.nn.utils.clip_grad_value_`.
///
/// # Errors
/// If `max_value` is not above 0.
pub fn clip_grad_value(grads: &mut GradStore, parameters: &[(String, Var)], max_value: f64) -> Result<()> {
    ensure!(max_value > 0.0, "clip_grad_value: max_value must be above 0, got {max_value}");
    for (_, var) in parameters {
        // A new tensor: the gradient's memory may be shared with another's.
        if let Some(grad) = grads.remove(var) {
            grads.insert(var, grad.clamp(-max_value, max_value)?);
        }
    }
    Ok(())
}

impl Trainer {
    /// Clips as the settings say; the norm before, where that is asked for.
    pub(crate) fn clip(&self, grads: &mut GradStore) -> Result<Option<f64>> {
        let (parameters, config) = (self.optimizer.parameters(), &self.config);
        if let Some(max) = config.clip_value {
            clip_grad_value(grads, parameters, max)?;
        }
        config.clip_norm.map(|max| clip_grad_norm(grads, parameters, max)).transpose()
    }
}

pub(crate) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    Ok(match x.dtype() {
        DType::F32 if x.device().is_cpu() => {
            let mut sum = 0.0;
            // Nothing is changed; this is how numbers are read without a copy of them.
            ops::update_in_place(&[], &[x], |_, read| sum = read.iter().map(|x| stretches(x)).sum())?;
            sum
        }
        DType::F32 => stretches(&x.flatten_all()?.to_vec1::<f32>()?),
        // Not every device knows double precision.
        _ => stretches(&x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?),
    })
}

/// Elements that a thread sums at a time; how many threads there are does not change what is added to what.
const STRETCH: usize = 16_384;

fn stretches<T: Copy + Into<f64> + Sync>(x: &[T]) -> f64 {
    let sums: Vec<f64> = x.par_chunks(STRETCH).map(squares).collect();
    sums.iter().sum()
}

/// Sums that run beside each other, so that an addition need not wait for the one before.
const LANES: usize = 32;

/// The sum of the squares of a few numbers.
pub(crate) fn squares<T: Copy + Into<f64>>(x: &[T]) -> f64 {
    vectorised(
        #[inline(always)]
        || {
            let (arrays, rest) = x.as_chunks::<LANES>();
            let mut lanes = [0.0; LANES];
            for array in arrays {
                for i in 0..LANES {
                    let x: f64 = array[i].into();
                    lanes[i] += x * x;
                }
            }
            let rest = rest.iter().map(|&x| -> f64 { x.into() });
            lanes.iter().sum::<f64>() + rest.map(|x| x * x).sum::<f64>()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_all_gradients_in_any_type() -> Result<()> {
        // 3² + 4² in one parameter, 12² spread over more than a stretch in the other.
        let n = STRETCH + 3;
        for dtype in [DType::F32, DType::F64] {
            let new = |x: Tensor| Var::from_tensor(&x.to_dtype(dtype)?);
            let a = new(Tensor::new(&[3f64, 4.0], &Device::Cpu)?)?;
            let b = new(Tensor::full(12.0 / (n as f64).sqrt(), n, &Device::Cpu)?)?;
            let mut grads = Tensor::zeros((), dtype, &Device::Cpu)?.backward()?;
            let named = [
                ("a".to_owned(), a.clone()),
                ("b".to_owned(), b.clone()),
                ("c".to_owned(), Var::from_tensor(&a.copy()?)?),
            ];
            grads.insert(&a, a.copy()?);
            grads.insert(&b, b.copy()?);
            let norm = clip_grad_norm(&mut grads, &named, 6.5)?;
            assert!((norm - 13.0).abs() < 1e-5, "{norm}");
            let clipped = clip_grad_norm(&mut grads, &named, 100.0)?;
            assert!((clipped - 6.5).abs() < 1e-5, "{clipped}");
        }
        let error =
            clip_grad_norm(&mut Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?, &[], f64::NAN);
        let error = error.expect_err("not a number").to_string();
        assert!(error.contains("max_norm must be above 0, got NaN"), "{error}");
        Ok(())
    }
}
