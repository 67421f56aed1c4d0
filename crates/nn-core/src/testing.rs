//! Checks for tests: gradients by finite differences, closeness of tensors, seeded inputs, reference numbers.

mod golden;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

use crate::random::Random;
use crate::{Activations, ParamStore, ensure, ops};

pub use golden::Golden;

/// Standard normal numbers in `f64`, the same for the same seed and shape.
///
/// # Errors
/// Never for shapes that fit into memory.
pub fn randn(seed: u64, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let mut draws = Random::new(seed).at("testing").draws();
    let values: Vec<f64> = (0..shape.elem_count()).map(|_| draws.normal()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Whether [`backward`](crate::backward()) takes its own way from `y`: nothing but this crate's ops, on the CPU, leads
/// there from what is trained.
pub fn is_direct(y: &Tensor) -> bool {
    crate::backward::is_direct(y)
}

/// Demands that `loss` trains every parameter of `store`, by way of this crate's ops alone.
///
/// # Errors
/// If [`backward`](crate::backward()) takes Candle's way, or a parameter's gradient is missing or zero; the message names it.
pub fn assert_trained(loss: &Tensor, store: &ParamStore) -> Result<()> {
    ensure!(is_direct(loss), "assert_trained: an operation of Candle's own is in the graph");
    let grads = crate::backward(loss)?;
    for (name, var) in store.parameters() {
        let Some(d) = grads.get(&var) else { candle_core::bail!("assert_trained: no gradient for {name}") };
        let size = d.abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        ensure!(size > 0.0, "assert_trained: {name} is not trained, the sum of its gradient is {size}");
    }
    Ok(())
}

/// Compares the gradients of `f` with central differences, in `f64`, for every element of every input, and with those of
/// [`Activations::Bf16`], under which `f64` stays as it is.
///
/// The output is weighted with random numbers and summed, so errors cannot cancel. Inputs must not sit within
/// 1e-5 of a kink. The inputs are the graph's leaves; make views (transposed, narrowed) of them inside `f`.
///
/// # Errors
/// If a gradient is missing, or differs by more than `1e-6 · max(1, |difference|)`; the message says where.
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-6;
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(&x.copy()?)).collect::<Result<_>>()?;
    let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&args)?;
    let weight = randn(0x9e37, y.dims())?;
    let value = |xs: &[Tensor]| -> Result<f64> { f(xs)?.mul(&weight)?.sum_all()?.to_scalar::<f64>() };
    let grads = y.mul(&weight)?.sum_all()?.backward()?;
    // Kept small, `f64` stays whole: the very same gradients, unless an op reads what it said it would not.
    let kept = || -> Result<Tensor> {
        // Inputs that are results, as in a network: what is a variable is there anyway.
        f(&args.iter().map(|x| ops::reshape(x, x.shape())).collect::<Result<Vec<_>>>()?)
    };
    let small = Activations::Bf16.keep(kept)?.mul(&weight)?.sum_all()?.backward()?;
    for (n, var) in vars.iter().enumerate() {
        ensure!(var.dtype() == DType::F64, "gradcheck: inputs must be f64, got {:?}", var.dtype());
        if var.elem_count() == 0 {
            continue;
        }
        let Some(grad) = grads.get(var) else { candle_core::bail!("gradcheck: input {n} got no gradient") };
        let Some(kept) = small.get(var) else {
            candle_core::bail!("gradcheck: input {n} got no gradient from activations that are kept small")
        };
        assert_close(kept, grad, 0.0, 0.0)?;
        let grad = grad.flatten_all()?.to_vec1::<f64>()?;
        let start = var.flatten_all()?.to_vec1::<f64>()?;
        for i in 0..start.len() {
            let at = |shift: f64| -> Result<f64> {
                let mut moved = start.clone();
                moved[i] += shift;
                let mut args = inputs.to_vec();
                args[n] = Tensor::from_vec(moved, var.dims(), &Device::Cpu)?;
                value(&args)
            };
            let difference = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            let error = (grad[i] - difference).abs();
            ensure!(
                error <= TOLERANCE * difference.abs().max(1.0),
                "gradcheck: input {n} of shape {:?}, element {i}: gradient {}, central difference {difference}",
                var.dims(),
                grad[i]
            );
        }
    }
    Ok(())
}

/// The gradient of `Σ y²` with respect to `x`; zeros where Candle lost the graph because a tensor was empty.
///
/// # Errors
/// If a non-empty graph gives `x` no gradient.
pub fn square_gradient(y: &Tensor, x: &Var) -> Result<Tensor> {
    match y.sqr()?.sum_all()?.backward()?.get(x) {
        Some(gradient) => Ok(gradient.clone()),
        None if y.elem_count() == 0 => x.zeros_like(),
        None => candle_core::bail!("square_gradient: no gradient for {:?}", x.dims()),
    }
}

/// Demands `|a − b| ≤ absolute + relative · |b|` for every element, and equal shapes.
///
/// # Errors
/// The first element that differs more, with both values; NaN is close to nothing.
pub fn assert_close(a: &Tensor, b: &Tensor, relative: f64, absolute: f64) -> Result<()> {
    ensure!(a.dims() == b.dims(), "assert_close: shapes differ, got {:?} and {:?}", a.dims(), b.dims());
    let flat = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec1::<f64>();
    for (i, (x, y)) in flat(a)?.into_iter().zip(flat(b)?).enumerate() {
        let close = x == y || (x - y).abs() <= absolute + relative * y.abs();
        ensure!(close, "assert_close: element {i} of {:?}: {x} is not {y}", a.dims());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradcheck_accepts_right_gradients_and_refuses_wrong_or_missing_ones() -> Result<()> {
        let x = randn(1, (2, 3))?;
        gradcheck(|x| x[0].sqr()?.tanh(), std::slice::from_ref(&x))?;
        let wrong = gradcheck(|x| x[0].detach().mul(&x[0]), std::slice::from_ref(&x));
        assert!(wrong.expect_err("half of the gradient is detached").to_string().contains("element 0"));
        let missing = gradcheck(|x| x[0].detach() + 0.0, std::slice::from_ref(&x));
        assert!(missing.expect_err("all of it is detached").to_string().contains("no gradient"));
        Ok(())
    }

    #[test]
    fn assert_close_sees_differences_shapes_and_nan() -> Result<()> {
        let t = |v: &[f64]| Tensor::new(v, &Device::Cpu);
        assert_close(&t(&[1.0, 2.0])?, &t(&[1.0, 2.0 + 1e-9])?, 1e-8, 0.0)?;
        assert!(assert_close(&t(&[1.0])?, &t(&[1.1])?, 1e-2, 0.0).is_err());
        assert!(assert_close(&t(&[f64::NAN])?, &t(&[1.0])?, 1.0, 1.0).is_err());
        assert!(assert_close(&t(&[1.0])?, &t(&[1.0, 1.0])?, 1.0, 1.0).is_err());
        Ok(())
    }
}
