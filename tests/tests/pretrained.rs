//! Trained weights of others on real pictures: as many right answers as the original gives, or the same answers.
//!
//! The files are not part of the repository; where they are absent the tests say so and pass.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Result, Tensor};
use nn_core::weights::WeightFile;
use nn_core::{Ctx, Layer, ParamStore};
use nn_layers::Padding;
use nn_tests::real_data;
use nn_vision::mobilenet_v2::{MOBILENET_V2, MobileNetV2, MobileNetV2Config};
use nn_vision::preprocess::{Channels, Picture, Preprocessing};
use nn_vision::{Network, Pretrained};

/// Data and weights lie side by side.
fn shared(data: &str, weights: &str) -> Option<[PathBuf; 2]> {
    Some([real_data(data)?, real_data(&format!("../weights/{weights}"))?])
}

/// The row the weights of `model` are known to come from, and its network with parameters that are not loaded yet.
fn source(model: &str, weights: &Path) -> Result<(&'static Pretrained, ParamStore, Network)> {
    let row = Pretrained::identify(model, weights)?.expect("a row of the table");
    let build = row.build.or(nn_vision::find(model).map(|entry| entry.build)).expect("a model of the zoo");
    let store = ParamStore::blank();
    let network = build(store.vb(DType::F32, &Device::Cpu), row.labels.len())?;
    Ok((row, store, network))
}

/// The likeliest class of each image of `[N, 3, H, W]`, ten at a time.
fn classes(model: &dyn Layer, images: &Tensor) -> Result<Vec<u32>> {
    let mut classes = Vec::new();
    for start in (0..images.dim(0)?).step_by(10) {
        let logits = model.call(&images.narrow(0, start, 10)?, &Ctx::eval())?;
        classes.extend(logits.argmax(D::Minus1)?.to_vec1::<u32>()?);
    }
    Ok(classes)
}

/// From PyTorch's file as its author wrote it.
#[test]
fn cifar_resnet20_gives_915_of_1000_records() -> Result<()> {
    const RECORD: usize = 1 + 3 * 32 * 32;
    let Some([data, weights]) = shared("cifar10/test_batch.bin", "resnet20-12fca82f.th") else {
        return Ok(());
    };
    let (row, store, model) = source("cifar_resnet20", &weights)?;
    // The file is older than PyTorch's counters of batches.
    let report = store.load(weights)?;
    assert!(report.missing.iter().all(|name| name.ends_with("num_batches_tracked")), "{report}");
    let records = fs::read(data)?;
    let records: Vec<&[u8]> = records.chunks_exact(RECORD).collect();
    let image = |record: &&[u8]| row.preprocessing.apply(&picture(&record[1..])?);
    let images = Tensor::stack(&records.iter().map(image).collect::<Result<Vec<_>>>()?, 0)?;
    let classes = classes(&model, &images)?;
    let right = classes.iter().zip(&records).filter(|(class, record)| **class == u32::from(record[0]));
    assert_eq!([right.count(), records.len()], [915, 1000]);
    Ok(())
}

/// A record of CIFAR-10, whose colours are apart, `[3, 32, 32]`.
fn picture(planes: &[u8]) -> Result<Picture> {
    let pixels = (0..32 * 32).flat_map(|i| [0, 1, 2].map(|c| planes[c * 32 * 32 + i])).collect();
    Picture::new(pixels, [32, 32], Channels::Rgb)
}

/// The photos in the order of the files' names.
fn photos(folder: PathBuf, preprocessing: &Preprocessing) -> Result<Tensor> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let image = |file| preprocessing.apply(&Picture::open(file, Channels::Rgb)?);
    Tensor::stack(&files.into_iter().map(image).collect::<Result<Vec<_>>>()?, 0)
}

/// What torchvision's `mobilenet_v2` makes of the same weights and photos, padded each way.
const MOBILENET_V2_SAME: [u32; 40] = [
    12, 37, 62, 87, 112, 137, 166, 187, 210, 237, 262, 287, 312, 337, 362, 387, 518, 437, 462, 487, 512, 537,
    562, 422, 612, 637, 681, 687, 712, 737, 762, 787, 812, 837, 862, 617, 912, 937, 962, 998,
];
const MOBILENET_V2_SYMMETRIC: [u32; 40] = [
    12, 37, 62, 87, 112, 137, 162, 187, 210, 237, 262, 287, 312, 337, 362, 387, 518, 437, 462, 590, 512, 537,
    562, 921, 612, 637, 681, 687, 712, 737, 762, 787, 812, 837, 456, 617, 520, 937, 937, 998,
];

#[test]
fn mobilenet_v2_names_the_photos_as_torchvision_does() -> Result<()> {
    let Some([data, weights]) = shared("imagenet-sample", "mobilenet_v2_imagenet_dequantized.safetensors")
    else {
        return Ok(());
    };
    let (row, store, network) = source("mobilenet_v2", &weights)?;
    store.load(&weights)?;
    let images = photos(data, &row.preprocessing)?;
    assert_eq!(classes(&network, &images)?, MOBILENET_V2_SAME);
    let store = ParamStore::blank();
    let cfg = MobileNetV2Config { padding: Padding::Symmetric([1, 1]), ..MOBILENET_V2 };
    let network = MobileNetV2::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
    store.load(&weights)?;
    assert_eq!(classes(&network, &images)?, MOBILENET_V2_SYMMETRIC);
    Ok(())
}

#[test]
fn mobilenet_v2_sees_a_samoyed() -> Result<()> {
    let Some([photo, weights]) = shared("photos/dog.jpg", "mobilenet_v2_imagenet_dequantized.safetensors")
    else {
        return Ok(());
    };
    let (row, store, network) = source("mobilenet_v2", &weights)?;
    store.load(&weights)?;
    let image = row.preprocessing.apply(&Picture::open(photo, Channels::Rgb)?)?.unsqueeze(0)?;
    let class = network.call(&image, &Ctx::eval())?.argmax(D::Minus1)?.to_vec1::<u32>()?[0];
    assert_eq!(row.labels[class as usize], "Samoyed");
    Ok(())
}

/// What timm's MobileNetV1 ×0.25 with plain ReLU makes of the same weights and photos.
const MOBILENET_V1_QUARTER: [u32; 40] = [
    12, 35, 54, 87, 112, 136, 161, 187, 171, 237, 262, 272, 312, 294, 362, 387, 787, 442, 587, 590, 512, 537,
    843, 254, 603, 637, 681, 687, 739, 737, 762, 787, 812, 770, 909, 617, 698, 937, 809, 794,
];

#[test]
fn mobilenet_v1_names_the_photos_as_timm_does() -> Result<()> {
    let Some([data, weights]) = shared("imagenet-sample", "mobilenet_v1_0.25_imagenet.pth.tar") else {
        return Ok(());
    };
    let (row, store, network) = source("mobilenet_v1_0.25", &weights)?;
    let mut file = WeightFile::open(weights)?;
    assert_eq!(nn_vision::native(&mut file), Some("RetinaFace"));
    store.load_file(&file)?;
    assert_eq!(classes(&network, &photos(data, &row.preprocessing)?)?, MOBILENET_V1_QUARTER);
    Ok(())
}
