//! Transformer layers and the whole against PyTorch's: outputs and all gradients, of every option.
//!
//! The numbers are made by `tests/golden/transformer.py`.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::Ctx;
use nn_core::testing::Golden;
use nn_layers::{Activation, Masks};
use nn_sequence::{
    NormPlace, Transformer, TransformerConfig, TransformerDecoderLayer, TransformerEncoderLayer,
    TransformerMasks,
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
