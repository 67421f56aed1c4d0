//! The large networks against torchvision and timm: `tests/golden/vision.py` draws the same parameters and images.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::testing::assert_close;
use nn_core::{Ctx, Layer, ParamStore, Random, ops};
use nn_tests::{golden, large};
use nn_vision::resnet::{RESNET50, Reach, ResNet, ResNetConfig};
use nn_vision::{Classifier, Entry, Network};
use serde_json::Value;

const BATCH: usize = 4;

/// Outputs in f32 after up to 152 layers.
const OUTPUTS: f64 = 1e-4;
/// Gradients in evaluation, in f32.
const GRADIENTS: f64 = 1e-3;
/// Gradients through the statistics of batches, in f64: in f32 a rounding turns ReLUs on and off.
const BATCH_GRADIENTS: f64 = 1e-6;

/// Numbers in ±1 that belong to names.
struct Pool {
    root: Random,
    numbers: Vec<f64>,
}

impl Pool {
    fn new() -> Self {
        let root = Random::new(1).at("vision");
        let mut draws = root.at("pool").draws();
        let numbers = (0..65_521).map(|_| f64::from(draws.uniform(-1.0, 1.0) as f32)).collect();
        Self { root, numbers }
    }

    /// The pool read in a circle from a place that `name` decides, as `a + b · x`.
    fn draw(&self, name: &str, dims: &[usize], [a, b]: [f64; 2]) -> Result<Tensor> {
        let start = self.root.at(name).draws().below(self.numbers.len() as u32) as usize;
        let circle: Vec<f32> =
            self.numbers[start..].iter().chain(&self.numbers[..start]).map(|x| (a + b * x) as f32).collect();
        let mut numbers = circle.repeat(dims.iter().product::<usize>().div_ceil(circle.len()));
        numbers.truncate(dims.iter().product());
        Tensor::from_vec(numbers, dims, &Device::Cpu)
    }

