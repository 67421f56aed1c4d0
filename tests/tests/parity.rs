//! The models of the zoo against PyTorch, from the same start: `tests/golden/zoo.py` draws the same numbers.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::testing::assert_close;
use nn_core::{Ctx, Layer, ParamStore, Random, ops};
use nn_tests::{Outputs, golden, models};
use nn_train::{Adam, Optimizer, Rule, Sgd};
use nn_vision::Entry;

const SEED: u64 = 1;
const BATCH: usize = 16;
const BATCHES: u64 = 8;

/// The layers whose outputs are the golden features, in their order.
const FEATURES: &[(&str, &[&str])] = &[
    ("lenet5", &["pool1", "pool2", "act3"]),
    ("lenet5_relu", &["pool1", "pool2", "act3"]),
    ("cnn", &["pool1", "pool2"]),
    ("mlp", &[]),
];

/// Outputs in f32 after a handful of layers, gradients one differentiation later, a loss after a hundred steps.
const LOGITS: f64 = 1e-5;
const GRADIENTS: f64 = 1e-4;
const CURVE: f64 = 1e-4;

fn build(entry: &Entry) -> Result<(ParamStore, Box<dyn Layer>)> {
    let store = ParamStore::new(SEED);
    let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
    Ok((store, model))
}

/// The batch that the golden script calls `n`.
fn batch(n: u64) -> Result<(Tensor, Tensor)> {
    let data = Random::new(SEED).at("golden");
    let (mut pixels, mut labels) = (data.at("images").nth(n).draws(), data.at("labels").nth(n).draws());
    let x: Vec<f32> = (0..BATCH * 784).map(|_| pixels.uniform(-1.5, 1.5) as f32).collect();
    let y: Vec<u32> = (0..BATCH).map(|_| labels.below(10)).collect();
    Ok((Tensor::from_vec(x, (BATCH, 1, 28, 28), &Device::Cpu)?, Tensor::from_vec(y, BATCH, &Device::Cpu)?))
}

fn loss(model: &dyn Layer, (x, y): &(Tensor, Tensor)) -> Result<Tensor> {
    ops::cross_entropy(&model.call(x, &Ctx::train(0))?, y, ops::Reduction::Mean)
}

#[test]
fn features_and_logits() -> Result<()> {
    for entry in models() {
        let (tensors, _) = golden(entry.name)?;
        let (_, model) = build(entry)?;
        let outputs = Outputs::default();
        let logits = model.call(&batch(0)?.0, &Ctx::eval().observed(&outputs))?;
        let outputs = outputs.take();
        let (_, paths) = FEATURES.iter().find(|(name, _)| *name == entry.name).expect("a row for each model");
        for (n, path) in paths.iter().enumerate() {
            let ours = outputs[*path].narrow(0, 0, 2)?;
            assert_close(&ours, &tensors[&format!("features.{n}")], LOGITS, LOGITS)?;
        }
        assert_close(&logits, &tensors["logits"], LOGITS, LOGITS)?;
    }
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    for entry in models() {
        let (tensors, _) = golden(entry.name)?;
        let (store, model) = build(entry)?;
        let grads = loss(model.as_ref(), &batch(0)?)?.backward()?;
        for (name, var) in store.parameters() {
            let ours = grads.get(&var).unwrap_or_else(|| panic!("no gradient for {name}")).flatten_all()?;
            let head = &tensors[&format!("gradient.{name}")];
            let norm = &tensors[&format!("gradient_norm.{name}")];
            let size = norm.to_scalar::<f64>()? / (ours.elem_count() as f64).sqrt();
            assert_close(&ours.narrow(0, 0, head.elem_count())?, head, GRADIENTS, GRADIENTS * size)?;
            assert_close(&ours.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?, norm, GRADIENTS, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn a_hundred_steps_of_sgd_with_momentum_and_of_adam() -> Result<()> {
    let rules = [
        ("sgd", Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }), 0.05),
        ("adam", Rule::Adam(Adam::default()), 1e-3),
    ];
    let batches = (0..BATCHES).map(batch).collect::<Result<Vec<_>>>()?;
    for entry in models() {
        let (tensors, _) = golden(entry.name)?;
        for (rule_name, rule, lr) in rules {
            let (store, model) = build(entry)?;
            let mut optimizer = Optimizer::new(rule, store.parameters())?;
            let expected = tensors[&format!("loss.{rule_name}")].to_vec1::<f64>()?;
            for (step, expected) in expected.into_iter().enumerate() {
                let loss = loss(model.as_ref(), &batches[step % batches.len()])?;
                let ours = f64::from(loss.to_scalar::<f32>()?);
                let off = (ours / expected - 1.0).abs();
                assert!(
                    off < CURVE,
                    "{} with {rule_name}, step {step}: a loss of {ours}, PyTorch's is {expected}, {off:.1e} off",
                    entry.name
                );
                optimizer.step(&loss.backward()?, lr)?;
            }
        }
    }
    Ok(())
}
