//! What stock Candle 0.11.1 gets wrong about smooth activations, clamps and indices, beside what replaces it.

use nn_core::candle_core::{Device, Result, Tensor, Var};
use nn_core::ops;

const FIXED: &str = "stock Candle does this right now: drop this gap";

/// The gradient of the sum of `f(x)`.
fn gradient(x: &[f64], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let x = Var::new(x, &Device::Cpu)?;
    f(&x)?.sum_all()?.backward()?.remove(&x).expect("the input's gradient").to_vec1()
}

/// Its derivatives are written with constants of six digits.
#[test]
fn gelu_has_a_derivative_of_double_precision() -> Result<()> {
    // At 1: Φ(1) + φ(1), and the same of the form with a hyperbolic tangent.
    let erf = 0.841_344_746_068_542_9 + 0.241_970_724_519_143_37;
    let scale = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    let t = (scale * 1.044_715).tanh();
    let tanh = 0.5 * (1.0 + t) + 0.5 * (1.0 - t * t) * scale * (1.0 + 3.0 * 0.044_715);
    type Function = fn(&Tensor) -> Result<Tensor>;
    let cases: [(f64, Function, Function); 2] =
        [(erf, Tensor::gelu_erf, ops::gelu), (tanh, Tensor::gelu, ops::gelu_tanh)];
    for (truth, stock, ours) in cases {
        assert!((gradient(&[1.0], stock)?[0] - truth).abs() > 1e-8, "{FIXED}");
        assert!((gradient(&[1.0], ours)?[0] - truth).abs() < 1e-12);
    }
    Ok(())
}

/// A clamp's derivative at its bounds is a half.
#[test]
fn hard_tanh_has_derivative_0_at_both_bounds() -> Result<()> {
    const X: [f64; 3] = [-1.0, 0.0, 1.0];
    assert_eq!(gradient(&X, |x| x.clamp(-1.0, 1.0))?, [0.5, 1.0, 0.5], "{FIXED}");
    assert_eq!(gradient(&X, ops::hard_tanh)?, [0.0, 1.0, 0.0]);
    Ok(())
}

/// What is added to keeps its gradient; stock Candle takes it away wherever something was added.
#[test]
fn scatter_add_keeps_the_gradient_of_what_it_adds_to() -> Result<()> {
    let x = Var::new(&[[1.0, 2.0, 3.0]], &Device::Cpu)?;
    let index = Tensor::new(&[[0u32, 0, 2]], &Device::Cpu)?;
    let dx = |y: Tensor| y.sum_all()?.backward()?.remove(&x).expect("a gradient").to_vec2::<f64>();
    let stock = dx(x.scatter_add(&index, &x.as_detached_tensor(), 1)?)?;
    assert_eq!(stock, [[0.0, 1.0, 0.0]], "{FIXED}");
    let ours = dx(ops::scatter_add(&x, &index, &x.as_detached_tensor(), 1)?)?;
    assert_eq!(ours, [[1.0, 1.0, 1.0]]);
    Ok(())
}

/// The row of a padding index is not trained; stock Candle knows no such row.
#[test]
fn padding_is_not_trained() -> Result<()> {
    let table = Var::new(&[[1.0], [2.0], [3.0]], &Device::Cpu)?;
    let tokens = Tensor::new(&[2u32, 0, 2, 0], &Device::Cpu)?;
    let of = |y: Tensor| y.sum_all()?.backward()?.remove(&table).expect("a gradient").to_vec2::<f64>();
    let stock = of(nn_core::candle_nn::Module::forward(
        &nn_core::candle_nn::Embedding::new(table.as_tensor().clone(), 1),
        &tokens,
    )?)?;
    assert_eq!(stock, [[2.0], [0.0], [2.0]]);
    assert_eq!(of(ops::embedding(&tokens, &table, Some(0))?)?, [[0.0], [0.0], [2.0]]);
    Ok(())
}
