//! Trained weights of others on real pictures: as many right answers as the original gives, or the same answers.
//!
//! The files are not part of the repository; where they are absent the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{D, DType, Device, Result, Tensor};
use nn_core::weights::safetensors;
use nn_core::{Ctx, Layer, ParamStore};
use nn_layers::{Activation, Padding};
use nn_vision::cifar_resnet::{CIFAR_RESNET20, CifarResNet};
use nn_vision::mobilenet_v1::{MOBILENET_V1, MobileNetV1, MobileNetV1Config};
use nn_vision::mobilenet_v2::{MOBILENET_V2, MobileNetV2, MobileNetV2Config};
use nn_vision::preprocess::{Channels, Picture};

/// `[mean, deviation]` of each channel.
type Normalise = [[f32; 3]; 2];

const IMAGENET: Normalise = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const HALF: Normalise = [[0.5; 3]; 2];

/// Data and weights lie side by side.
fn shared(data: &str, weights: &str) -> Option<[PathBuf; 2]> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = std::env::var_os("NN_DATA_DIR").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let paths = [root.join(data), root.join("../weights").join(weights)];
    match paths.iter().find(|path| !path.exists()) {
        None => Some(paths),
        Some(path) => {
            eprintln!("skipped: there is no {}", path.display());
            None
        }
    }
}

/// Planes of bytes as normalised numbers.
fn normalised(planes: &[u8], [mean, deviation]: Normalise) -> Vec<f32> {
    let one = |(n, &byte): (usize, &u8)| {
        let channel = n * 3 / planes.len();
        (f32::from(byte) / 255.0 - mean[channel]) / deviation[channel]
    };
    planes.iter().enumerate().map(one).collect()
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

#[test]
fn cifar_resnet20_gives_915_of_1000_records() -> Result<()> {
    const RECORD: usize = 1 + 3 * 32 * 32;
    let Some([data, weights]) = shared("cifar10/test_batch.bin", "resnet20_cifar10.safetensors") else {
        return Ok(());
    };
    let store = ParamStore::blank();
    let model = CifarResNet::new(&CIFAR_RESNET20, store.vb(DType::F32, &Device::Cpu))?;
    // The file is older than PyTorch's counters of batches.
    let report = store.load_matching(weights)?;
    assert!(report.missing.iter().all(|name| name.ends_with("num_batches_tracked")), "{report}");
    assert!(report.mismatched.is_empty() && report.unexpected.is_empty(), "{report}");
    let records = fs::read(data)?;
    let records: Vec<&[u8]> = records.chunks_exact(RECORD).collect();
    let pixels: Vec<f32> = records.iter().flat_map(|record| normalised(&record[1..], IMAGENET)).collect();
    let images = Tensor::from_vec(pixels, (records.len(), 3, 32, 32), &Device::Cpu)?;
    let classes = classes(&model, &images)?;
    let right = classes.iter().zip(&records).filter(|(class, record)| **class == u32::from(record[0]));
    assert_eq!([right.count(), records.len()], [915, 1000]);
    Ok(())
}

/// The middle 224×224 pixels of each photo, whose shorter side is 256, in the order of the files' names.
fn photos(folder: PathBuf, normalise: Normalise) -> Result<Tensor> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut images = Vec::new();
    for file in files {
        let picture = Picture::open(file, Channels::Rgb)?;
        let [height, width] = picture.size();
        assert_eq!(height.min(width), 256);
        let planes = Tensor::from_vec(picture.planes(), (3, height, width), &Device::Cpu)?;
        let [top, left] = [height, width].map(|side| ((side - 224) as f64 / 2.0).round_ties_even() as usize);
        let middle = planes.narrow(1, top, 224)?.narrow(2, left, 224)?.flatten_all()?.to_vec1::<u8>()?;
        images.push(Tensor::from_vec(normalised(&middle, normalise), (3, 224, 224), &Device::Cpu)?);
    }
    Tensor::stack(&images, 0)
}

/// Demands the reference's answers, but for at most `ties` photos whose two likeliest classes it finds as likely:
/// decoders of JPEG differ by a level.
fn agree(ours: &[u32], reference: &[u32], ties: usize) {
    let others = ours.iter().zip(reference).filter(|(ours, reference)| ours != reference);
    assert!(ours.len() == reference.len() && others.count() <= ties, "{ours:?} are not {reference:?}");
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
    let images = photos(data, HALF)?;
    let answers =
        [(Padding::Same, MOBILENET_V2_SAME, 1), (Padding::Symmetric([1, 1]), MOBILENET_V2_SYMMETRIC, 0)];
    for (padding, reference, ties) in answers {
        let store = ParamStore::blank();
        let cfg = MobileNetV2Config { padding, ..MOBILENET_V2 };
        let model = MobileNetV2::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
        store.load(&weights)?;
        agree(&classes(&model, &images)?, &reference, ties);
    }
    Ok(())
}

/// What timm's MobileNetV1 ×0.25 with plain ReLU makes of the same weights and photos.
const MOBILENET_V1_QUARTER: [u32; 40] = [
    12, 35, 54, 87, 112, 136, 161, 187, 171, 237, 262, 272, 312, 294, 362, 387, 787, 442, 587, 590, 512, 537,
    843, 254, 603, 637, 681, 687, 739, 737, 762, 787, 812, 770, 909, 617, 698, 937, 809, 794,
];

#[test]
fn mobilenet_v1_names_the_photos_as_timm_does() -> Result<()> {
    let Some([data, weights]) = shared("imagenet-sample", "mobilenet_v1_0.25_imagenet.safetensors") else {
        return Ok(());
    };
    let store = ParamStore::blank();
    let cfg = MobileNetV1Config { width: 0.25, activation: Activation::Relu, ..MOBILENET_V1 };
    let model = MobileNetV1::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
    let tensors = safetensors::read(&weights)?;
    let renamed: BTreeMap<String, Tensor> =
        tensors.into_iter().map(|(name, t)| (timm_name(&name), t)).collect();
    store.set(&renamed)?;
    agree(&classes(&model, &photos(data, IMAGENET)?)?, &MOBILENET_V1_QUARTER, 2);
    Ok(())
}

/// The file's layers are numbered `stageS.B.L`: the stem is block 0 of stage 1, and a block's layers 0, 1, 3, 4.
fn timm_name(name: &str) -> String {
    /// Of the blocks after the stem, in the order of the file.
    const BLOCKS: [&str; 13] =
        ["0.0", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "4.0", "4.1"];
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["stage1", "0", "0", last] => format!("conv_stem.{last}"),
        ["stage1", "0", "1", last] => format!("bn1.{last}"),
        ["fc", last] => format!("classifier.{last}"),
        [stage, block, layer, last] => {
            let before = match stage {
                "stage1" => 0,
                "stage2" => 6,
                _ => 12,
            };
            let block = before + block.parse::<usize>().expect("a number") - 1;
            let layer = match layer {
                "0" => "conv_dw",
                "1" => "bn1",
                "3" => "conv_pw",
                _ => "bn2",
            };
            format!("blocks.{}.{layer}.{last}", BLOCKS[block])
        }
        _ => name.to_owned(),
    }
}
