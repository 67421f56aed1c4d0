//! The image captioner: PyTorch's numbers, captions token by token, and mistakes.
//!
//! The numbers are made by `tests/golden/captioner.py`.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{self, Reduction};
use nn_core::testing::{Golden, assert_close, assert_trained, randn};
use nn_core::{Ctx, ParamStore};
use nn_sequence::decode::{Beam, Limits, Sampling, beam, greedy, sample};
use nn_sequence::{Gate, ImageCaptioner, ImageCaptionerConfig, doubly_stochastic};

const SMALL: ImageCaptionerConfig = ImageCaptionerConfig {
    vocabulary: 5,
    width: 2,
    features: 3,
    hidden: 4,
    attention: 3,
    gate: Gate::Scalar,
    dropout: 0.0,
};
const GATES: [(&str, Gate); 2] = [("scalar", Gate::Scalar), ("features", Gate::Features)];

fn model(gate: Gate) -> Result<(ParamStore, ImageCaptioner)> {
    let store = ParamStore::new(1);
    let cfg = ImageCaptionerConfig { gate, ..SMALL };
    let model = ImageCaptioner::new(&cfg, store.vb(DType::F64, &Device::Cpu))?;
    Ok((store, model))
}

#[test]
fn captions_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/captioner.safetensors");
    let mut golden = Golden::open(path)?;
    for (case, gate) in GATES {
        let (store, _) = model(gate)?;
        let parameters: Vec<String> = store.tensors().into_keys().collect();
        let names: Vec<&str> =
            ["features", "tokens"].into_iter().chain(parameters.iter().map(String::as_str)).collect();
        golden.check(case, &names, |args| {
            let (given, rest) = args.split_at(2);
            let named: HashMap<String, Tensor> =
                parameters.iter().cloned().zip(rest.iter().cloned()).collect();
            let vb = VarBuilder::from_tensors(named, given[0].dtype(), given[0].device());
            let model = ImageCaptioner::new(&ImageCaptionerConfig { gate, ..SMALL }, vb)?;
            let (logits, looks) = model.run(&given[0], &given[1], &Ctx::eval())?;
            let term = doubly_stochastic(&looks, Some(&[2, 3]))?;
            Tensor::cat(&[logits.flatten_all()?, looks.flatten_all()?, term.reshape(1)?], 0)
        })?;
    }
    golden.finish()
}

#[test]
fn everything_is_trained() -> Result<()> {
    for (_, gate) in GATES {
        let (store, model) = model(gate)?;
        let tokens = Tensor::new(&[[1u32, 2, 3], [4, 0, 1]], &Device::Cpu)?;
        let (logits, looks) = model.run(&randn(1, (2, 3, 2, 3))?, &tokens, &Ctx::train(0))?;
        let loss =
            ops::cross_entropy(&ops::reshape(&logits, (6, 5))?, &tokens.flatten_all()?, Reduction::Mean)?;
        let loss = ops::add(&loss, &doubly_stochastic(&looks, None)?)?;
        assert_trained(&loss, &store)?;
    }
    Ok(())
}

#[test]
fn what_comes_out_one_by_one_is_what_all_at_once_gives() -> Result<()> {
    let (_, model) = model(Gate::Scalar)?;
    let (features, ctx) = ((randn(2, (3, 3, 2, 2))? * 3.0)?, Ctx::eval());
    let given = Tensor::new(&[[1u32], [1], [1]], &Device::Cpu)?;
    let limits = Limits { end: None, longest: 5 };
    let found = greedy(&model, model.start(&features, &ctx)?, &given, limits)?;
    let tokens = Tensor::new(found.clone(), &Device::Cpu)?;
    let whole = Tensor::cat(&[&given, &tokens.narrow(1, 0, 4)?], 1)?;
    let (logits, looks) = model.run(&features, &whole, &ctx)?;
    assert_eq!(logits.argmax(2)?.to_vec2::<u32>()?, found);
    assert_close(&looks.sum(2)?, &Tensor::ones((3, 5), DType::F64, &Device::Cpu)?, 1e-12, 0.0)?;
    let one = Sampling { top_k: Some(1), ..Sampling::default() };
    assert_eq!(sample(&model, model.start(&features, &ctx)?, &given, limits, one)?, found);
    let limits = Limits { end: Some(2), ..limits };
    let options = Beam { width: 3, ..Beam::default() };
    let together = beam(&model, model.start(&features, &ctx)?, &given, limits, options)?;
    for (b, found) in together.iter().enumerate() {
        let state = model.start(&features.narrow(0, b, 1)?, &ctx)?;
        let alone = beam(&model, state, &given.narrow(0, b, 1)?, limits, options)?;
        assert_eq!(alone[0][0].tokens, found[0].tokens);
    }
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let (_, model) = model(Gate::Scalar)?;
    let (map, ctx) = (randn(1, (2, 3, 2, 2))?, Ctx::eval());
    let tokens = Tensor::new(&[[1u32], [2]], &Device::Cpu)?;
    let places = "features must be [B, 3, H, W] or [B, L, 3] with at least one place";
    for (features, tokens, rule) in [
        (randn(1, (2, 4, 2, 2))?, tokens.clone(), format!("{places}, got [2, 4, 2, 2]")),
        (randn(1, (2, 0, 3))?, tokens.clone(), format!("{places}, got [2, 0, 3]")),
        (randn(1, (2, 3))?, tokens.clone(), format!("{places}, got [2, 3]")),
        (map.clone(), tokens.narrow(0, 0, 1)?, "tokens must be [2, T] with at least one step".to_owned()),
        (map.clone(), Tensor::zeros((2, 0), DType::U32, &Device::Cpu)?, "got [2, 0]".to_owned()),
        (map.clone(), (tokens * 3.0)?, "0..5, got 6 at [1, 0]".to_owned()),
    ] {
        let error = model.run(&features, &tokens, &ctx).expect_err(&rule).to_string();
        assert!(error.contains(&rule), "{error}");
    }
    let store = ParamStore::new(0);
    for (cfg, rule) in [
        (ImageCaptionerConfig { attention: 0, ..SMALL }, "every size must be at least 1"),
        (ImageCaptionerConfig { dropout: 2.0, ..SMALL }, "got 2"),
    ] {
        let error = ImageCaptioner::new(&cfg, store.vb(DType::F32, &Device::Cpu)).expect_err(rule);
        assert!(error.to_string().contains(rule), "{error}");
    }
    let (_, looks) = model.run(&map, &Tensor::new(&[[1u32], [2]], &Device::Cpu)?, &ctx)?;
    let error = doubly_stochastic(&looks, Some(&[1, 2])).expect_err("one step").to_string();
    assert!(error.contains("must be in 1..=1, got 2"), "{error}");
    let error = doubly_stochastic(&looks.get(0)?, None).expect_err("of one caption").to_string();
    assert!(error.contains("x must be [B, T, C], got [1, 4]"), "{error}");
    Ok(())
}
