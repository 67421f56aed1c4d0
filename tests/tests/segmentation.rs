//! Networks that name every pixel against torchvision: `tests/golden/vision.py` draws the same parameters and images.

use candle_core::{DType, Device, Result};
use nn_core::{Ctx, Layer, ParamStore, ops};
use nn_tests::golden;
use nn_tests::reference::{self, Pool, compare, compare_gradients, shapes};
use nn_vision::fcn_resnet::{AUXILIARY_WEIGHT, FCN_RESNET50, FCN_RESNET101, FcnResNet, FcnResNetConfig};

const MODELS: [(&str, FcnResNetConfig, usize); 2] =
    [("fcn_resnet50", FCN_RESNET50, 35_322_218), ("fcn_resnet101", FCN_RESNET101, 54_314_346)];

#[test]
fn names_scores_and_gradients_are_those_of_the_reference() -> Result<()> {
    for (name, cfg, parameters) in MODELS {
        let (tensors, about) = golden(name)?;
        for (dtype, mode) in [(DType::F32, Ctx::eval()), (DType::F64, Ctx::train(0))] {
            let store = ParamStore::blank();
            let cfg = FcnResNetConfig { dropout: 0.0, ..cfg };
            let model = FcnResNet::new(&cfg, store.vb(dtype, &Device::Cpu))?;
            let pool = Pool::default();
            pool.fill(&store, 1.0)?;
            let images = pool.draw("images", &[2, 3, 40, 56], [0.0, 1.0])?.to_dtype(dtype)?;
            if dtype == DType::F32 {
                assert_eq!(shapes(&store), reference::names_and_shapes(&about), "{name}");
                assert_eq!(store.parameter_count(), parameters, "{name}");
                assert_eq!(about["parameters"], parameters, "{name}");
                compare(&model.call(&images, &mode)?, &tensors["logits"], name, 1e-4)?;
                continue;
            }
            let labels = pool.labels(&[2, 40, 56], 21)?;
            let loss = |scores| ops::cross_entropy(scores, &labels, ops::Reduction::Mean);
            let scores = model.all_logits(&images, &mode)?;
            let loss = (loss(&scores[0])? + (loss(&scores[1])? * AUXILIARY_WEIGHT)?)?;
            compare_gradients(&loss, &store, &tensors["gradients"], name, 1e-6)?;
        }
    }
    Ok(())
}
