//! `explain`: where in a picture a network looked for its answer, as a map of heat over the picture.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use image::{ImageFormat, RgbImage};
use nn_core::{Ctx, Layer, atomic_file, ops};
use nn_vision::explain::{attention_rollout, grad_cam};
use nn_vision::preprocess::{Channels, Interpolation, Picture, Preprocessing};
use nn_vision::{Network, Pretrained};
use serde_json::json;

use crate::device::DeviceName;
use crate::failure::{self, Advise, failed};
use crate::output;
use crate::predict::photo::Source;
use crate::{fetch, model::Model};

const EXAMPLES: &str = "Examples:
  cargo xtask explain resnet50 dog.jpg
  cargo xtask explain mobilenet_v2 dog.jpg --weights my-mobilenet_v2.safetensors --class Samoyed --out why.png";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A classifier of photos, see `cargo xtask list models`
    model: String,
    /// The picture
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Weights of any format [default: the published ones, fetched]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Where the weights come from, see `cargo xtask list pretrained` [default: told by the file's name or content]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The class to explain, by its name or number [default: the most probable]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Picture to make, a PNG; one that exists is written over
    #[arg(long, value_name = "PNG", default_value = "explain.png")]
    out: PathBuf,
    /// Where to compute
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    device: DeviceName,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    check_out(args)?;
    let weights = match &args.weights {
        Some(weights) => weights.clone(),
        None => published(args)?,
    };
    let source = Source::find(&args.model, args.source.as_deref(), &weights)?
        .with_context(|| format!("{} is no network for photos", args.model))
        .advise("`cargo xtask list models` shows which take 3 channels")?;
    source.note();
    let model = source.build(&args.device.open()?)?;
    model.load(&weights)?;
    let image = source.read(&args.image)?.to_device(&model.device)?;
    let logits = model.layer.call(&image, &Ctx::eval())?;
    let probabilities = ops::softmax(&logits, 1)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let class = class(args.class.as_deref(), &probabilities, source.labels())?;
    let (method, heat) = explain(&model, &image, class)?;
    let picture = Picture::open(&args.image, Channels::Rgb)?;
    let (mut png, map) = (Cursor::new(Vec::new()), overlay(&picture, &source.preprocessing(), &heat)?);
    map.write_to(&mut png, ImageFormat::Png)?;
    atomic_file::write(&args.out, |w| w.write_all(png.get_ref()))?;
    let (label, probability) = (source.labels()[class], probabilities[class]);
    if args.json {
        return output::json(&json!({
            "image": args.image, "class": class, "label": label, "probability": probability, "method": method, "file": args.out,
        }));
    }
    output::line(format_args!("{}: {label}, {:.1} %, by {method}", args.out.display(), 100.0 * probability))
}

/// The picture itself is not the place for what is drawn over it, nor is a file of another kind.
fn check_out(args: &Args) -> Result<()> {
    let out = args.out.display();
    if !args.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
        return Err(failed(format!("{out} is not called as a PNG file"))).advise("let --out end in .png");
    }
    let same = |path: &Path| path.canonicalize().ok();
    if same(&args.out).is_some_and(|out| Some(out) == same(&args.image)) {
        return Err(failed(format!("{out} is the picture itself"))).advise("give another name with --out");
    }
    Ok(())
}

/// The first weights known of the model, from the cache or the net.
fn published(args: &Args) -> Result<PathBuf> {
    let mut rows = Pretrained::of(&args.model);
    let row = rows.find(|row| args.source.as_deref().is_none_or(|name| name == row.name));
    let row = row.ok_or_else(|| failed(format!("no trained weights of {} are known", args.model)));
    fetch::file(row.advise("give --weights")?)
}

/// The number of a class that is called by its name or its number; the most probable, if by neither.
fn class(name: Option<&str>, probabilities: &[f32], labels: &[&'static str]) -> Result<usize> {
    let Some(name) = name else {
        let classes = probabilities.iter().enumerate();
        let best = classes.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(class, _)| class);
        return best.ok_or_else(|| failed("the network has no classes"));
    };
    let named = labels.iter().position(|label| label.eq_ignore_ascii_case(name));
    let found =
        named.or_else(|| name.parse().ok()).filter(|class| *class < labels.len().min(probabilities.len()));
    found.ok_or_else(|| failure::unknown("class", name, labels))
}

