//! The large networks against torchvision and timm: `tests/golden/vision.py` draws the same parameters and images.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::testing::{assert_close, is_direct};
use nn_core::{Ctx, Layer, ParamStore};
use nn_tests::reference::{self, Pool, compare, compare_gradients, shapes};
use nn_tests::{golden, large, loss};
use nn_vision::googlenet::{GOOGLENET, GoogLeNet, GoogLeNetConfig};
use nn_vision::inception::{INCEPTION_V3, InceptionV3, InceptionV3Config};
use nn_vision::resnet::{RESNET50, Reach, ResNet, ResNetConfig};
use nn_vision::vit::{Pooling, VIT_T_16, Vit, VitConfig};
use nn_vision::{Classifier, Entry, Network};
use serde_json::Value;

const BATCH: usize = 4;

/// Outputs in f32 after up to 152 layers.
const OUTPUTS: f64 = 1e-4;
/// Gradients in evaluation, in f32.
const GRADIENTS: f64 = 1e-3;
/// Gradients through the statistics of batches, in f64: in f32 a rounding turns ReLUs on and off.
const BATCH_GRADIENTS: f64 = 1e-6;

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
        let vb = store.vb(dtype, &Device::Cpu);
        let steady = STEADY.iter().find(|(name, _)| *name == entry.name);
        let network = match steady {
            Some((_, build)) => build(vb),
            None => (entry.build)(vb, entry.num_classes),
        };
        let network = match network? {
            Network::Classifier(network) => network,
            _ => panic!("{} is no classifier", entry.name),
        };
        let pool = Pool::default();
        pool.fill(&store, gain)?;
        let images = pool.draw("images", &[BATCH, 3, size, size], [0.0, 1.0])?.to_dtype(dtype)?;
        let labels = pool.labels(&[BATCH], entry.num_classes.max(2))?;
        Ok(Self { name: entry.name, store, network, images, labels, tensors, about })
    }

    fn compare(&self, ours: &Tensor, what: &str) -> Result<()> {
        compare(ours, &self.tensors[what], &format!("{}: {what}", self.name), OUTPUTS)
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

fn names_and_shapes(case: &Case, entry: &Entry) {
    assert_eq!(shapes(&case.store), reference::names_and_shapes(&case.about), "{}", case.name);
    assert_eq!(case.store.parameter_count(), entry.parameters, "{}", case.name);
    assert_eq!(case.about["parameters"], entry.parameters, "{}", case.name);
}

fn features_embedding_and_logits(case: &Case) -> Result<()> {
    let ctx = Ctx::eval();
    let features = case.network.features(&case.images, &ctx)?;
    let sizes: Vec<Vec<usize>> = features.iter().map(|t| t.dims().to_vec()).collect();
    assert_eq!(case.about["features"], serde_json::json!(sizes), "{}", case.name);
    for (n, feature) in features.iter().enumerate() {
        case.compare(feature, &format!("features.{n}"))?;
    }
    let embedding = case.network.embed(&case.images, &ctx)?;
    assert_eq!(embedding.rank(), 2, "{}", case.name);
    case.compare(&embedding, "embedding")?;
    let logits = case.network.call(&case.images, &ctx)?;
    case.compare(&logits, "logits")
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
    let reached = seven.filter(|(_, var)| grads.get(var).is_some()).count(); // Weight and bias; auxiliary heads sleep.
    assert!(reached >= 2, "{}: the new head has no gradient", case.name);
    Ok(())
}

type Build = fn(VarBuilder) -> Result<Network>;

/// Networks with auxiliary heads, which run in training alone, and there without the dropout that is random.
const STEADY: [(&str, Build); 2] = [
    ("googlenet", |vb| {
        let cfg = GoogLeNetConfig { dropout: 0.0, auxiliary_dropout: 0.0, ..GOOGLENET };
        Ok(GoogLeNet::new(&cfg, vb)?.into())
    }),
    ("inception_v3", |vb| {
        Ok(InceptionV3::new(&InceptionV3Config { dropout: 0.0, ..INCEPTION_V3 }, vb)?.into())
    }),
];

fn gradients(case: &Case, ctx: &Ctx, tolerance: f64) -> Result<()> {
    let loss = loss(&case.network.all_logits(&case.images, ctx)?, &case.labels)?;
    compare_gradients(&loss, &case.store, &case.tensors["gradients"], case.name, tolerance)
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
    let least = [
        ("vgg11", 32),
        ("alexnet", 63),
        ("nin", 39),
        ("nin_cifar", 4),
        ("densenet121", 29),
        ("googlenet", 15),
        ("inception_v3", 75),
        ("vit_t_16", 16),
    ];
    for (name, least) in least {
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

/// No reference has this pooling with torchvision's names.
#[test]
fn a_vit_without_a_class_token_reads_the_mean_of_all_patches() -> Result<()> {
    let store = ParamStore::blank();
    let cfg = VitConfig { pooling: Pooling::Mean, ..VIT_T_16 };
    let model = Vit::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
    let pool = Pool::default();
    pool.fill(&store, 1.0)?;
    let images = pool.draw("images", &[2, 3, 32, 48], [0.0, 1.0])?;
    let patches = model.features(&images, &Ctx::eval())?.pop().expect("the last layer's");
    assert_eq!(patches.dims(), [2, 192, 2, 3]);
    assert_close(&model.embed(&images, &Ctx::eval())?, &patches.mean((2, 3))?, 1e-5, 1e-5)?;
    assert!(is_direct(&model.call(&images, &Ctx::train(1))?));
    Ok(())
}
