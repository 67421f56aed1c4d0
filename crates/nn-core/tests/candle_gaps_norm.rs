//! Where stock Candle 0.11.1 is wrong or lacking and these ops are not: normalisation, dropout of channels.
//!
//! Each test shows both. One that fails on Candle's half after an upgrade is good news: the gap is closed.

use nn_core::candle_core::{DType, Device, Module, Result, Tensor, Var};
use nn_core::ops::{self, BatchNorm, LocalResponseNorm, RunningStatistics, StochasticDepth};
use nn_core::{Ctx, candle_nn, testing};

use candle_nn::ModuleT;

fn ones(shape: impl Into<nn_core::candle_core::Shape>) -> Result<Tensor> {
    Tensor::ones(shape, DType::F32, &Device::Cpu)
}

fn random(seed: u64, shape: impl Into<nn_core::candle_core::Shape>) -> Result<Tensor> {
    testing::randn(seed, shape)?.to_dtype(DType::F32)
}

/// Whether `x` gets a gradient from `y`; `None` if `y` has no graph at all.
fn reaches(y: &Tensor, x: &Var) -> Result<bool> {
    Ok(y.sqr()?.sum_all()?.backward()?.get(x).is_some())
}

#[test]
fn layer_norm_has_a_gradient() -> Result<()> {
    let x = Var::from_tensor(&random(1, (2, 3))?)?;
    let (w, b) = (ones(3)?, ones(3)?.zeros_like()?);
    let stock = candle_nn::LayerNorm::new(w.clone(), b.clone(), 1e-5).forward(&x)?;
    assert!(!reaches(&stock, &x)?);
    let ours = ops::layer_norm(&x, 1, Some(&w), Some(&b), 1e-5)?;
    assert!(reaches(&ours, &x)?);
    testing::assert_close(&ours, &stock, 1e-5, 1e-6)
}

#[test]
fn rms_norm_has_a_gradient() -> Result<()> {
    let x = Var::from_tensor(&random(2, (2, 3))?)?;
    let w = ones(3)?;
    let stock = candle_nn::RmsNorm::new(w.clone(), 1e-5).forward(&x)?;
    assert!(!reaches(&stock, &x)?);
    let ours = ops::rms_norm(&x, 1, Some(&w), 1e-5)?;
    assert!(reaches(&ours, &x)?);
    testing::assert_close(&ours, &stock, 1e-5, 1e-6)
}

#[test]
fn one_number_a_channel_is_an_error_and_not_nan() -> Result<()> {
    let x = random(3, (1, 2, 1, 1))?;
    let (mean, variance) = (ones(2)?.zeros_like()?, Var::from_tensor(&ones(2)?)?);
    let stock = candle_nn::BatchNorm::new_no_bias(2, mean, variance.as_tensor().clone(), 1e-5)?;
    stock.forward_t(&x, true)?;
    assert!(stock.running_var().to_vec1::<f32>()?.iter().all(|v| v.is_nan()));
    let running = RunningStatistics::new(2, DType::F32, &Device::Cpu)?;
    let error = ops::batch_norm(&x, None, Some(&running), BatchNorm::default(), &Ctx::train(0))
        .expect_err("one number a channel")
        .to_string();
    assert!(error.contains("more than one number a channel"), "{error}");
    assert_eq!(running.variance.to_vec1::<f32>()?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn batch_norm_takes_half_precision() -> Result<()> {
    let x = random(4, (4, 2, 3))?;
    let half = |t: &Tensor| t.to_dtype(DType::F16);
    let (w, b) = (half(&ones(2)?)?, half(&ones(2)?.zeros_like()?)?);
    let stock = candle_nn::BatchNorm::new(2, b.clone(), w.clone(), w.clone(), b.clone(), 1e-5)?;
    assert!(stock.forward_t(&half(&x)?, true).is_err());
    let ours = ops::batch_norm(&half(&x)?, Some([&w, &b]), None, BatchNorm::default(), &Ctx::train(0))?;
    let wide = ops::batch_norm(&x, None, None, BatchNorm::default(), &Ctx::train(0))?;
    testing::assert_close(&ours, &wide, 5e-3, 5e-3)
}

#[test]
fn batch_norm_can_average_all_batches() -> Result<()> {
    // Candle's momentum is a number: a running mean of the last batches, never the average of all.
    let running = RunningStatistics::new(1, DType::F32, &Device::Cpu)?;
    let options = BatchNorm { momentum: None, ..BatchNorm::default() };
    for mean in [1.0, 2.0, 6.0] {
        let x = Tensor::new(&[[mean - 1.0], [mean + 1.0f32]], &Device::Cpu)?;
        ops::batch_norm(&x, None, Some(&running), options, &Ctx::train(0))?;
    }
    testing::assert_close(&running.mean, &Tensor::new(&[3f32], &Device::Cpu)?, 1e-6, 0.0)
}

#[test]
fn group_norm_names_what_does_not_divide() -> Result<()> {
    let x = random(5, (2, 6, 4))?;
    let error = ops::group_norm(&x, 4, None, 1e-5).expect_err("6 channels").to_string();
    assert!(error.contains("groups must divide the 6 channels, got 4"), "{error}");
    // Where both work they agree; Candle's takes at least three axes, ours two.
    let (w, b) = (ones(6)?, ones(6)?.zeros_like()?);
    let stock = candle_nn::GroupNorm::new(w.clone(), b.clone(), 6, 3, 1e-5)?;
    testing::assert_close(&ops::group_norm(&x, 3, Some([&w, &b]), 1e-5)?, &stock.forward(&x)?, 1e-4, 1e-5)?;
    let columns = random(6, (2, 6))?;
    assert!(stock.forward(&columns).is_err());
    assert_eq!(ops::group_norm(&columns, 3, None, 1e-5)?.dims(), [2, 6]);
    Ok(())
}

#[test]
fn norms_drops_and_sums_that_candle_lacks() -> Result<()> {
    let x = random(7, (2, 6, 4))?;
    let ctx = Ctx::train(1);
    for y in [
        ops::local_response_norm(&x, LocalResponseNorm::new(5))?,
        ops::instance_norm(&x, None, 1e-5)?,
        ops::dropout_channels(&x, 0.5, &ctx)?,
        ops::stochastic_depth(&x, 0.5, StochasticDepth::Row, &ctx)?,
        ops::add_activate(&x, &x, ops::Activation::Relu)?,
    ] {
        assert_eq!(y.dims(), x.dims());
    }
    Ok(())
}
