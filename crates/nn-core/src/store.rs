//! The parameters of a model by name: created on request by a `VarBuilder`, trained, saved and loaded together.
//!
//! Why not Candle's `VarMap`: its order changes from run to run, it mixes batch-norm buffers with trainable
//! parameters, its start values cannot be seeded, and it ignores names in a file that the model does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::cpu::parallel::for_each_chunk;
use crate::ensure;
use crate::random::{Draws, Random};
use crate::weights::{self, LoadReport, Mismatch, WeightFile};

/// What a tensor of a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changed by the optimiser.
    Parameter,
    /// State that is saved with the model but never trained: running statistics, counters.
    Buffer,
    /// A parameter that stays as it was loaded: it is saved, gets no gradient and no update.
    Frozen,
}

/// Which of the parameters that a model asks for are frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freeze {
    /// All are trained.
    #[default]
    Nothing,
    /// All that are asked for before those of the layer with this path: of a network, which asks in the order of its
    /// layers, everything below it.
    Until(String),
    /// None is trained.
    Everything,
}

#[derive(Clone, Debug)]
struct Entry {
    var: Var,
    kind: Kind,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// For parameters that are yet to be asked for.
    freeze: Freeze,
}

/// Parameters and buffers by name, in the order of their names. Clones share the same tensors.
///
/// Start values depend on the seed and the parameter's full name, not on the order of creation.
#[derive(Clone, Debug)]
pub struct ParamStore {
    state: Arc<Mutex<State>>,
    random: Option<Random>,
}

