//! Where stock Candle 0.11.1 is wrong or lacking and these ops are not: activations, softmax, losses, dropout.
//!
//! Each test shows both. One that fails on Candle's half after an upgrade is good news: the gap is closed.

use nn_core::candle_core::{D, Device, Result, Tensor, Var};
use nn_core::candle_nn;
use nn_core::ops::{self, Reduction};
use nn_core::{Ctx, testing};

/// The gradient of the sum of `f(x)`; `None` if it was lost.
fn gradient(x: &[f32], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Option<Vec<f32>>> {
    let x = Var::new(x, &Device::Cpu)?;
    let grads = f(&x)?.sum_all()?.backward()?;
    grads.get(&x).map(Tensor::to_vec1).transpose()
}

#[test]
fn relu_has_derivative_0_at_0() -> Result<()> {
    const X: [f32; 3] = [-1.0, 0.0, 1.0];
    assert_eq!(gradient(&X, Tensor::relu)?, Some(vec![0.0, 1.0, 1.0]));
    assert_eq!(gradient(&X, ops::relu)?, Some(vec![0.0, 0.0, 1.0]));
    Ok(())
}

#[test]
fn leaky_relu_has_the_slope_as_its_derivative_at_0() -> Result<()> {
    const X: [f32; 3] = [-1.0, 0.0, 1.0];
    assert_eq!(gradient(&X, |x| candle_nn::ops::leaky_relu(x, 0.25))?, Some(vec![0.25, 0.625, 1.0]));
    assert_eq!(gradient(&X, |x| ops::leaky_relu(x, 0.25))?, Some(vec![0.25, 0.25, 1.0]));
    Ok(())
}

#[test]
fn relu6_has_derivative_0_at_both_bounds() -> Result<()> {
    const X: [f32; 5] = [-1.0, 0.0, 3.0, 6.0, 7.0];
    let candle = candle_nn::Activation::Relu6;
    let stock = |x: &Tensor| candle_nn::Module::forward(&candle, x);
    assert_eq!(gradient(&X, stock)?, Some(vec![0.0, 0.5, 1.0, 0.5, 0.0]));
    assert_eq!(gradient(&X, ops::relu6)?, Some(vec![0.0, 0.0, 1.0, 0.0, 0.0]));
    Ok(())
}

#[test]
fn the_fast_softmax_has_a_gradient() -> Result<()> {
    let weighted = |y: Tensor| y.mul(&Tensor::new(&[1f32, 2.0, 4.0], &Device::Cpu)?);
    let x = [0.0, 0.0, 0.0];
    assert_eq!(gradient(&x, |x| weighted(candle_nn::ops::softmax_last_dim(x)?))?, None);
    let dx = gradient(&x, |x| weighted(ops::softmax(x, D::Minus1)?))?.expect("a gradient");
    for (dx, truth) in dx.iter().zip([-4.0 / 9.0, -1.0 / 9.0, 5.0 / 9.0]) {
        assert!((dx - truth).abs() < 1e-6, "{dx} is not {truth}");
    }
    Ok(())
}

#[test]
fn softmax_of_no_elements_is_no_elements() -> Result<()> {
    let x = Tensor::zeros((3, 0), nn_core::candle_core::DType::F32, &Device::Cpu)?;
    assert!(candle_nn::ops::softmax(&x, 1).is_err());
    assert_eq!(ops::softmax(&x, 1)?.dims(), [3, 0]);
    Ok(())
}

#[test]
fn binary_cross_entropy_is_finite_where_the_sigmoid_saturates() -> Result<()> {
    for logit in [100f32, -200.0, 1000.0] {
        let x = Var::new(&[logit], &Device::Cpu)?;
        let target = Tensor::new(&[0.5f32], &Device::Cpu)?;
        let stock = candle_nn::loss::binary_cross_entropy_with_logit(&x, &target)?;
        assert!(!stock.to_scalar::<f32>()?.is_finite(), "Candle's loss of {logit} is {stock}");
        let loss = ops::bce_with_logits(&x, &target, Reduction::Mean)?;
        assert_eq!(loss.to_scalar::<f32>()?, 0.5 * logit.abs());
        let grads = loss.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f32>()?, [0.5 * logit.signum()]);
    }
    // Where the answer is certain and right, Candle multiplies 0 by an infinite logarithm.
    let (x, one) = (Tensor::new(&[100f32], &Device::Cpu)?, Tensor::new(&[1f32], &Device::Cpu)?);
    assert!(candle_nn::loss::binary_cross_entropy_with_logit(&x, &one)?.to_scalar::<f32>()?.is_nan());
    assert!(ops::bce_with_logits(&x, &one, Reduction::Mean)?.to_scalar::<f32>()? < 1e-40);
    Ok(())
}

#[test]
fn cross_entropy_takes_logits_of_any_rank() -> Result<()> {
    let x = testing::randn(1, (2, 3, 4, 5))?;
    let targets = Tensor::zeros((2, 4, 5), nn_core::candle_core::DType::U32, &Device::Cpu)?;
    let stock = candle_nn::loss::cross_entropy(&x, &targets).expect_err("rank 4").to_string();
    assert!(stock.contains("rank 2"), "{stock}");
    let loss = ops::cross_entropy(&x, &targets, Reduction::Mean)?;
    // The same numbers by Candle's: pixels become the batch.
    let flat = x.permute((0, 2, 3, 1))?.flatten(0, 2)?;
    let stock = candle_nn::loss::cross_entropy(&flat, &targets.flatten_all()?)?;
    testing::assert_close(&loss, &stock, 1e-12, 0.0)
}

#[test]
fn cross_entropy_names_the_label_that_is_no_class() -> Result<()> {
    let x = testing::randn(2, (3, 10))?;
    let targets = Tensor::new(&[1u32, 2, 10], &Device::Cpu)?;
    let stock = candle_nn::loss::cross_entropy(&x, &targets).expect_err("10 classes").to_string();
    assert!(!stock.contains("classes"), "{stock}");
    let ours = ops::cross_entropy(&x, &targets, Reduction::Mean).expect_err("10 classes").to_string();
    assert!(ours.contains("classes in 0..10, got 10 at [2]"), "{ours}");
    Ok(())
}

#[test]
fn dropout_is_repeatable() -> Result<()> {
    let x = Tensor::ones(256, nn_core::candle_core::DType::F32, &Device::Cpu)?;
    assert!(Device::Cpu.set_seed(1).is_err());
    let stock = || candle_nn::ops::dropout(&x, 0.5)?.to_vec1::<f32>();
    assert_ne!(stock()?, stock()?);
    let ours = || ops::dropout(&x, 0.5, &Ctx::train(1).step(3))?.to_vec1::<f32>();
    assert_eq!(ours()?, ours()?);
    Ok(())
}

#[test]
fn dropout_may_drop_everything() -> Result<()> {
    let x = Var::new(&[1f32, 2.0], &Device::Cpu)?;
    assert!(candle_nn::ops::dropout(&x, 1.0).is_err());
    assert_eq!(gradient(&[1.0, 2.0], |x| ops::dropout(x, 1.0, &Ctx::train(1)))?, Some(vec![0.0, 0.0]));
    Ok(())
}
