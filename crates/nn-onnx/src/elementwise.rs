//! Products, sums, activations and norms.

use candle_core::Result;
use nn_core::ops::{Activation, LocalResponseNorm};

use crate::graph::{Builder, Call, float, int, text};

/// `x · wᵀ + b`
pub(crate) fn linear(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let (x, w, b) = (builder.value(call, 0)?, call.parameter(1)?, call.constant(2)?);
    if call.shape()?.len() == 2 {
        let w = builder.constant(call, "weight", w)?;
        let b = b.map(|b| builder.constant(call, "bias", b)).transpose()?;
        let input: Vec<&str> = [x.as_str(), &w].into_iter().chain(b.as_deref()).collect();
        return Ok(builder.node(call, "Gemm", &input, vec![int("transB", 1)]));
    }
    let w = builder.constant(call, "weight", &w.t()?)?;
    let y = builder.node(call, "MatMul", &[&x, &w], Vec::new());
    let Some(b) = b else { return Ok(y) };
    let b = builder.constant(call, "bias", b)?;
    Ok(builder.node(call, "Add", &[&y, &b], Vec::new()))
}

/// A scale and a shift for each channel, where no convolution takes them in.
pub(crate) fn scale_shift(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let rank = call.shape()?.len();
    let per_channel = |n: usize| {
        let line = call.parameter(n)?;
        line.reshape([&[line.elem_count()][..], &vec![1; rank - 2]].concat())
    };
    let x = builder.value(call, 0)?;
    let (scale, shift) = (per_channel(1)?, per_channel(2)?);
    let (scale, shift) = (builder.constant(call, "scale", &scale)?, builder.constant(call, "shift", &shift)?);
    let y = builder.node(call, "Mul", &[&x, &scale], Vec::new());
    Ok(builder.node(call, "Add", &[&y, &shift], Vec::new()))
}

pub(crate) fn add(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let (a, b) = (builder.value(call, 0)?, builder.value(call, 1)?);
    Ok(builder.node(call, "Add", &[&a, &b], Vec::new()))
}

pub(crate) fn scale(builder: &mut Builder, call: &Call<'_>, factor: f64) -> Result<String> {
    call.check_same()?;
    let (x, factor) = (builder.value(call, 0)?, builder.number(call, "factor", factor));
    Ok(builder.node(call, "Mul", &[&x, &factor], Vec::new()))
}

pub(crate) fn activation(builder: &mut Builder, call: &Call<'_>, f: Activation) -> Result<String> {
    let x = builder.value(call, 0)?;
    let mut plain = |op: &str, attributes| Ok(builder.node(call, op, &[&x], attributes));
    match f {
        Activation::Relu => plain("Relu", Vec::new()),
        Activation::LeakyRelu { slope } => plain("LeakyRelu", vec![float("alpha", slope)]),
        Activation::Relu6 => clip(builder, call, &x, [0.0, 6.0]),
        Activation::HardTanh => clip(builder, call, &x, [-1.0, 1.0]),
        Activation::Sigmoid => plain("Sigmoid", Vec::new()),
        Activation::Tanh => plain("Tanh", Vec::new()),
        Activation::Gelu => plain("Gelu", Vec::new()),
        Activation::GeluTanh => plain("Gelu", vec![text("approximate", "tanh")]),
        Activation::Mish => plain("Mish", Vec::new()),
        Activation::Elu { alpha } => plain("Elu", vec![float("alpha", alpha)]),
        Activation::Selu => plain("Selu", Vec::new()),
        Activation::Softsign => plain("Softsign", Vec::new()),
        Activation::HardSigmoid => plain("HardSigmoid", vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]),
        Activation::HardSwish => plain("HardSwish", Vec::new()),
        Activation::Silu => {
            let gate = plain("Sigmoid", Vec::new())?;
            Ok(builder.node(call, "Mul", &[&x, &gate], Vec::new()))
        }
        Activation::Softplus { beta } => {
            let beta = builder.number(call, "beta", beta);
            let steep = builder.node(call, "Mul", &[&x, &beta], Vec::new());
            let y = builder.node(call, "Softplus", &[&steep], Vec::new());
            Ok(builder.node(call, "Div", &[&y, &beta], Vec::new()))
        }
        Activation::LogSigmoid => {
            let negative = plain("Neg", Vec::new())?;
            let y = builder.node(call, "Softplus", &[&negative], Vec::new());
            Ok(builder.node(call, "Neg", &[&y], Vec::new()))
        }
    }
}

fn clip(builder: &mut Builder, call: &Call<'_>, x: &str, [least, most]: [f64; 2]) -> Result<String> {
    let (least, most) = (builder.number(call, "least", least), builder.number(call, "most", most));
    Ok(builder.node(call, "Clip", &[x, &least, &most], Vec::new()))
}

pub(crate) fn softmax(builder: &mut Builder, call: &Call<'_>, op: &str, axis: usize) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    Ok(builder.node(call, op, &[&x], vec![int("axis", axis as i64)]))
}

pub(crate) fn layer_norm(builder: &mut Builder, call: &Call<'_>, axes: usize, eps: f64) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    let (w, b) = (call.parameter(1)?, call.parameter(2)?);
    let (w, b) = (builder.constant(call, "weight", w)?, builder.constant(call, "bias", b)?);
    let attributes = vec![int("axis", -(axes as i64)), float("epsilon", eps)];
    Ok(builder.node(call, "LayerNormalization", &[&x, &w, &b], attributes))
}

pub(crate) fn local_response_norm(
    builder: &mut Builder,
    call: &Call<'_>,
    options: LocalResponseNorm,
) -> Result<String> {
    let LocalResponseNorm { size, alpha, beta, k } = options;
    if size.is_multiple_of(2) {
        // ONNX has one channel more behind, here it is before.
        return Err(call.refuse("an even number of channels"));
    }
    let x = builder.value(call, 0)?;
    let attributes =
        vec![int("size", size as i64), float("alpha", alpha), float("beta", beta), float("bias", k)];
    Ok(builder.node(call, "LRN", &[&x], attributes))
}
