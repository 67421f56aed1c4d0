//! Networks that name every pixel against PyTorch: `tests/golden/vision.py` draws the same parameters and images.

use candle_core::{DType, Device, Result};
use nn_core::testing::randn;
use nn_core::{Ctx, Layer, ParamStore, ops};
use nn_tests::golden;
use nn_tests::reference::{self, Pool, compare, compare_gradients, shapes};
use nn_vision::backbone::Stage;
use nn_vision::fcn::{FCN8S, FCN8S_SMALL, FCN16S, FCN32S, Fcn, FcnConfig};
use nn_vision::fcn_resnet::{FCN_RESNET50, FCN_RESNET101, FcnResNet, FcnResNetConfig};
use nn_vision::mobilenet_v2::{MOBILENET_V2, MobileNetV2};
use nn_vision::vgg::{VGG16, Vgg, VggConfig};
use nn_vision::vit::{VIT_T_16, Vit};
use nn_vision::{Backbone, Entry, Network, Segmenter, total_loss};

/// Those whose zoo row drops numbers in training, without that.
fn steady(name: &str, vb: candle_nn::VarBuilder<'static>) -> Result<Box<dyn Segmenter>> {
    let on_vgg = |cfg: FcnConfig, vb| {
        let body = VggConfig { hidden: 1, num_classes: 1, ..VGG16 };
        Ok(Box::new(Fcn::new(&FcnConfig { dropout: 0.0, ..cfg }, |vb| Vgg::new(&body, vb), vb)?)
            as Box<dyn Segmenter>)
    };
    let on_resnet = |cfg: FcnResNetConfig, vb| {
        Ok(Box::new(FcnResNet::new(&FcnResNetConfig { dropout: 0.0, ..cfg }, vb)?) as Box<dyn Segmenter>)
    };
    match name {
        "fcn32s_vgg16" => on_vgg(FCN32S, vb),
        "fcn16s_vgg16" => on_vgg(FCN16S, vb),
        "fcn8s_vgg16" => on_vgg(FCN8S, vb),
        "fcn_mobilenet_v2" => {
            let cfg = FcnConfig { dropout: 0.0, ..FCN8S_SMALL };
            Ok(Box::new(Fcn::new(&cfg, |vb| MobileNetV2::new(&MOBILENET_V2, vb), vb)?))
        }
        "fcn_resnet50" => on_resnet(FCN_RESNET50, vb),
        "fcn_resnet101" => on_resnet(FCN_RESNET101, vb),
        _ => panic!("{name} is a new segmenter: say how it is built without dropout"),
    }
}

#[test]
fn names_scores_and_gradients_are_those_of_the_reference() -> Result<()> {
    for entry in nn_vision::segmenters() {
        evaluation_is_the_references(entry)?;
        gradients_are_the_references(entry)?;
    }
    Ok(())
}

fn evaluation_is_the_references(entry: &Entry) -> Result<()> {
    let (name, (tensors, about)) = (entry.name, golden(entry.name)?);
    let store = ParamStore::blank();
    let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
    assert!(matches!(model, Network::Segmenter(_)), "{name}");
    assert_eq!(shapes(&store), reference::names_and_shapes(&about), "{name}");
    assert_eq!(store.parameter_count(), entry.parameters, "{name}");
    assert_eq!(about["parameters"], entry.parameters, "{name}");
    let pool = Pool::default();
    pool.fill(&store, 1.0)?;
    let images = pool.draw("images", &[2, 3, 40, 56], [0.0, 1.0])?;
    compare(&model.call(&images, &Ctx::eval())?, &tensors["logits"], name, 1e-4)
}

fn gradients_are_the_references(entry: &Entry) -> Result<()> {
    let (name, (tensors, about)) = (entry.name, golden(entry.name)?);
    let store = ParamStore::blank();
    let model = steady(name, store.vb(DType::F64, &Device::Cpu))?;
    let pool = Pool::default();
    pool.fill(&store, 1.0)?;
    let images = pool.draw("images", &[2, 3, 40, 56], [0.0, 1.0])?.to_dtype(DType::F64)?;
    let labels = pool.labels(&[2, 40, 56], 21)?;
    let ctx = if about["mode"] == "train" { Ctx::train(0) } else { Ctx::eval() };
    let scores = model.all_logits(&images, &ctx)?;
    let loss = total_loss(&scores, |scores| ops::cross_entropy(scores, &labels, ops::Reduction::Mean))?;
    compare_gradients(&loss, &store, &tensors["gradients"], name, 1e-6)
}

/// Every classifier whose maps halve is a backbone.
#[test]
fn backbones_have_no_parameters_but_those_of_their_features() -> Result<()> {
    for entry in nn_vision::classifiers().filter(|entry| entry.input[0] == 3 && entry.parameters < 30_000_000)
    {
        let build = |vb: candle_nn::VarBuilder<'static>| match (entry.build)(vb, 10)? {
            Network::Classifier(network) => Ok(network),
            _ => candle_core::bail!("{} is no classifier", entry.name),
        };
        let store = ParamStore::blank();
        let backbone = Backbone::new(3, build, store.vb(DType::F32, &Device::Cpu))?;
        let whole = ParamStore::blank();
        (entry.build)(whole.vb(DType::F32, &Device::Cpu), 10)?;
        assert!(store.parameter_count() < whole.parameter_count(), "{}: the head is still there", entry.name);
        let maps = backbone.features(&randn(1, (1, 3, 128, 128))?.to_dtype(DType::F32)?, &Ctx::eval())?;
        for (map, &Stage { channels, stride }) in maps.iter().zip(backbone.stages()) {
            let (_, c, h, _) = map.dims4()?;
            // Inception's first convolutions have no padding.
            let whole = 128 / stride;
            assert!(
                c == channels && h <= whole && h + 4 >= whole,
                "{}: {channels}, {stride}, {h}",
                entry.name
            );
        }
    }
    Ok(())
}

#[test]
fn backbones_without_the_maps_it_takes_are_refused() {
    let vb = || ParamStore::blank().vb(DType::F32, &Device::Cpu);
    let on_vit = |stride| {
        let cfg = FcnConfig { stride, ..FCN8S_SMALL };
        Fcn::new(&cfg, |vb| Vit::new(&VIT_T_16, vb), vb()).err().expect("no such map").to_string()
    };
    assert!(on_vit(8).contains("a map at stride 8"), "{}", on_vit(8));
    assert!(on_vit(12).contains("got 12"), "{}", on_vit(12));
}
