//! Colours and sizes of pictures against torchvision's on Pillow, kept in `tests/golden/augment.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Result, Tensor};
use nn_train::augment::{blend_brightness, blend_contrast, blend_saturation, shift_hue};
use nn_train::data::{Image, Resample};
use serde::Deserialize;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/augment.safetensors");

#[derive(Deserialize)]
struct About {
    factors: BTreeMap<String, Vec<f64>>,
    sizes: Vec<[usize; 2]>,
}

fn golden() -> Result<(BTreeMap<String, Tensor>, About)> {
    let path = Path::new(GOLDEN);
    let about = nn_core::weights::safetensors::metadata(path)?.remove("about").expect("its maker wrote it");
    Ok((nn_core::weights::safetensors::read(path)?, serde_json::from_str(&about).expect("factors and sizes")))
}

fn image(tensor: &Tensor) -> Result<Image> {
    let (c, h, w) = tensor.dims3()?;
    Image::new(tensor.flatten_all()?.to_vec1()?, [c, h, w])
}

/// The largest difference of a byte, and how many differ at all.
fn difference(ours: &Image, theirs: &Tensor) -> Result<(u8, usize)> {
    let theirs = image(theirs)?;
    assert_eq!(ours.size(), theirs.size());
    let differences = ours.pixels().iter().zip(theirs.pixels()).map(|(a, b)| a.abs_diff(*b));
    Ok((differences.clone().max().unwrap_or(0), differences.filter(|d| *d > 0).count()))
}

#[test]
fn colours_change_to_the_byte() -> Result<()> {
    let (tensors, about) = golden()?;
    for (name, factors) in &about.factors {
        for (i, &factor) in factors.iter().enumerate() {
            let mut ours = image(&tensors["picture"])?;
            match name.as_str() {
                "brightness" => blend_brightness(&mut ours, factor as f32),
                "contrast" => blend_contrast(&mut ours, factor as f32)?,
                "saturation" => blend_saturation(&mut ours, factor as f32)?,
                _ => shift_hue(&mut ours, factor)?,
            }
            assert_eq!(difference(&ours, &tensors[&format!("{name}.{i}")])?, (0, 0), "{name} {factor}");
        }
    }
    Ok(())
}

/// Within one level, where a rounding of the filter's weights decides; classes are looked up. Rows come before columns, as in
/// Pillow before 13, whatever the sizes.
#[test]
fn sizes_change_as_pillows_do() -> Result<()> {
    let (tensors, about) = golden()?;
    for (i, &size) in about.sizes.iter().enumerate() {
        let picture = || image(&tensors["picture"]);
        for (resample, name) in
            [(Resample::Bilinear, "bilinear"), (Resample::Bicubic, "bicubic"), (Resample::Nearest, "nearest")]
        {
            let ours = picture()?.resized(size, resample)?;
            let (most, _) = difference(&ours, &tensors[&format!("{name}.{i}")])?;
            assert!(most <= u8::from(resample != Resample::Nearest), "{name} {size:?}: {most}");
        }
    }
    Ok(())
}
