//! Where networks look is where PyTorch says they do, and on a photo of a dog it is the dog.

use candle_core::{DType, Device, Result, Tensor};
use nn_core::ParamStore;
use nn_core::testing::assert_close;
use nn_tests::{golden, real_data};
use nn_vision::explain::grad_cam;
use nn_vision::preprocess::{Channels, Picture};
use nn_vision::{Classifier, Network, Pretrained};

fn classifier(network: Network) -> Box<dyn Classifier> {
    match network {
        Network::Classifier(network) => network,
        _ => panic!("no classifier"),
    }
}

#[test]
fn grad_cam_is_what_pytorch_computes() -> Result<()> {
    let (tensors, _) = golden("explain")?;
    for name in ["cnn", "lenet5", "lenet5_relu"] {
        let entry = nn_vision::find(name).expect("a row of the zoo");
        let network = (entry.build)(ParamStore::new(1).vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let of = |what: &str| &tensors[&format!("{name}.{what}")];
        let class = of("class").to_scalar::<i64>()? as usize;
        let cam = grad_cam(classifier(network).as_ref(), of("image"), class)?;
        assert!(of("cam").max_all()?.to_scalar::<f32>()? > 0.0);
        assert_close(&cam, of("cam"), 0.0, 1e-6)?;
    }
    Ok(())
}

/// The dog's head and neck, as parts of height and width of what the network sees: a quarter of it.
const HEAD: [[f64; 2]; 2] = [[0.0, 0.58], [0.0, 0.43]];

#[test]
fn on_a_photo_of_a_dog_it_is_its_head() -> Result<()> {
    let weights = real_data("../weights/mobilenet_v2_imagenet_dequantized.safetensors");
    let (Some(photo), Some(weights)) = (real_data("photos/dog.jpg"), weights) else { return Ok(()) };
    let row = Pretrained::find("mobilenet_v2_imagenet_dequantized").expect("a row");
    let (_, network) = row.load(&weights, &Device::Cpu)?;
    let image = row.preprocessing.apply(&Picture::open(photo, Channels::Rgb)?)?.unsqueeze(0)?;
    let samoyed = row.labels.iter().position(|label| *label == "Samoyed").expect("a class");
    let cam = grad_cam(classifier(network).as_ref(), &image, samoyed)?;
    assert!(share(&cam, HEAD)? > 0.7, "{cam}");
    Ok(())
}

/// How much of a map lies in a part of it.
fn share(map: &Tensor, [rows, columns]: [[f64; 2]; 2]) -> Result<f64> {
    let map = map.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let within =
        |[from, to]: [f64; 2], i: usize, n: usize| (from..to).contains(&((i as f64 + 0.5) / n as f64));
    let (mut inside, mut all) = (0.0, 0.0);
    for (i, row) in map.iter().enumerate() {
        for (j, heat) in row.iter().enumerate() {
            all += heat;
            if within(rows, i, map.len()) && within(columns, j, row.len()) {
                inside += heat;
            }
        }
    }
    Ok(inside / all)
}
