//! Normalisation and residual sums against PyTorch: outputs, gradients and running statistics.
//!
//! The numbers are made by `tests/golden/norm.py`.

use nn_core::Ctx;
use nn_core::candle_core::{DType, Device, Result, Tensor};
use nn_core::ops::{self, Activation, BatchNorm, LocalResponseNorm, RunningStatistics};
use nn_core::testing::{Golden, assert_close};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/norm.safetensors");

fn batch_norm(x: &[Tensor], activation: Option<Activation>) -> Result<Tensor> {
    let options = BatchNorm { activation, ..BatchNorm::default() };
    ops::batch_norm(&x[0], Some([&x[1], &x[2]]), None, options, &Ctx::train(0))
}

fn evaluated(x: &[Tensor]) -> Result<Tensor> {
    let running = RunningStatistics::new(x[1].elem_count(), x[0].dtype(), &Device::Cpu)?;
    running.mean.set(&x[3])?;
    running.variance.set(&x[4])?;
    let options = BatchNorm { eps: 1e-3, ..BatchNorm::default() };
    ops::batch_norm(&x[0], Some([&x[1], &x[2]]), Some(&running), options, &Ctx::eval())
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let mut golden = Golden::open(PATH)?;
    let all = ["x", "w", "b"];
    for size in ["columns", "sequences", "images"] {
        golden.check(&format!("batch_norm.{size}"), &all, |x| batch_norm(x, None))?;
        golden.check(&format!("batch_norm.{size}.relu"), &all, |x| batch_norm(x, Some(Activation::Relu)))?;
        golden.check(&format!("batch_norm.{size}.eval"), &["x", "w", "b", "mean", "variance"], evaluated)?;
    }
    golden.check("batch_norm.planes", &all, |x| batch_norm(x, None))?;
    for (name, momentum) in [("momentum", Some(0.2)), ("average", None)] {
        running(&mut golden, name, momentum)?;
    }
    for axes in 1..=3 {
        let layer = |x: &[Tensor]| ops::layer_norm(&x[0], axes, Some(&x[1]), Some(&x[2]), 1e-5);
        golden.check(&format!("layer_norm.{axes}"), &all, layer)?;
        let plain = |x: &[Tensor]| ops::layer_norm(&x[0], axes, None, None, 1e-6);
        golden.check(&format!("layer_norm.{axes}.plain"), &["x"], plain)?;
        let rms = |x: &[Tensor]| ops::rms_norm(&x[0], axes, Some(&x[1]), 1e-5);
        golden.check(&format!("rms_norm.{axes}"), &["x", "w"], rms)?;
    }
    for groups in [1, 2, 3, 6] {
        let group = |x: &[Tensor]| ops::group_norm(&x[0], groups, Some([&x[1], &x[2]]), 1e-5);
        golden.check(&format!("group_norm.{groups}"), &all, group)?;
    }
    golden.check("instance_norm", &all, |x| ops::instance_norm(&x[0], Some([&x[1], &x[2]]), 1e-5))?;
    golden.check("instance_norm.plain", &["input"], |x| ops::instance_norm(&x[0], None, 1e-5))?;
    for size in [1, 2, 5] {
        let options = LocalResponseNorm { size, alpha: 0.5, beta: 0.6, k: 1.5 };
        let response = |x: &[Tensor]| ops::local_response_norm(&x[0], options);
        golden.check(&format!("local_response_norm.{size}"), &["x"], response)?;
    }
    let response = |x: &[Tensor]| ops::local_response_norm(&x[0], LocalResponseNorm::new(5));
    golden.check("local_response_norm.default", &["x"], response)?;
    let sum = |f| move |x: &[Tensor]| ops::add_activate(&x[0], &x[1], f);
    golden.check("add_activate.relu", &["a", "b"], sum(Activation::Relu))?;
    golden.check("add_activate.leaky_relu", &["a", "b"], sum(Activation::LeakyRelu { slope: 0.2 }))?;
    golden.finish()
}

/// The statistics after three batches.
fn running(golden: &mut Golden, name: &str, momentum: Option<f64>) -> Result<()> {
    let [batches, mean, variance] =
        ["x", "mean", "variance"].map(|part| golden.tensor(&format!("running.{name}.{part}")));
    let batches = batches?;
    let running = RunningStatistics::new(batches.dims()[2], DType::F64, &Device::Cpu)?;
    let options = BatchNorm { momentum, ..BatchNorm::default() };
    for i in 0..batches.dims()[0] {
        ops::batch_norm(&batches.get(i)?, None, Some(&running), options, &Ctx::train(0))?;
    }
    assert_close(&running.mean, &mean?, 1e-12, 1e-12)?;
    assert_close(&running.variance, &variance?, 1e-12, 1e-12)
}
