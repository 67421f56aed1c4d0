//! Pictures are what Pillow and torchvision make of them.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use nn_tests::{golden, real_data};
use nn_vision::preprocess::{Channels, Interpolation, Picture};

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    tensor.flatten_all()?.to_vec1()
}

/// The largest difference between two pictures of one size.
fn difference(ours: &[u8], reference: &[u8]) -> u8 {
    assert_eq!(ours.len(), reference.len());
    ours.iter().zip(reference).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_format_is_read_as_pillow_reads_it() -> Result<()> {
    let (tensors, _) = golden("formats")?;
    for name in tensors.keys().filter_map(|name| name.strip_suffix(".file")) {
        let reference = &tensors[&format!("{name}.pixels")];
        let picture = Picture::decode(&bytes(&tensors[&format!("{name}.file")])?, Channels::Rgb)?;
        assert_eq!(picture.size(), reference.dims()[..2], "{name}");
        let difference = difference(picture.pixels(), &bytes(reference)?);
        assert!(difference <= tolerance(name), "{name} differs by {difference}");
    }
    Ok(())
}

/// Lossy WebP leaves how colours are brought to full size to the reader.
fn tolerance(format: &str) -> u8 {
    match format {
        "webp_lossy" => 2,
        _ => 0,
    }
}

/// A preset, and of each picture a few pixels.
type Preset = (usize, usize, Interpolation, Vec<Vec<u8>>);

fn presets(tensors: &BTreeMap<String, Tensor>, about: &serde_json::Value) -> Result<Vec<Preset>> {
    let squares = &tensors["squares"]; // [presets, pictures, pixels, 3]
    let preset = |(i, preset): (usize, &serde_json::Value)| {
        let length = |n: usize| preset[n].as_u64().expect("a length") as usize;
        let interpolation = match preset[2].as_str() {
            Some("bilinear") => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        let pictures = squares.get(i)?;
        let pixels = (0..pictures.dim(0)?).map(|n| bytes(&pictures.get(n)?)).collect::<Result<_>>()?;
        Ok((length(0), length(1), interpolation, pixels))
    };
    about["presets"].as_array().expect("a list").iter().enumerate().map(preset).collect()
}

/// The same few pixels that the maker kept.
fn sketch(picture: &Picture, kept: usize) -> Vec<u8> {
    let pixels: Vec<&[u8]> = picture.pixels().chunks_exact(3).collect();
    (0..kept).flat_map(|n| pixels[n * 7919 % pixels.len()]).copied().collect()
}

/// The largest difference to the golden pixels of picture number `n`.
fn worst(picture: &Picture, presets: &[Preset], n: usize) -> Result<u8> {
    let mut worst = 0;
    for (shorter, crop, interpolation, pixels) in presets {
        let square = picture.resize_shorter(*shorter, *interpolation)?.crop([*crop; 2])?;
        worst = worst.max(difference(&sketch(&square, pixels[n].len() / 3), &pixels[n]));
    }
    Ok(worst)
}

/// As `drawn` in `tests/golden/preprocess.py`.
fn drawn([height, width]: [usize; 2]) -> Result<Picture> {
    let value = |y: usize, x: usize, c: usize| {
        ((3 * x * x + 5 * y * y + 7 * (c + 1) * x * y + 50 * c) / 16 % 256) as u8
    };
    let pixels = (0..height * width * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3)).collect();
    Picture::new(pixels, [height, width], Channels::Rgb)
}

#[test]
fn a_drawn_picture_is_resized_and_cropped_as_in_torchvision() -> Result<()> {
    let (tensors, about) = golden("preprocess")?;
    let presets = presets(&tensors, &about)?;
    for (n, size) in [[61, 83], [83, 61]].into_iter().enumerate() {
        let worst = worst(&drawn(size)?, &presets, n)?;
        assert!(worst <= 1, "{size:?} differs by {worst}");
    }
    Ok(())
}

#[test]
fn photos_are_resized_and_cropped_as_in_torchvision() -> Result<()> {
    let (tensors, about) = golden("preprocess")?;
    let presets = presets(&tensors, &about)?;
    for (n, name) in (2..).zip(about["photos"].as_array().expect("a list")) {
        let Some(path) = real_data(name.as_str().expect("a path")) else { return Ok(()) };
        let worst = worst(&Picture::open(&path, Channels::Rgb)?, &presets, n)?;
        assert!(worst <= 1, "{} differs by {worst}", path.display());
    }
    Ok(())
}
