//! The parameters of a model by name: created on request by a `VarBuilder`, trained, saved and loaded together.
//!
//! Why not Candle's `VarMap`: its order changes from run to run, it mixes batch-norm buffers with trainable
//! parameters, its start values cannot be seeded, and it ignores names in a file that the model does not have.

use std::collections::BTreeMap;
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
}

#[derive(Clone, Debug)]
struct Entry {
    var: Var,
    kind: Kind,
}

/// Parameters and buffers by name, in the order of their names. Clones share the same tensors.
///
/// Start values depend on the seed and the parameter's full name, not on the order of creation.
#[derive(Clone, Debug)]
pub struct ParamStore {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    random: Option<Random>,
}

impl ParamStore {
    /// An empty store whose parameters will start from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { entries: Arc::default(), random: Some(Random::new(seed).at("parameters")) }
    }

    /// An empty store that writes zeros where others draw: for a model whose weights are about to be loaded.
    pub fn blank() -> Self {
        Self { entries: Arc::default(), random: None }
    }

    /// A builder that creates tensors in this store the first time they are asked for.
    pub fn vb(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
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
        self.lock().iter().map(|(name, e)| (name.clone(), e.var.as_tensor().clone())).collect()
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
        self.assign(&report, |name| file.tensor(name))?;
        Ok(report)
    }

    /// Overwrites what has the same name and shape in the file, leaves the rest, and tells which is which.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_matching(&self, path: impl AsRef<Path>) -> Result<LoadReport> {
        let file = WeightFile::open(path.as_ref())?;
        let report = self.compare_with(&file);
        self.assign(&report, |name| file.tensor(name))?;
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
        self.assign(&report, |name| Ok(tensors[name].clone()))
    }

    /// Which names and shapes of `tensors` are the model's.
    pub fn compare(&self, tensors: &BTreeMap<String, Tensor>) -> LoadReport {
        self.compare_shapes(&tensors.iter().map(|(name, t)| (name.as_str(), t.dims())).collect())
    }

    /// The same where only the shapes are known.
    pub fn compare_shapes(&self, shapes: &BTreeMap<&str, &[usize]>) -> LoadReport {
        let entries = self.lock();
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
        let inside = |name: &str| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
        self.lock().retain(|name, _| !inside(name));
    }

    /// Takes one tensor after the other, so that no more than one is there beside the model's own.
    fn assign(&self, report: &LoadReport, tensor: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        let entries = self.lock();
        for name in &report.matched {
            let var = &entries[name].var;
            var.set(&tensor(name)?.to_device(var.device())?.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }

    fn of_kind(&self, kind: Kind) -> Vec<(String, Var)> {
        let entries = self.lock();
        entries.iter().filter(|(_, e)| e.kind == kind).map(|(n, e)| (n.clone(), e.var.clone())).collect()
    }

    /// A panic while the lock is held cannot leave the map half-changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
        Var::from_tensor(&tensor)?.set(&values)?;
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
        let mut entries = self.lock();
        if let Some(entry) = entries.get(name) {
            let var = &entry.var;
            ensure!(
                var.shape() == &shape,
                "ParamStore: {name} is {:?} already, got a request for {:?}",
                var.dims(),
                shape.dims()
            );
            return Ok(var.as_tensor().clone());
        }
        let (kind, values) = match init {
            Init::Randn { mean, stdev: 0.0 } => (Kind::Buffer, vec![mean as f32; shape.elem_count()]),
            init => (Kind::Parameter, start(init, &shape, self.random.map(|random| random.at(name)))),
        };
        let var = Var::from_tensor(
            &Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?,
        )?;
        let tensor = var.as_tensor().clone();
        entries.insert(name.to_owned(), Entry { var, kind });
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        match self.lock().get(name) {
            Some(entry) => entry.var.to_dtype(dtype)?.to_device(device),
            None => candle_core::bail!("ParamStore: no tensor named {name}, and its shape was not given"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
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
