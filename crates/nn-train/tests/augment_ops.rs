//! Augmentations with given parameters against torchvision's on Pillow's pictures, and mixed batches against torchvision's,
//! kept in `tests/golden/augment_ops.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Result, Tensor};
use nn_train::augment::{
    AffineMap, Interpolation, Mixing, Operation, affine, blur, elastic, erase, grey, rotate,
};
use nn_train::data::{Example, Image, Target};
use serde::Deserialize;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/augment_ops.safetensors");
const FILTERS: [(Interpolation, &str); 2] =
    [(Interpolation::Nearest, "nearest"), (Interpolation::Bilinear, "bilinear")];

/// Angle, translation, scale, shear.
type Affine = (f64, [f64; 2], f64, [f64; 2]);

#[derive(Deserialize)]
struct About {
    affine: Vec<Affine>,
    angles: Vec<f64>,
    blurs: Vec<(usize, f64)>,
    erased: Vec<[usize; 4]>,
    magnitudes: [usize; 2],
    share: f64,
    #[serde(rename = "box")]
    corners: [usize; 4],
}

struct Golden {
    tensors: BTreeMap<String, Tensor>,
    about: About,
}

impl Golden {
    fn read() -> Result<Self> {
        let path = Path::new(GOLDEN);
        let about =
            nn_core::weights::safetensors::metadata(path)?.remove("about").expect("its maker wrote it");
        let about = serde_json::from_str(&about).expect("parameters");
        Ok(Self { tensors: nn_core::weights::safetensors::read(path)?, about })
    }

    fn image(&self, name: &str) -> Result<Image> {
        let tensor = &self.tensors[name];
        let (c, h, w) = tensor.dims3()?;
        Image::new(tensor.flatten_all()?.to_vec1()?, [c, h, w])
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.tensors[name].flatten_all()?.to_vec1()
    }

    /// The largest difference of a byte from what torchvision made, and how many differ at all.
    fn difference(&self, ours: &Image, theirs: &str) -> Result<(u8, usize)> {
        let theirs = self.image(theirs)?;
        assert_eq!(ours.size(), theirs.size());
        let differences = ours.pixels().iter().zip(theirs.pixels()).map(|(a, b)| a.abs_diff(*b));
        Ok((differences.clone().max().unwrap_or(0), differences.filter(|d| *d > 0).count()))
    }
}

/// To the byte.
#[test]
fn pictures_move_as_torchvisions_do() -> Result<()> {
    let golden = Golden::read()?;
    let picture = golden.image("picture")?;
    for (interpolation, filter) in FILTERS {
        for (i, &(degrees, translate, scale, shear)) in golden.about.affine.iter().enumerate() {
            let map = AffineMap { degrees, translate, scale, shear };
            let name = format!("affine.{filter}.{i}");
            let moved = affine(&picture, map, interpolation, 0)?;
            assert_eq!(golden.difference(&moved, &name)?, (0, 0), "{name}");
        }
        for (i, &degrees) in golden.about.angles.iter().enumerate() {
            let name = format!("rotate.{filter}.{i}");
            let turned = rotate(&picture, degrees, interpolation, 0)?;
            assert_eq!(golden.difference(&turned, &name)?, (0, 0), "{name}");
        }
    }
    Ok(())
}

/// To the byte, because no mean of these lies on the border between two levels: torchvision's positions are rounded
/// otherwise than ours.
#[test]
fn pictures_bend_as_torchvisions_do() -> Result<()> {
    let golden = Golden::read()?;
    let picture = golden.image("picture")?;
    let [_, h, w] = picture.size();
    let field = golden.floats("displacement")?;
    let in_pixels =
        |values: &[f32], side: usize| -> Vec<f32> { values.iter().map(|v| v * side as f32 / 2.0).collect() };
    let (dx, dy) = (in_pixels(&field[..h * w], w), in_pixels(&field[h * w..], h));
    for (interpolation, filter) in FILTERS {
        let bent = elastic(&picture, [&dx, &dy], interpolation, 0)?;
        assert_eq!(golden.difference(&bent, &format!("elastic.{filter}"))?, (0, 0), "{filter}");
    }
    Ok(())
}

/// Greys and rectangles to the byte; blurs too, where no mean lies on the border between two levels: the sums of one in
/// rows and columns are rounded otherwise than torchvision's in squares.
#[test]
fn colours_go_as_torchvisions_do() -> Result<()> {
    let golden = Golden::read()?;
    let mut ours = golden.image("picture")?;
    grey(&mut ours)?;
    assert_eq!(golden.difference(&ours, "grey")?, (0, 0));
    for (i, &(kernel, sigma)) in golden.about.blurs.iter().enumerate() {
        let mut ours = golden.image("picture")?;
        blur(&mut ours, kernel, sigma);
        assert_eq!(golden.difference(&ours, &format!("blur.{i}"))?, (0, 0), "{kernel} {sigma}");
    }
    for (i, &[top, left, height, width]) in golden.about.erased.iter().enumerate() {
        let mut ours = golden.image("picture")?;
        erase(&mut ours, [top, left], [height, width], |channel| [7, 77, 177][channel]);
        assert_eq!(golden.difference(&ours, &format!("erase.{i}"))?, (0, 0), "{i}");
    }
    Ok(())
}

/// To the byte.
#[test]
fn operations_of_rand_augment_are_torchvisions() -> Result<()> {
    let golden = Golden::read()?;
    let image = golden.image("dull")?;
    let [_, h, w] = image.size();
    for operation in Operation::ALL {
        for (i, magnitude) in golden.about.magnitudes.into_iter().enumerate() {
            let strength = operation.strength(magnitude, [h, w]);
            let strength = if i == 1 && operation.has_two_ways() { -strength } else { strength };
            let example = Example { image: image.clone(), target: Target::Class(0) };
            let ours = operation.apply(example, strength, Interpolation::Nearest)?.image;
            let name = format!("{operation:?}.{i}");
            assert_eq!(golden.difference(&ours, &name)?, (0, 0), "{name}");
        }
    }
    Ok(())
}

/// To the bit.
#[test]
fn batches_are_mixed_as_torchvisions_are() -> Result<()> {
    let golden = Golden::read()?;
    let (_, c, h, w) = golden.tensors["batch"].dims4()?;
    let labels: Vec<u32> = golden.tensors["labels"].to_dtype(DType::U32)?.to_vec1()?;
    let [left, top, right, bottom] = golden.about.corners;
    let part = Mixing::Part([[top, bottom], [left, right]]);
    for (name, mixing) in [("mixup", Mixing::Mean(golden.about.share)), ("cutmix", part)] {
        let mut inputs = golden.floats("batch")?;
        let shares = mixing.apply(&mut inputs, [c, h, w], &labels, 3)?;
        assert_eq!(inputs, golden.floats(&format!("{name}.batch"))?, "{name}");
        assert_eq!(shares, golden.floats(&format!("{name}.labels"))?, "{name}");
    }
    Ok(())
}
