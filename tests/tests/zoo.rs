//! What every model of the zoo keeps to; a new row is tested by being there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use nn_core::ctx::{Event, Observer};
use nn_core::testing::{assert_close, is_direct, randn};
use nn_core::{Ctx, Layer, ParamStore};
use nn_tests::{Outputs, digits, golden, loss, models};
use nn_vision::{Entry, Network};

fn build(entry: &Entry) -> Result<(ParamStore, Network)> {
    let store = ParamStore::new(1);
    let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
    for (_, var) in store.parameters() {
        // A head that starts at 0 would hide the layers before it.
        if var.rank() > 1 && var.abs()?.max_all()?.to_scalar::<f32>()? == 0.0 {
            var.set(&(randn(7, var.dims())? * 0.02)?.to_dtype(DType::F32)?)?;
        }
    }
    Ok((store, model))
}

fn images(entry: &Entry, batch: usize) -> Result<Tensor> {
    let ([c, ..], [h, w]) = (entry.input, entry.least);
    randn(5, (batch, c, h, w))?.to_dtype(DType::F32)
}

#[test]
fn outputs_have_a_logit_a_class_for_any_number_of_classes() -> Result<()> {
    for entry in models() {
        let store = ParamStore::blank();
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), 3)?;
        let y = model.call(&images(entry, 2)?, &Ctx::eval())?;
        let [h, w] = entry.least;
        match model {
            Network::Segmenter(_) => assert_eq!(y.dims(), [2, 3, h, w], "{}", entry.name),
            _ => assert_eq!(y.dims(), [2, 3], "{}", entry.name),
        }
    }
    Ok(())
}

/// Of the others `vision.rs` compares them.
#[test]
fn parameters_are_those_of_the_reference_by_name_and_shape() -> Result<()> {
    for entry in digits() {
        let (store, _) = build(entry)?;
        assert_eq!(store.parameter_count(), entry.parameters, "{}", entry.name);
        let ours: BTreeMap<_, _> =
            store.tensors().into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect();
        let (_, about) = golden(entry.name)?;
        let reference: BTreeMap<String, Vec<usize>> =
            serde_json::from_value(about["parameters"].clone()).expect("names and shapes");
        assert_eq!(ours, reference, "{}", entry.name);
    }
    Ok(())
}

/// A layer's path is the name its parameters are found under: summaries and freezing rely on it. And one operation of
/// Candle's would send the whole network Candle's way back.
#[test]
fn every_parameter_belongs_to_an_observed_layer_and_the_way_back_is_direct() -> Result<()> {
    for entry in models() {
        let store = ParamStore::blank();
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let outputs = Outputs::default();
        let logits = model.all_logits(&images(entry, 2)?, &Ctx::train(1).observed(&outputs))?;
        assert!(
            logits.iter().all(|head| is_direct(&head.logits)),
            "{}: an operation of Candle's",
            entry.name
        );
        let paths = outputs.take();
        for (name, _) in store.parameters() {
            let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
            let called = layer.is_empty() || paths.contains_key(layer);
            assert!(called, "{}: no layer was called as {layer}", entry.name);
        }
    }
    Ok(())
}

/// Whatever the size, an image is taken, or refused by a rule that names the least size; and of that size it is taken.
#[test]
fn images_that_do_not_fit_are_refused_by_a_clear_rule() -> Result<()> {
    for entry in models() {
        let store = ParamStore::blank();
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let Network::Classifier(_) = model else { continue };
        let (c, [h, w]) = (entry.input[0], entry.least);
        let call =
            |dims: [usize; 4]| model.call(&Tensor::zeros(&dims, DType::F32, &Device::Cpu)?, &Ctx::eval());
        let colours = [1, c + 1, h, w];
        let error = call(colours).expect_err("other colours").to_string();
        assert!(
            error.contains("channels") && error.contains(&format!("{colours:?}")),
            "{}: {error}",
            entry.name
        );
        for side in [1, 7, 14, 20, 28, 31, 38, 62, 74] {
            let Err(error) = call([1, c, side, side]) else { continue };
            let error = error.to_string();
            let (_, rule) = error.split_once("must be ").unwrap_or_else(|| panic!("{}: {error}", entry.name));
            assert!(rule.contains(&format!("got {side}×{side}")), "{}: {error}", entry.name);
            let digits = rule.rsplit_once("least ").map_or(rule, |(_, size)| size);
            let least = digits.split('×').next().and_then(|n| n.parse().ok()).expect("a size");
            assert_eq!(call([1, c, least, least])?.dims(), [1, entry.num_classes], "{}", entry.name);
            assert!(call([1, c, least - 1, least]).is_err(), "{}: {least} is not the least", entry.name);
        }
    }
    Ok(())
}

