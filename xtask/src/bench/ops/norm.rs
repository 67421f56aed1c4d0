//! Normalisation, and what else sits between the layers of a block.

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;
use nn_core::ops::{self, Activation, BatchNorm, LocalResponseNorm, RunningStatistics, StochasticDepth};
use nn_core::{Ctx, candle_nn};

use super::activation::{memory, size};
use super::case::{Case, fixed, trained};
use crate::bench::machine::Work;

/// ResNet-50's, the first and the last depthwise layers of MobileNetV2's, and LeNet-5's with a norm.
const IMAGES: &[[usize; 4]] = &[
    [8, 64, 112, 112],
    [8, 256, 56, 56],
    [8, 512, 28, 28],
    [8, 2048, 7, 7],
    [8, 32, 112, 112],
    [8, 960, 7, 7],
    [64, 6, 28, 28],
];

/// ViT-B's tokens and the Transformer's.
const TOKENS: &[[usize; 3]] = &[[4, 197, 768], [16, 64, 512]];

/// Tensors read and written at least: forward; forward and backward. A second reading of what does not leave the cache is
/// none.
fn bytes(dims: &[usize], [forward, both]: [f64; 2]) -> [Work; 2] {
    [forward, both].map(|passes| Work::Bytes(passes * memory(dims)))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in IMAGES {
        cases.push(batch_norm(dims, None));
        cases.push(batch_norm(dims, Some(Activation::Relu)));
    }
    cases.push(evaluation(&IMAGES[1]));
    for dims in TOKENS {
        cases.push(layer_norm(dims));
        cases.push(rms_norm(dims));
    }
    cases.push(group_norm(&IMAGES[1]));
    cases.push(instance_norm(&IMAGES[1]));
    cases.push(local_response_norm(&[8, 96, 55, 55]));
    cases.push(add_activate(&IMAGES[1]));
    cases.extend(drops(&IMAGES[1]));
    cases
}

fn with_parameters(dims: &[usize]) -> [super::case::Input; 3] {
    let channels = [dims[1]];
    [trained(dims), trained(&channels), trained(&channels)]
}

fn batch_norm(dims: &[usize; 4], activation: Option<Activation>) -> Case {
    let name = if activation.is_some() { "batch_norm + relu" } else { "batch_norm" };
    let running = RunningStatistics::new(dims[1], candle_core::DType::F32, &Device::Cpu);
    let options = BatchNorm { activation, ..BatchNorm::default() };
    let ours = move |x: &[Tensor]| {
        let Ok(running) = &running else { candle_core::bail!("no running statistics") };
        ops::batch_norm(&x[0], Some([&x[1], &x[2]]), Some(running), options, &Ctx::train(0))
    };
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let relu = activation.is_some();
    let torch = "F.batch_norm(x[0], mean, var, x[1], x[2], True)";
    let torch = if relu { format!("F.relu({torch})") } else { torch.to_owned() };
    let channels = dims[1];
    let stock = move |x: &[Tensor]| {
        let [mean, var] = [Tensor::zeros_like(&x[1])?, Tensor::ones_like(&x[1])?];
        let norm = candle_nn::BatchNorm::new(channels, mean, var, x[1].clone(), x[2].clone(), 1e-5)?;
        let y = norm.forward_t(&x[0], true)?;
        if relu { y.relu() } else { Ok(y) }
    };
    Case::new(name, size(dims), with_parameters(dims), ours)
        .work(forward, both)
        .candle(stock)
        .setup(format!("mean, var = torch.zeros({channels}), torch.ones({channels})"))
        .torch(torch)
}

fn evaluation(dims: &[usize; 4]) -> Case {
    let running = RunningStatistics::new(dims[1], candle_core::DType::F32, &Device::Cpu);
    let options = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
    let ours = move |x: &[Tensor]| {
        let Ok(running) = &running else { candle_core::bail!("no running statistics") };
        ops::batch_norm(&x[0], Some([&x[1], &x[2]]), Some(running), options, &Ctx::eval())
    };
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let channels = dims[1];
    let inputs = [fixed(dims), fixed(&[channels]), fixed(&[channels])];
    Case::new("batch_norm eval + relu", size(dims), inputs, ours)
        .work(forward, both)
        .setup(format!("mean, var = torch.zeros({channels}), torch.ones({channels})"))
        .torch("F.relu(F.batch_norm(x[0], mean, var, x[1], x[2], False))")
}

