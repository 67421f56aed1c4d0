//! The other half of `tests/golden/vision.py`: the same random parameters, and sketches to compare with.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::{ParamStore, Random};
use serde_json::Value;

/// Of a layer's or a network's parameters and buffers, by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Numbers in ±1 that belong to names.
pub struct Pool {
    root: Random,
    numbers: Vec<f64>,
}

impl Default for Pool {
    fn default() -> Self {
        let root = Random::new(1).at("vision");
        let mut draws = root.at("pool").draws();
        let numbers = (0..65_521).map(|_| f64::from(draws.uniform(-1.0, 1.0) as f32)).collect();
        Self { root, numbers }
    }
}

impl Pool {
    /// The pool read in a circle from a place that `name` decides, as `a + b · x`.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn draw(&self, name: &str, dims: &[usize], [a, b]: [f64; 2]) -> Result<Tensor> {
        let start = self.root.at(name).draws().below(self.numbers.len() as u32) as usize;
        let circle: Vec<f32> =
            self.numbers[start..].iter().chain(&self.numbers[..start]).map(|x| (a + b * x) as f32).collect();
        let mut numbers = circle.repeat(dims.iter().product::<usize>().div_ceil(circle.len()));
        numbers.truncate(dims.iter().product());
        Tensor::from_vec(numbers, dims, &Device::Cpu)
    }

    /// Random labels below `classes`.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn labels(&self, dims: &[usize], classes: usize) -> Result<Tensor> {
        let mut draws = self.root.at("labels").draws();
        let labels: Vec<u32> = (0..dims.iter().product()).map(|_| draws.below(classes as u32)).collect();
        Tensor::from_vec(labels, dims, &Device::Cpu)
    }

    /// Sets every parameter and buffer of `store` but counters.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn fill(&self, store: &ParamStore, gain: f64) -> Result<()> {
        for (name, var) in store.parameters().into_iter().chain(store.buffers()) {
            let (dims, last) = (var.dims(), name.rsplit('.').next());
            let line = match last {
                Some("num_batches_tracked") => continue,
                _ if dims.len() > 1 => {
                    [0.0, (3.0 * gain / dims[1..].iter().product::<usize>() as f64).sqrt()]
                }
                Some("weight" | "running_var") => [1.0, 0.5],
                _ => [0.0, 0.5],
            };
            var.set(&self.draw(&name, dims, line)?.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }
}

/// Demands that `ours` has the sketch of the reference: its norm, and numbers from everywhere.
///
/// # Errors
/// If a tensor is not of numbers.
///
/// # Panics
/// If it has another sketch; the message begins with `what`.
pub fn compare(ours: &Tensor, sketch: &Tensor, what: &str, tolerance: f64) -> Result<()> {
    let ours = ours.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let sketch = sketch.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let (n, numbers) = (ours.len(), &sketch[1..]);
    let norm = ours.iter().map(|x| x * x).sum::<f64>().sqrt();
    let typical = sketch[0] / (n as f64).sqrt();
    let sampled = (0..numbers.len()).map(|i| ours[i * n / numbers.len()]);
    let mut off: Vec<f64> = sampled.zip(numbers).map(|(a, b)| (a - b).abs() / (typical + b.abs())).collect();
    off.push((norm / sketch[0] - 1.0).abs());
    // NaN is not below a tolerance.
    let close = off.iter().all(|off| *off <= tolerance);
    assert!(close, "{what} is {:.1e} off", off.into_iter().fold(0.0, f64::max));
    Ok(())
}

/// The names and shapes of the reference's state dict, buffers and all.
///
/// # Panics
/// If `about` does not list them.
pub fn names_and_shapes(about: &Value) -> Shapes {
    let groups: Vec<(Shapes, Vec<String>)> =
        serde_json::from_value(about["layers"].clone()).expect("shapes and modules");
    let mut reference = Shapes::new();
    for (shapes, modules) in groups {
        for module in modules {
            let named = |(last, dims): (&String, &Vec<usize>)| {
                let name = if module.is_empty() { last.clone() } else { format!("{module}.{last}") };
                (name, dims.clone())
            };
            reference.extend(shapes.iter().map(named));
        }
    }
    reference
}

/// The names and shapes of everything in `store`.
pub fn shapes(store: &ParamStore) -> Shapes {
    store.tensors().into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect()
}

/// Demands that the gradients of `loss` by all parameters have the reference's sketches.
///
/// # Errors
/// If `loss` is no scalar.
///
/// # Panics
/// If one is missing or has another sketch; the message begins with `who`.
pub fn compare_gradients(
    loss: &Tensor,
    store: &ParamStore,
    sketches: &Tensor,
    who: &str,
    tolerance: f64,
) -> Result<()> {
    let (grads, parameters) = (nn_core::backward(loss)?, store.parameters());
    assert_eq!(sketches.dim(0)?, parameters.len(), "{who}");
    for (n, (name, var)) in parameters.iter().enumerate() {
        let ours = grads.get(var).unwrap_or_else(|| panic!("{who}: no gradient for {name}"));
        compare(ours, &sketches.get(n)?, &format!("{who}: the gradient of {name}"), tolerance)?;
    }
    Ok(())
}