/// How it was found out, and the map, `[h, w]`.
fn explain(model: &Model, image: &Tensor, class: usize) -> Result<(&'static str, Tensor)> {
    let Network::Classifier(network) = &model.layer else {
        return Err(failed("only networks that name what is in a picture can be explained"));
    };
    if let Ok(map) = attention_rollout(&model.layer, &model.store, image) {
        return Ok(("attention rollout, of whatever class", map));
    }
    Ok(("Grad-CAM", grad_cam(network.as_ref(), image, class)?))
}

/// How many times as large as what the network sees.
const SCALE: usize = 2;

/// The part of the picture that the network saw, under the map: the hotter, the more of the colour.
fn overlay(picture: &Picture, preprocessing: &Preprocessing, heat: &Tensor) -> Result<RgbImage> {
    let side = SCALE * preprocessing.crop;
    let shorter = SCALE * preprocessing.shorter_side;
    let seen = picture.resize_shorter(shorter, preprocessing.interpolation)?.crop([side; 2])?;
    let heat = levels(heat)?.resize([side; 2], Interpolation::Bilinear)?;
    let mut image = RgbImage::new(side as u32, side as u32);
    for ((pixel, seen), &heat) in image.pixels_mut().zip(seen.pixels().chunks_exact(3)).zip(heat.pixels()) {
        let heat = f32::from(heat) / 255.0;
        let colour = [255.0, 255.0 * heat * heat, 0.0];
        let opacity = 0.75 * heat;
        for (channel, (&seen, colour)) in pixel.0.iter_mut().zip(seen.iter().zip(colour)) {
            *channel = (f32::from(seen) * (1.0 - opacity) + colour * opacity).round() as u8;
        }
    }
    Ok(image)
}

/// A map as a grey picture, its lowest number black and its highest white.
fn levels(heat: &Tensor) -> Result<Picture> {
    let (h, w) = heat.dims2()?;
    let heat = heat.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let lowest = heat.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = heat.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = (highest - lowest).max(f32::MIN_POSITIVE);
    let grey = heat.iter().map(|x| ((x - lowest) / range * 255.0).round() as u8).collect();
    Ok(Picture::new(grey, [h, w], Channels::Grey)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn classes_are_called_by_name_or_number() -> Result<()> {
        let labels = ["cat", "dog", "7"];
        let class = |name| class(name, &[0.2, 0.7, 0.1], &labels);
        assert_eq!([class(None)?, class(Some("Cat"))?, class(Some("1"))?, class(Some("7"))?], [1, 0, 1, 2]);
        let error = failure::report(&class(Some("dot")).expect_err("no such class"));
        assert!(error.contains("no class `dot`") && error.contains("did you mean `dog`?"), "{error}");
        assert!(class(Some("3")).is_err());
        Ok(())
    }

    #[test]
    fn the_hottest_place_is_yellow_and_the_coldest_is_the_picture() -> Result<()> {
        let picture = Picture::new([20, 40, 60].repeat(16), [4, 4], Channels::Rgb)?;
        let heat = Tensor::new(&[[0f32, 0.0], [0.0, 3.0]], &Device::Cpu)?;
        let preset = Preprocessing { shorter_side: 4, crop: 4, ..nn_vision::preprocess::IMAGENET };
        let image = overlay(&picture, &preset, &heat)?;
        assert_eq!(image.dimensions(), (8, 8));
        assert_eq!(image.get_pixel(0, 0).0, [20, 40, 60]);
        assert_eq!(image.get_pixel(7, 7).0, [196, 201, 15]);
        let flat = overlay(&picture, &preset, &Tensor::ones((2, 2), DType::F32, &Device::Cpu)?)?;
        assert_eq!(flat.get_pixel(3, 3).0, [20, 40, 60]);
        Ok(())
    }
}