/// Freezing all before a layer goes by the order in which parameters are asked for, which must be that of the calls.
#[test]
fn parameters_are_asked_for_in_the_order_of_the_calls() -> Result<()> {
    for entry in nn_vision::classifiers() {
        let asked = Asked::default();
        let vb = VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu);
        let model = (entry.build)(vb, entry.num_classes)?;
        let called = Called::default();
        model.call(&images(entry, 1)?, &Ctx::eval().observed(&called))?;
        let asked = asked.names.lock().expect("no thread panicked").clone();
        let layers: BTreeSet<&str> =
            asked.iter().filter_map(|n| n.rsplit_once('.')).map(|(l, _)| l).collect();
        let called = called.0.into_inner().expect("no thread panicked");
        let called: Vec<&str> =
            called.iter().map(String::as_str).filter(|path| layers.contains(path)).collect();
        let known: BTreeSet<&str> = called.iter().copied().collect();
        let asked =
            asked.iter().filter_map(|n| n.rsplit_once('.')).map(|(l, _)| l).filter(|l| known.contains(l));
        assert_eq!(parts(asked), parts(called.into_iter()), "{}", entry.name);
    }
    Ok(())
}

/// The parts of a network that layers belong to, in the order of their first layers: `layer1`, or `features.3`.
fn parts<'a>(layers: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut parts = Vec::new();
    for layer in layers {
        let second = layer.match_indices('.').nth(1).map_or(layer.len(), |(i, _)| i);
        let first = layer.find('.').unwrap_or(layer.len());
        let part = if layer.starts_with("features.") { &layer[..second] } else { &layer[..first] };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Names in the order they were asked for.
#[derive(Clone, Default)]
struct Asked {
    names: Arc<Mutex<Vec<String>>>,
}

impl SimpleBackend for Asked {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        self.names.lock().expect("no thread panicked").push(name.to_owned());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

/// Paths in the order of the calls.
#[derive(Default)]
struct Called(Mutex<Vec<String>>);

impl Observer for Called {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().expect("no thread panicked").push(event.path());
    }
}

/// From here on models start with numbers. To draw those of a giant takes longer than the test; a smaller sibling is
/// the same code with another table, and `vision.rs` compares the gradients of all but the largest transformers.
const GIANT: usize = 65_000_000;

#[test]
fn evaluation_repeats_itself_one_by_one_and_every_parameter_learns() -> Result<()> {
    for entry in models().filter(|entry| entry.parameters < GIANT) {
        let (store, model) = build(entry)?;
        evaluation_is_repeatable_and_does_not_depend_on_the_batch(entry, &model)?;
        every_parameter_gets_a_finite_gradient_that_is_not_zero(entry, &store, &model)?;
    }
    Ok(())
}

fn evaluation_is_repeatable_and_does_not_depend_on_the_batch(entry: &Entry, model: &Network) -> Result<()> {
    let x = images(entry, 3)?;
    let whole = model.call(&x, &Ctx::eval())?;
    assert_close(&model.call(&x, &Ctx::eval())?, &whole, 0.0, 0.0)?;
    let largest = whole.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    for i in 0..3 {
        let alone = model.call(&x.narrow(0, i, 1)?, &Ctx::eval())?;
        assert_close(&alone, &whole.narrow(0, i, 1)?, 1e-5, 1e-5 * f64::from(largest))?;
    }
    Ok(())
}

fn every_parameter_gets_a_finite_gradient_that_is_not_zero(
    entry: &Entry,
    store: &ParamStore,
    model: &Network,
) -> Result<()> {
    let targets = Tensor::new(&[0u32, 1, 0, 1], &Device::Cpu)?; // any network has as many classes
    let targets = match model {
        Network::Segmenter(_) => {
            targets.reshape((4, 1, 1))?.broadcast_as((4, entry.least[0], entry.least[1]))?.contiguous()?
        }
        _ => targets,
    };
    let grads = nn_core::backward(&loss(&model.all_logits(&images(entry, 4)?, &Ctx::train(1))?, &targets)?)?;
    let norm = |var: &Var| grads.get(var).map(|g| g.sqr()?.sum_all()?.to_scalar::<f32>()).transpose();
    for (name, var) in store.parameters() {
        let norm = norm(&var)?.unwrap_or_else(|| panic!("{}: no gradient for {name}", entry.name));
        assert!(norm.is_finite() && norm > 0.0, "{}: the gradient of {name} is {norm}", entry.name);
    }
    Ok(())
}