impl ParamStore {
    /// An empty store whose parameters will start from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::default(), random: Some(Random::new(seed).at("parameters")) }
    }

    /// An empty store that writes zeros where others draw: for a model whose weights are about to be loaded.
    pub fn blank() -> Self {
        Self { state: Arc::default(), random: None }
    }

    /// A builder that creates tensors in this store the first time they are asked for.
    pub fn vb(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// From now on the parameters that are asked for the first time are frozen as `freeze` says; those that are there
    /// stay as they are.
    ///
    /// A pretrained network under a new head that alone is trained, its batch norms left in evaluation:
    /// ```text
    /// store.freeze(Freeze::Everything);
    /// let mut network = ResNet::new(&RESNET18, store.vb(dtype, &device))?;
    /// store.load("resnet18.safetensors")?;
    /// store.freeze(Freeze::Nothing);
    /// network.reset_head(2, &store)?;
    /// network.call(&x, &Ctx::train(seed).freezing(&store.frozen_layers()))?;
    /// ```
    pub fn freeze(&self, freeze: Freeze) {
        self.lock().freeze = freeze;
    }

    /// The paths of the layers all of whose parameters are frozen, for [`Ctx::freezing`](crate::Ctx::freezing).
    pub fn frozen_layers(&self) -> BTreeSet<String> {
        let layers = |kind| -> BTreeSet<String> {
            let named = self.of_kind(kind);
            named
                .iter()
                .flat_map(|(name, _)| name.match_indices('.').map(|(dot, _)| name[..dot].to_owned()))
                .collect()
        };
        &layers(Kind::Frozen) - &layers(Kind::Parameter)
    }

    /// The frozen tensors, sorted by name.
    pub fn frozen(&self) -> Vec<(String, Var)> {
        self.of_kind(Kind::Frozen)
    }

    /// The trainable tensors, sorted by name.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        self.of_kind(Kind::Parameter)
    }

    /// The tensors that are saved but not trained, sorted by name.
    pub fn buffers(&self) -> Vec<(String, Var)> {
        self.of_kind(Kind::Buffer)
    }

    /// Trainable numbers in all.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// Parameters and buffers, sorted by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.lock().entries.iter().map(|(name, e)| (name.clone(), e.var.as_tensor().clone())).collect()
    }

    /// Writes parameters and buffers as safetensors with `format: pt`, atomically; the same tensors give the same bytes.
    ///
    /// # Errors
    /// If the file cannot be written; a file that was there before is then untouched.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        weights::safetensors::write(path.as_ref(), &self.tensors())
    }

    /// Overwrites every parameter and buffer from a weight file of any format.
    ///
    /// # Errors
    /// If the file cannot be read, or its names and shapes do not fit the model ([`LoadReport::fits`]): the error
    /// lists what is missing, unexpected and mismatched, and the store is left as it was. Where numbers in the file
    /// turn out damaged, those before them are set already.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<LoadReport> {
        self.load_file(&WeightFile::open(path)?)
    }

    /// The same from a file that is open already.
    ///
    /// # Errors
    /// As for [`ParamStore::load`].
    pub fn load_file(&self, file: &WeightFile) -> Result<LoadReport> {
        let report = self.compare_with(file);
        if !report.fits() {
            let error = candle_core::Error::wrap(report);
            return Err(error.context(format!("{} does not fit the model", file.name())));
        }
        self.assign(&report, |name, var| file.read_into(name, var))?;
        Ok(report)
    }

    /// Overwrites what has the same name and shape in the file, leaves the rest, and tells which is which.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_matching(&self, path: impl AsRef<Path>) -> Result<LoadReport> {
        let file = WeightFile::open(path.as_ref())?;
        let report = self.compare_with(&file);
        self.assign(&report, |name, var| file.read_into(name, var))?;
        Ok(report)
    }

    /// Which names and shapes of a file are the model's.
    pub fn compare_with(&self, file: &WeightFile) -> LoadReport {
        self.compare_shapes(&file.tensors().map(|(name, info)| (name, info.shape)).collect())
    }

    /// Overwrites every parameter and buffer from tensors by name, as [`ParamStore::load`] does from a file.
    ///
    /// # Errors
    /// If the names and shapes do not fit the model ([`LoadReport::fits`]).
    pub fn set(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let report = self.compare(tensors);
        if !report.fits() {
            return Err(candle_core::Error::wrap(report));
        }
        self.assign(&report, |name, var| {
            var.set(&tensors[name].to_device(var.device())?.to_dtype(var.dtype())?)
        })
    }

    /// Which names and shapes of `tensors` are the model's.
    pub fn compare(&self, tensors: &BTreeMap<String, Tensor>) -> LoadReport {
        self.compare_shapes(&tensors.iter().map(|(name, t)| (name.as_str(), t.dims())).collect())
    }

    /// The same where only the shapes are known.
    pub fn compare_shapes(&self, shapes: &BTreeMap<&str, &[usize]>) -> LoadReport {
        let entries = &self.lock().entries;
        let mut report = LoadReport::default();
        for (name, entry) in entries.iter() {
            match shapes.get(name.as_str()) {
                None => report.missing.push(name.clone()),
                Some(&shape) if shape == entry.var.dims() => report.matched.push(name.clone()),
                Some(shape) => report.mismatched.push(Mismatch {
                    name: name.clone(),
                    model: entry.var.dims().to_vec(),
                    file: shape.to_vec(),
                }),
            }
        }
        report.unexpected = shapes
            .keys()
            .filter(|name| !entries.contains_key(**name))
            .map(|name| (*name).to_owned())
            .collect();
        report
    }

    /// Takes out every parameter and buffer of the layer called `layer`, so that another can be built in its place.
    pub fn forget(&self, layer: &str) {
        self.lock().entries.retain(|name, _| !is_within(name, layer));
    }

    /// Takes one tensor after the other, so that no more than one is there beside the model's own.
    fn assign(&self, report: &LoadReport, fill: impl Fn(&str, &Var) -> Result<()>) -> Result<()> {
        let entries = &self.lock().entries;
        report.matched.iter().try_for_each(|name| fill(name, &entries[name].var))
    }

    fn of_kind(&self, kind: Kind) -> Vec<(String, Var)> {
        let entries = &self.lock().entries;
        entries.iter().filter(|(_, e)| e.kind == kind).map(|(n, e)| (n.clone(), e.var.clone())).collect()
    }

    /// A panic while the lock is held cannot leave the map half-changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `name` is that of a parameter of `layer`, or of a layer in it.
fn is_within(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
}

impl Entry {
    /// What a layer computes with: a frozen parameter is no variable to it, and shares the variable's memory.
    fn tensor(&self) -> Tensor {
        match self.kind {
            Kind::Frozen => self.var.as_detached_tensor(),
            Kind::Parameter | Kind::Buffer => self.var.as_tensor().clone(),
        }
    }
}

impl State {
    /// Whether a parameter that is asked for now learns.
    fn kind_of(&self, name: &str) -> Kind {
        let frozen = match &self.freeze {
            Freeze::Nothing => false,
            Freeze::Everything => true,
            Freeze::Until(layer) => {
                let reached = |name: &str| name == layer || is_within(name, layer);
                !reached(name) && !self.entries.keys().any(|name| reached(name))
            }
        };
        if frozen { Kind::Frozen } else { Kind::Parameter }
    }
}

