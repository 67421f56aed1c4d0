//! Clipping of gradients by their norm.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};
use nn_core::ensure;

/// Added to the norm before the division, as PyTorch does.
const EPSILON: f64 = 1e-6;

/// Scales all gradients by `min(1, max_norm / (‖g‖ + 1e-6))`, where `‖g‖` is the Euclidean norm of all of them
/// together, and returns `‖g‖`.
///
/// Source: `torch.nn.utils.clip_grad_norm_`. Parameters without a gradient do not count. Sums are taken in `f64` in
/// the order of `parameters`, so they do not depend on the number of threads.
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

fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let x: Vec<f64> = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
    Ok(x.iter().map(|v| v * v).sum())
}
