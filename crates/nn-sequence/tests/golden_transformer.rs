//! Transformer layers and the whole against PyTorch's: outputs and all gradients, of every option.
//!
//! The numbers are made by `tests/golden/transformer.py` and `transformer_stacks.py`.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::Ctx;
use nn_core::testing::Golden;
use nn_layers::{Activation, Masks, MultiHeadAttention};
use nn_sequence::{
    Ending, NormPlace, Transformer, TransformerConfig, TransformerDecoder, TransformerDecoderLayer,
    TransformerEncoder, TransformerEncoderLayer, TransformerMasks,
};

const WIDTH: usize = 4;
const ATTENTION: [&str; 4] = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"];
const CAUSAL: Masks<'_> = Masks { causal: true, keys: None, mask: None };

/// The names of a layer's parameters with so many norms: a decoder's has three.
fn layer(prefix: &str, norms: usize) -> Vec<String> {
    let attentions = ["self_attn", "multihead_attn"].into_iter().take(norms - 1);
    let attentions = attentions.flat_map(|name| ATTENTION.map(|end| format!("{prefix}{name}.{end}")));
    let norms: Vec<String> = (1..=norms).map(|n| format!("norm{n}")).collect();
    let others = ["linear1", "linear2"].into_iter().map(str::to_owned).chain(norms);
    attentions.chain(others.flat_map(|name| both(&format!("{prefix}{name}")))).collect()
}

fn both(name: &str) -> [String; 2] {
    [format!("{name}.weight"), format!("{name}.bias")]
}

/// Runs a case whose arguments are `inputs` and then the parameters.
fn check(
    golden: &mut Golden,
    case: &str,
    inputs: &[&str],
    parameters: &[String],
    f: impl Fn(&[Tensor], VarBuilder) -> Result<Tensor>,
) -> Result<()> {
    let names: Vec<&str> = inputs.iter().copied().chain(parameters.iter().map(String::as_str)).collect();
    golden.check(case, &names, |args| {
        let (given, rest) = args.split_at(inputs.len());
        let named: HashMap<String, Tensor> = parameters.iter().cloned().zip(rest.iter().cloned()).collect();
        f(given, VarBuilder::from_tensors(named, args[0].dtype(), args[0].device()))
    })
}

#[test]
fn transformers_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/transformer.safetensors");
    let mut golden = Golden::open(path)?;
    let cfg = |norm, activation| TransformerConfig {
        heads: 2,
        feed_forward: 3,
        norm,
        activation,
        ..TransformerConfig::default()
    };
    let own = Tensor::new(&[[1u8, 1, 1, 1], [1, 1, 0, 0]], &Device::Cpu)?;
    let padded = Masks { keys: Some(&own), ..Masks::default() };
    let ctx = Ctx::eval();
    let encoder = layer("", 2);
    for (case, inputs, norm, activation, masks) in [
        ("last.relu", &["x"][..], NormPlace::Last, Activation::Relu, Masks::default()),
        ("first.gelu", &["x"], NormPlace::First, Activation::Gelu, padded),
        ("last.gelu", &["x", "mask"], NormPlace::Last, Activation::Gelu, Masks::default()),
    ] {
        check(&mut golden, &format!("encoder_layer.{case}"), inputs, &encoder, |given, vb| {
            let masks = Masks { mask: given.get(1), ..masks };
            TransformerEncoderLayer::new(WIDTH, &cfg(norm, activation), vb)?.run(&given[0], masks, &ctx)
        })?;
    }
    let decoder = layer("", 3);
    for (case, norm, activation) in
        [("last.gelu", NormPlace::Last, Activation::Gelu), ("first.relu", NormPlace::First, Activation::Relu)]
    {
        check(&mut golden, &format!("decoder_layer.{case}"), &["x", "memory"], &decoder, |given, vb| {
            let layer = TransformerDecoderLayer::new(WIDTH, &cfg(norm, activation), vb)?;
            layer.run(&given[0], &given[1], [CAUSAL, padded], &ctx)
        })?;
    }
    let mut all = [layer("encoder.layers.0.", 2), layer("decoder.layers.0.", 3)].concat();
    all.extend([both("encoder.norm"), both("decoder.norm")].concat());
    check(&mut golden, "transformer", &["source", "x"], &all, |given, vb| {
        let model = Transformer::new(WIDTH, [1, 1], &cfg(NormPlace::Last, Activation::Relu), vb)?;
        let masks = TransformerMasks { source: padded, target: CAUSAL, memory: padded };
        model.run(&given[0], &given[1], masks, &ctx)
    })?;
    golden.finish()
}

#[test]
fn stacks_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/transformer_stacks.safetensors");
    let mut golden = Golden::open(path)?;
    let own = Tensor::new(&[[1u8, 1, 1, 1], [1, 1, 0, 0]], &Device::Cpu)?;
    let padded = Masks { keys: Some(&own), ..Masks::default() };
    let ctx = Ctx::eval();
    check(&mut golden, "attention", &["x", "memory", "mask"], &ATTENTION.map(str::to_owned), |given, vb| {
        let attention = MultiHeadAttention::new(WIDTH, 2, 0.0, vb)?;
        let masks = Masks { mask: Some(&given[2]), ..padded };
        attention.attend_to(&given[0], &attention.key_values(&given[1])?, masks, &ctx)
    })?;
    let padded_and_causal = Masks { causal: true, ..padded };
    let deep = TransformerConfig {
        heads: 2,
        feed_forward: 3,
        norm: NormPlace::First,
        activation: Activation::Gelu,
        ending: Ending::Norm,
        ..TransformerConfig::default()
    };
    let stack = |norms: usize| {
        let layers = ["layers.0.", "layers.1."].map(|prefix| layer(prefix, norms)).concat();
        [layers, both("norm").to_vec()].concat()
    };
    check(&mut golden, "encoder", &["x"], &stack(2), |given, vb| {
        TransformerEncoder::new(WIDTH, 2, &deep, vb)?.run(&given[0], padded_and_causal, &ctx)
    })?;
    check(&mut golden, "decoder", &["x", "memory"], &stack(3), |given, vb| {
        let decoder = TransformerDecoder::new(WIDTH, 2, &deep, vb)?;
        decoder.run(&given[0], &given[1], [padded_and_causal, Masks::default()], &ctx)
    })?;
    golden.finish()
}
