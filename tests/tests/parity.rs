//! The models of the zoo against PyTorch, from the same start: `tests/golden/zoo.py` draws the same numbers.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::testing::assert_close;
use nn_core::{Ctx, Layer, ParamStore, Random, ops};
use nn_tests::{Outputs, digits, golden};
use nn_train::{Adam, Optimizer, Rule, Sgd};
use nn_vision::{Entry, Network};

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

/// Outputs in f32 after a handful of layers, and gradients one differentiation later.
const LOGITS: f64 = 1e-5;
const GRADIENTS: f64 = 1e-4;
/// A loss after a hundred steps, in the type the curve was made in and in the type that people train in.
const CURVE_F64: f64 = 1e-6;
const CURVE_F32: f64 = 1e-4;

fn build(entry: &Entry, dtype: DType) -> Result<(ParamStore, Network)> {
    let store = ParamStore::new(SEED);
    let model = (entry.build)(store.vb(dtype, &Device::Cpu), entry.num_classes)?;
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
    for entry in digits() {
        let (tensors, _) = golden(entry.name)?;
        let (_, model) = build(entry, DType::F32)?;
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
    for entry in digits() {
        let (tensors, _) = golden(entry.name)?;
        let (store, model) = build(entry, DType::F32)?;
        let grads = nn_core::backward(&loss(&model, &batch(0)?)?)?;
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

/// Every model in `f64`: steps amplify the rounding of `f32` until PyTorch's own two curves part.
#[test]
fn a_hundred_steps_of_sgd_with_momentum_and_of_adam() -> Result<()> {
    digits().try_for_each(|entry| follow(entry, DType::F64, CURVE_F64))
}

/// LeNet-5 in `f32`, where tanh and averages keep PyTorch's two curves 1e-6 apart.
#[test]
fn a_hundred_steps_in_single_precision() -> Result<()> {
    digits().filter(|entry| entry.name == "lenet5").try_for_each(|entry| follow(entry, DType::F32, CURVE_F32))
}

fn follow(entry: &Entry, dtype: DType, tolerance: f64) -> Result<()> {
    let rules = [
        ("sgd", Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }), 0.05),
        ("adam", Rule::Adam(Adam::default()), 1e-3),
    ];
    let (tensors, _) = golden(entry.name)?;
    let batches = (0..BATCHES).map(|n| batch(n).and_then(|(x, y)| Ok((x.to_dtype(dtype)?, y))));
    let batches = batches.collect::<Result<Vec<_>>>()?;
    for (rule_name, rule, lr) in rules {
        let (store, model) = build(entry, dtype)?;
        let mut optimizer = Optimizer::new(rule, store.parameters())?;
        let expected = tensors[&format!("loss.{rule_name}")].to_vec1::<f64>()?;
        for (step, expected) in expected.into_iter().enumerate() {
            let loss = loss(&model, &batches[step % batches.len()])?;
            let ours = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let off = (ours / expected - 1.0).abs();
            assert!(
                off < tolerance,
                "{} with {rule_name}, step {step}: a loss of {ours}, PyTorch's is {expected}, {off:.1e} off",
                entry.name
            );
            optimizer.step(&nn_core::backward(&loss)?, lr)?;
        }
    }
    Ok(())
}