/// Asks `vb` for a parameter that starts from `values`, where no [`Init`] describes them.
///
/// # Errors
/// If the name exists with another shape.
pub fn parameter(vb: &VarBuilder, name: &str, values: &Tensor) -> Result<Tensor> {
    // Nothing else starts as NaN, so that is what a tensor is that was just made and not loaded.
    let tensor = vb.get_with_hints(values.shape(), name, Init::Const(f64::NAN))?;
    let first = tensor.flatten_all()?.narrow(0, 0, 1)?.to_dtype(DType::F64)?.squeeze(0)?;
    if first.to_scalar::<f64>()?.is_nan() {
        let values = values.to_device(tensor.device())?.to_dtype(tensor.dtype())?;
        // In place, frozen or not.
        tensor.slice_set(&values.contiguous()?, 0, 0)?;
    }
    Ok(tensor)
}

/// Asks `vb` for a buffer: a tensor that starts at `value` everywhere and is saved but not trained.
///
/// From a plain Candle `VarMap` it is a constant tensor among the others.
///
/// # Errors
/// If the name exists with another shape.
pub fn buffer(vb: &VarBuilder, shape: impl Into<Shape>, name: &str, value: f64) -> Result<Var> {
    // Candle's builder has no word for a buffer; a normal distribution without spread is a constant to every
    // backend and means "buffer" to ours, which gives all other normals a positive spread.
    let tensor = vb.get_with_hints(shape.into(), name, Init::Randn { mean: value, stdev: 0.0 })?;
    Var::from_tensor(&tensor)
}

impl SimpleBackend for ParamStore {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get(name) {
            let var = &entry.var;
            ensure!(
                var.shape() == &shape,
                "ParamStore: {name} is {:?} already, got a request for {:?}",
                var.dims(),
                shape.dims()
            );
            return Ok(entry.tensor());
        }
        let (kind, values) = match init {
            Init::Randn { mean, stdev: 0.0 } => (Kind::Buffer, vec![mean as f32; shape.elem_count()]),
            init => (state.kind_of(name), start(init, &shape, self.random.map(|random| random.at(name)))),
        };
        let var = Var::from_tensor(
            &Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?,
        )?;
        let entry = Entry { var, kind };
        let tensor = entry.tensor();
        state.entries.insert(name.to_owned(), entry);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        match self.lock().entries.get(name) {
            Some(entry) => entry.tensor().to_dtype(dtype)?.to_device(device),
            None => candle_core::bail!("ParamStore: no tensor named {name}, and its shape was not given"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().entries.contains_key(name)
    }
}

/// Start values by Candle's names for the distributions PyTorch uses.
fn start(init: Init, shape: &Shape, random: Option<Random>) -> Vec<f32> {
    let n = shape.elem_count();
    let normal = |mean: f64, stdev: f64| sample(n, 4, random, |draws| mean + stdev * draws.normal());
    let uniform = |lo: f64, up: f64| sample(n, 2, random, |draws| draws.uniform(lo, up));
    match init {
        Init::Const(value) => vec![value as f32; n],
        Init::Randn { mean, stdev } => normal(mean, stdev),
        Init::Uniform { lo, up } => uniform(lo, up),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan_of(fan, shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev),
                NormalOrUniform::Uniform => uniform(-(3f64.sqrt()) * stdev, 3f64.sqrt() * stdev),
            }
        }
    }
}

/// `n` numbers that `draw` makes of `words` words each, or zeros.
fn sample(
    n: usize,
    words: usize,
    random: Option<Random>,
    draw: impl Fn(&mut Draws) -> f64 + Sync,
) -> Vec<f32> {
    const CHUNK: usize = 4096;
    let mut values = vec![0.0; n];
    if let Some(random) = random {
        for_each_chunk(&mut values, CHUNK, 10 * words * n, |i, chunk| {
            let mut draws = random.draws_from((i * CHUNK * words / 4) as u64);
            chunk.iter_mut().for_each(|value| *value = draw(&mut draws) as f32);
        });
    }
    values
}