/// Candle's slow layer norm, which has a gradient.
fn stock_layer_norm(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    match b {
        Some(b) => candle_nn::ops::layer_norm_slow(x, w, b, 1e-5),
        None => candle_nn::ops::rms_norm_slow(x, w, 1e-5),
    }
}

fn layer_norm(dims: &[usize; 3]) -> Case {
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let row = [dims[2]];
    let inputs = [trained(dims), trained(&row), trained(&row)];
    Case::new("layer_norm", size(dims), inputs, |x| ops::layer_norm(&x[0], 1, Some(&x[1]), Some(&x[2]), 1e-5))
        .work(forward, both)
        .candle(|x| stock_layer_norm(&x[0], &x[1], Some(&x[2])))
        .torch("F.layer_norm(x[0], x[1].shape, x[1], x[2])")
}

fn rms_norm(dims: &[usize; 3]) -> Case {
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let inputs = [trained(dims), trained(&[dims[2]])];
    Case::new("rms_norm", size(dims), inputs, |x| ops::rms_norm(&x[0], 1, Some(&x[1]), 1e-5))
        .work(forward, both)
        .candle(|x| stock_layer_norm(&x[0], &x[1], None))
        .torch("F.rms_norm(x[0], x[1].shape, x[1], 1e-5)")
}

fn group_norm(dims: &[usize; 4]) -> Case {
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let ours = |x: &[Tensor]| ops::group_norm(&x[0], 32, Some([&x[1], &x[2]]), 1e-5);
    let channels = dims[1];
    let stock = move |x: &[Tensor]| {
        let norm = candle_nn::GroupNorm::new(x[1].clone(), x[2].clone(), channels, 32, 1e-5)?;
        candle_nn::Module::forward(&norm, &x[0])
    };
    Case::new("group_norm", format!("{}, 32 groups", size(dims)), with_parameters(dims), ours)
        .work(forward, both)
        .candle(stock)
        .torch("F.group_norm(x[0], 32, x[1], x[2])")
}

fn instance_norm(dims: &[usize; 4]) -> Case {
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let ours = |x: &[Tensor]| ops::instance_norm(&x[0], Some([&x[1], &x[2]]), 1e-5);
    Case::new("instance_norm", size(dims), with_parameters(dims), ours)
        .work(forward, both)
        .torch("F.instance_norm(x[0], weight=x[1], bias=x[2])")
}

fn local_response_norm(dims: &[usize; 4]) -> Case {
    let [forward, both] = bytes(dims, [2.0, 5.0]);
    let ours = |x: &[Tensor]| ops::local_response_norm(&x[0], LocalResponseNorm::new(5));
    Case::new("local_response_norm", size(dims), [trained(dims)], ours)
        .work(forward, both)
        .torch("F.local_response_norm(x[0], 5)")
}

fn add_activate(dims: &[usize; 4]) -> Case {
    let [forward, both] = bytes(dims, [3.0, 6.0]);
    let ours = |x: &[Tensor]| ops::add_activate(&x[0], &x[1], Activation::Relu);
    Case::new("add_activate", format!("{}, relu", size(dims)), [trained(dims), trained(dims)], ours)
        .work(forward, both)
        .candle(|x| (&x[0] + &x[1])?.relu())
        .torch("F.relu(x[0] + x[1])")
}

fn drops(dims: &[usize; 4]) -> [Case; 2] {
    let [forward, both] = bytes(dims, [1.5, 3.0]);
    let ours = |x: &[Tensor]| ops::dropout_channels(&x[0], 0.5, &Ctx::train(1));
    let channels = Case::new("dropout_channels", size(dims), [trained(dims)], ours)
        .work(forward, both)
        .torch("F.dropout2d(x[0], 0.5, True)");
    let ours = |x: &[Tensor]| ops::stochastic_depth(&x[0], 0.1, StochasticDepth::Row, &Ctx::train(1));
    let [forward, both] = bytes(dims, [1.9, 3.8]);
    let setup = "def depth(x, p):\n    keep = torch.empty([x.shape[0], 1, 1, 1]).bernoulli_(1 - p)\n    return x * keep.div_(1 - p)";
    let depth = Case::new("stochastic_depth", size(dims), [trained(dims)], ours)
        .work(forward, both)
        .setup(setup)
        .torch("depth(x[0], 0.1)");
    [channels, depth]
}