    fn fill(&self, store: &ParamStore, gain: f64) -> Result<()> {
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

/// A network with the golden parameters, its images, and what the reference makes of them.
struct Case {
    name: &'static str,
    store: ParamStore,
    network: Box<dyn Classifier>,
    images: Tensor,
    labels: Tensor,
    tensors: BTreeMap<String, Tensor>,
    about: Value,
}

impl Case {
    fn new(entry: &Entry, dtype: DType) -> Result<Self> {
        let (tensors, about) = golden(entry.name)?;
        let number = |key: &str| about[key].as_f64().unwrap_or_else(|| panic!("{}: no {key}", entry.name));
        let (gain, size) = (number("gain"), number("size") as usize);
        let store = ParamStore::blank();
        let network = match (entry.build)(store.vb(dtype, &Device::Cpu), entry.num_classes)? {
            Network::Classifier(network) => network,
            Network::Other(_) => panic!("{} is no classifier", entry.name),
        };
        let pool = Pool::new();
        pool.fill(&store, gain)?;
        let images = pool.draw("images", &[BATCH, 3, size, size], [0.0, 1.0])?.to_dtype(dtype)?;
        let mut draws = pool.root.at("labels").draws();
        let labels: Vec<u32> = (0..BATCH).map(|_| draws.below(entry.num_classes as u32)).collect();
        let labels = Tensor::new(labels, &Device::Cpu)?;
        Ok(Self { name: entry.name, store, network, images, labels, tensors, about })
    }

    /// Demands that `ours` has the sketch of the reference: its norm, and numbers from everywhere.
    fn compare(&self, ours: &Tensor, sketch: &Tensor, what: &str, tolerance: f64) -> Result<()> {
        let ours = ours.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let sketch = sketch.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let (n, numbers) = (ours.len(), &sketch[1..]);
        let norm = ours.iter().map(|x| x * x).sum::<f64>().sqrt();
        let typical = sketch[0] / (n as f64).sqrt();
        let sampled = (0..numbers.len()).map(|i| ours[i * n / numbers.len()]);
        let mut off: Vec<f64> =
            sampled.zip(numbers).map(|(a, b)| (a - b).abs() / (typical + b.abs())).collect();
        off.push((norm / sketch[0] - 1.0).abs());
        // NaN is not below a tolerance.
        let close = off.iter().all(|off| *off <= tolerance);
        assert!(close, "{}: {what} is {:.1e} off", self.name, off.into_iter().fold(0.0, f64::max));
        Ok(())
    }
}

#[test]
fn names_features_logits_gradients_and_new_heads() -> Result<()> {
    for entry in large() {
        let mut case = Case::new(entry, DType::F32)?;
        names_and_shapes(&case, entry);
        features_embedding_and_logits(&case)?;
        if case.about["mode"] == "eval" {
            gradients(&case, &Ctx::eval(), GRADIENTS)?;
        }
        new_head(&mut case)?;
    }
    Ok(())
}

/// Of a layer's parameters and buffers, by name.
type Shapes = BTreeMap<String, Vec<usize>>;

fn names_and_shapes(case: &Case, entry: &Entry) {
    let groups: Vec<(Shapes, Vec<String>)> =
        serde_json::from_value(case.about["layers"].clone()).expect("shapes and modules");
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
    let tensors = case.store.tensors();
    let ours: Shapes = tensors.into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect();
    assert_eq!(ours, reference, "{}", case.name);
    assert_eq!(case.store.parameter_count(), entry.parameters, "{}", case.name);
    assert_eq!(case.about["parameters"], entry.parameters, "{}", case.name);
}

fn features_embedding_and_logits(case: &Case) -> Result<()> {
    let ctx = Ctx::eval();
    let features = case.network.features(&case.images, &ctx)?;
    let shapes: Vec<Vec<usize>> = features.iter().map(|t| t.dims().to_vec()).collect();
    assert_eq!(case.about["features"], serde_json::json!(shapes), "{}", case.name);
    for (n, feature) in features.iter().enumerate() {
        let what = format!("features.{n}");
        case.compare(feature, &case.tensors[&what], &what, OUTPUTS)?;
    }
    let embedding = case.network.embed(&case.images, &ctx)?;
    assert_eq!(embedding.rank(), 2, "{}", case.name);
    case.compare(&embedding, &case.tensors["embedding"], "embedding", OUTPUTS)?;
    let logits = case.network.call(&case.images, &ctx)?;
    case.compare(&logits, &case.tensors["logits"], "logits", OUTPUTS)
}

/// It has the new width, is what the store holds, and leaves the features as they were.
fn new_head(case: &mut Case) -> Result<()> {
    let (ctx, image) = (Ctx::eval(), case.images.narrow(0, 0, 1)?);
    let names = |case: &Case| case.store.tensors().into_keys().collect::<Vec<_>>();
    let before = (case.network.embed(&image, &ctx)?, names(case));
    case.network.reset_head(7, &case.store)?;
    assert_close(&case.network.embed(&image, &ctx)?, &before.0, 0.0, 0.0)?;
    assert_eq!(names(case), before.1, "{}", case.name);
    let logits = case.network.call(&image, &ctx)?;
    assert_eq!(logits.dims(), [1, 7], "{}", case.name);
    let seven = case.store.parameters().into_iter().filter(|(_, var)| var.dims()[0] == 7);
    let grads = logits.sqr()?.sum_all()?.backward()?;
    assert!(seven.map(|(_, var)| grads.get(&var).is_some()).eq([true, true]), "{}", case.name);
    Ok(())
}

fn gradients(case: &Case, ctx: &Ctx, tolerance: f64) -> Result<()> {
    let logits = case.network.call(&case.images, ctx)?;
    let grads = ops::cross_entropy(&logits, &case.labels, ops::Reduction::Mean)?.backward()?;
    let sketches = &case.tensors["gradients"];
    let parameters = case.store.parameters();
    assert_eq!(sketches.dim(0)?, parameters.len(), "{}", case.name);
    for (n, (name, var)) in parameters.iter().enumerate() {
        let ours = grads.get(var).unwrap_or_else(|| panic!("{}: no gradient for {name}", case.name));
        case.compare(ours, &sketches.get(n)?, &format!("the gradient of {name}"), tolerance)?;
    }
    Ok(())
}

/// Where training draws no random numbers, which are not the reference's.
#[test]
fn gradients_in_training() -> Result<()> {
    for entry in large() {
        if golden(entry.name)?.1["mode"] == "train" {
            gradients(&Case::new(entry, DType::F64)?, &Ctx::train(0), BATCH_GRADIENTS)?;
        }
    }
    Ok(())
}

#[test]
fn images_that_are_too_small_are_refused_with_the_least_size() -> Result<()> {
    for (name, least) in [("vgg11", 32), ("alexnet", 63), ("nin", 39), ("nin_cifar", 4)] {
        let entry = nn_vision::find(name).expect("a row of the zoo");
        let model = (entry.build)(ParamStore::blank().vb(DType::F32, &Device::Cpu), 10)?;
        let image = |side: usize| Tensor::zeros((1, 3, side, side), DType::F32, &Device::Cpu);
        assert_eq!(model.call(&image(least)?, &Ctx::eval())?.dims(), [1, 10], "{name}");
        let error = model.call(&image(least - 1)?, &Ctx::eval()).expect_err("a pixel too small").to_string();
        assert!(error.contains(&format!("at least {least}×{least}")), "{name}: {error}");
    }
    Ok(())
}

/// Dilation in place of strides keeps the maps large and changes no parameter.
#[test]
fn a_dilated_resnet_keeps_the_stride_of_its_second_stage() -> Result<()> {
    let cfg = ResNetConfig { reach: [Reach::Stride, Reach::Dilation, Reach::Dilation], ..RESNET50 };
    let (store, plain) = (ParamStore::blank(), ParamStore::blank());
    let model = ResNet::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
    ResNet::new(&RESNET50, plain.vb(DType::F32, &Device::Cpu))?;
    assert!(plain.compare(&store.tensors()).is_exact());
    let image = Tensor::zeros((1, 3, 65, 64), DType::F32, &Device::Cpu)?;
    let features = model.features(&image, &Ctx::eval())?;
    let shapes: Vec<&[usize]> = features.iter().map(Tensor::dims).collect();
    assert_eq!(shapes, [[1, 256, 17, 16], [1, 512, 9, 8], [1, 1024, 9, 8], [1, 2048, 9, 8]]);
    Ok(())
}