/// Fans of an empty shape are 1, so that an empty tensor starts without a division by zero.
fn fan_of(fan: FanInOut, shape: &Shape) -> usize {
    fan.for_shape(shape).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(store: &ParamStore) -> Result<()> {
        let vb = store.vb(DType::F32, &Device::Cpu);
        let uniform = Init::Uniform { lo: -0.5, up: 0.5 };
        vb.pp("b").get_with_hints((2, 3), "weight", uniform)?;
        vb.pp("a").get_with_hints(4, "weight", Init::Randn { mean: 0.0, stdev: 1.0 })?;
        buffer(&vb.pp("a"), 4, "running_var", 1.0)?;
        Ok(())
    }

    fn values(store: &ParamStore, name: &str) -> Vec<f32> {
        store.tensors()[name].flatten_all().and_then(|t| t.to_vec1()).expect("a CPU f32 tensor")
    }

    #[test]
    fn parameters_and_buffers_are_apart_and_sorted() -> Result<()> {
        let store = ParamStore::new(1);
        model(&store)?;
        let names = |list: Vec<(String, Var)>| list.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(store.parameters()), ["a.weight", "b.weight"]);
        assert_eq!(names(store.buffers()), ["a.running_var"]);
        assert_eq!(store.parameter_count(), 10);
        assert_eq!(values(&store, "a.running_var"), [1.0; 4]);
        Ok(())
    }

    #[test]
    fn starts_depend_on_seed_and_name_only() -> Result<()> {
        let (one, two, other) = (ParamStore::new(1), ParamStore::new(1), ParamStore::new(2));
        model(&one)?;
        buffer(&two.vb(DType::F32, &Device::Cpu), 1, "first", 0.0)?;
        model(&two)?;
        model(&other)?;
        assert_eq!(values(&one, "b.weight"), values(&two, "b.weight"));
        assert_ne!(values(&one, "b.weight"), values(&other, "b.weight"));
        assert!(values(&one, "b.weight").iter().all(|v| v.abs() <= 0.5));
        Ok(())
    }

    /// However many threads draw, and a blank store has the same tensors full of zeros.
    #[test]
    fn large_tensors_start_with_the_numbers_of_one_sequence() -> Result<()> {
        let (drawn, blank) = (ParamStore::new(1), ParamStore::blank());
        let n = 10_001;
        for store in [&drawn, &blank] {
            let vb = store.vb(DType::F32, &Device::Cpu);
            vb.get_with_hints(n, "normal", Init::Randn { mean: 0.0, stdev: 2.0 })?;
            vb.get_with_hints(n, "uniform", Init::Uniform { lo: -1.0, up: 3.0 })?;
            vb.get_with_hints(1, "one", Init::Const(1.0))?;
        }
        let mut draws = Random::new(1).at("parameters").at("normal").draws();
        assert_eq!(values(&drawn, "normal"), (0..n).map(|_| 2.0 * draws.normal() as f32).collect::<Vec<_>>());
        let mut draws = Random::new(1).at("parameters").at("uniform").draws();
        assert_eq!(
            values(&drawn, "uniform"),
            (0..n).map(|_| draws.uniform(-1.0, 3.0) as f32).collect::<Vec<_>>()
        );
        assert_eq!(values(&blank, "normal"), vec![0.0; n]);
        assert_eq!(values(&blank, "one"), [1.0]);
        Ok(())
    }

    #[test]
    fn a_forgotten_layer_can_be_built_with_another_shape() -> Result<()> {
        let store = ParamStore::new(1);
        model(&store)?;
        store.forget("a");
        let names: Vec<String> = store.tensors().into_keys().collect();
        assert_eq!(names, ["b.weight"]);
        store.vb(DType::F32, &Device::Cpu).pp("a").get(7, "weight")?;
        assert_eq!(store.tensors()["a.weight"].dims(), [7]);
        Ok(())
    }

    #[test]
    fn frozen_parameters_are_loaded_and_saved_and_get_no_gradient() -> Result<()> {
        let store = ParamStore::new(1);
        let vb = store.vb(DType::F32, &Device::Cpu);
        let until = |layer: &str| store.freeze(Freeze::Until(layer.to_owned()));
        until("layer2");
        let first = vb.pp("layer1.conv").get_with_hints((2, 3), "weight", Init::Const(1.0))?;
        let other = vb.pp("layer20").get_with_hints((2, 3), "weight", Init::Const(1.0))?;
        buffer(&vb.pp("layer1.bn"), 2, "running_mean", 0.0)?;
        let second = vb.pp("layer2.conv").get_with_hints((2, 3), "weight", Init::Const(2.0))?;
        let third = vb.pp("fc").get_with_hints((2, 3), "weight", Init::Const(3.0))?;
        let names = |list: Vec<(String, Var)>| list.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(store.parameters()), ["fc.weight", "layer2.conv.weight"]);
        assert_eq!(names(store.frozen()), ["layer1.conv.weight", "layer20.weight"]);
        assert_eq!(
            store.frozen_layers().into_iter().collect::<Vec<_>>(),
            ["layer1", "layer1.conv", "layer20"]
        );
        assert_eq!((store.parameter_count(), store.tensors().len()), (12, 5));

        let sum = ((&first + &other)? + (&second + &third)?)?.sum_all()?;
        let grads = sum.backward()?;
        let has_gradient = [&first, &other, &second, &third].map(|t| grads.get(t).is_some());
        assert_eq!(has_gradient, [false, false, true, true]);

        // The layer sees what is loaded, and so does one that asks for the same name later.
        store.freeze(Freeze::Nothing);
        let loaded =
            store.tensors().into_iter().map(|(name, t)| Ok((name, (t + 4.0)?))).collect::<Result<_>>()?;
        store.set(&loaded)?;
        assert_eq!(first.to_vec2::<f32>()?, [[5.0; 3]; 2]);
        assert!(!vb.pp("layer1.conv").get((2, 3), "weight")?.is_variable());
        store.forget("fc");
        assert!(vb.pp("fc").get((5, 3), "weight")?.is_variable());
        Ok(())
    }

    #[test]
    fn a_frozen_parameter_may_start_from_values() -> Result<()> {
        let store = ParamStore::new(1);
        store.freeze(Freeze::Everything);
        let vb = store.vb(DType::F32, &Device::Cpu);
        let start = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        for _ in 0..2 {
            assert_eq!(parameter(&vb, "a", &start)?.to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0]]);
        }
        assert!(store.parameters().is_empty());
        Ok(())
    }

    #[test]
    fn a_parameter_starts_from_values_and_keeps_what_it_was_set_to() -> Result<()> {
        let store = ParamStore::new(1);
        let vb = store.vb(DType::F32, &Device::Cpu);
        let start = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
        assert_eq!(parameter(&vb, "a", &start)?.to_vec1::<f32>()?, [1.0, 2.0]);
        store.parameters()[0].1.set(&Tensor::new(&[3f32, 4.0], &Device::Cpu)?)?;
        assert_eq!(parameter(&vb, "a", &start)?.to_vec1::<f32>()?, [3.0, 4.0]);
        assert!(parameter(&vb, "a", &start.narrow(0, 0, 1)?).is_err());
        Ok(())
    }

    #[test]
    fn the_same_name_is_the_same_tensor_and_another_shape_an_error() -> Result<()> {
        let store = ParamStore::new(1);
        model(&store)?;
        let vb = store.vb(DType::F32, &Device::Cpu);
        let again = vb.pp("b").get((2, 3), "weight")?;
        store.parameters()[1].1.set(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?)?;
        assert_eq!(again.sum_all()?.to_scalar::<f32>()?, 0.0);
        let error = vb.pp("b").get((3, 2), "weight").expect_err("shapes differ").to_string();
        assert!(
            error.contains("b.weight") && error.contains("[2, 3]") && error.contains("[3, 2]"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn save_and_load_round_trip_to_the_bit_and_to_the_byte() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (one, two) = (ParamStore::new(1), ParamStore::new(2));
        model(&one)?;
        model(&two)?;
        let (a, b) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
        one.save(&a)?;
        let report = two.load(&a)?;
        assert_eq!(report.matched.len(), 3);
        assert_eq!(values(&one, "a.weight"), values(&two, "a.weight"));
        two.save(&b)?;
        let bytes = std::fs::read(&a)?;
        assert_eq!(bytes, std::fs::read(&b)?);
        assert!(String::from_utf8_lossy(&bytes).contains(r#""__metadata__":{"format":"pt"}"#));
        Ok(())
    }

    #[test]
    fn a_strict_load_reports_and_changes_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("w.safetensors");
        let (store, other) = (ParamStore::new(1), ParamStore::new(2));
        model(&store)?;
        let vb = other.vb(DType::F32, &Device::Cpu);
        vb.pp("a").get(5, "weight")?;
        vb.pp("b").get((2, 3), "weight")?;
        vb.get(1, "extra")?;
        other.save(&path)?;
        let before = values(&store, "b.weight");
        let error = store.load(&path).expect_err("another model's weights").to_string();
        for part in ["w.safetensors", "a.weight", "[4]", "[5]", "extra", "a.running_var"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert_eq!(values(&store, "b.weight"), before);
        let report = store.load_matching(&path)?;
        assert_eq!(report.matched, ["b.weight"]);
        assert_eq!(values(&store, "b.weight"), [0.0; 6]);
        Ok(())
    }
}
