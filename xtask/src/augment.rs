//! `augment`: what lines of a recipe's `[augment]` make of photos, as a page to look at.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::Tensor;
use nn_core::Random;
use nn_train::augment::{Augment, Fit};
use nn_train::data::{Dataset, Example, Image, Normalise, Prepared, Source, Target};
use nn_train::report::{self, PictureRow};

use crate::{data, output, recipe};

const EXAMPLES: &str = "Examples:
  cargo xtask augment ant.jpg bee.jpg
  cargo xtask augment ant.jpg --line 'elastic = { alpha = 200.0 }' --line 'blur = {}' --seed 3";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Photos; mixtures want two or more
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// A line as a recipe's table augment has it, once for each row [default: one for each there is]
    #[arg(long = "line", value_name = "TOML")]
    lines: Vec<String>,
    /// Height and width of the pictures
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(1..=1024))]
    size: u16,
    /// Pictures in a row
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    draws: u16,
    /// What is drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write the page
    #[arg(long, value_name = "FILE.html", default_value = "augment.html")]
    out: PathBuf,
}

/// A row for each augmentation, as strong as is usual or a little stronger.
const LINES: &[&str] = &[
    "resized_crop = { scale = [0.08, 1.0], ratio = [0.75, 1.3333] }",
    "crop = { padding = 40 }",
    "flip = { probability = 0.5 }",
    "rotation = { degrees = 30.0 }",
    "affine = { degrees = 20.0, translate = [0.1, 0.1], scale = [0.8, 1.2], shear = [15.0, 5.0], interpolation = \"bilinear\" }",
    "elastic = { alpha = 250.0, sigma = 6.0 }",
    "rand_augment = { operations = 2, magnitude = 15 }",
    "jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }",
    "grey = { probability = 0.5 }",
    "blur = { probability = 0.8, kernel = 23, sigma = [0.1, 3.0] }",
    "erasing = { probability = 0.9 }",
    "erasing = { probability = 0.9, fill = \"mean\" }",
    "mixup = { alpha = 1.0 }",
    "cutmix = { alpha = 1.0 }",
];

/// The photos, again and again, each a class of its own.
struct Photos {
    images: Vec<Image>,
    names: Vec<String>,
    len: usize,
}

impl Source for Photos {
    fn len(&self) -> usize {
        self.len
    }

    fn example(&self, index: usize) -> candle_core::Result<Example> {
        let which = index % self.images.len();
        Ok(Example { image: self.images[which].clone(), target: Target::Class(which as u32) })
    }

    fn classes(&self) -> &[String] {
        &self.names
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let photos: Vec<_> = args.photos.iter().map(|path| data::photo(path)).collect::<Result<_, _>>()?;
    let names = args.photos.iter().map(|path| path.display().to_string()).collect();
    let photos = Arc::new(Photos { images: photos, names, len: usize::from(args.draws) });
    let own: Vec<&str> = args.lines.iter().map(String::as_str).collect();
    let lines = if own.is_empty() { LINES } else { own.as_slice() };
    let rows = lines.iter().map(|line| row(line, args, Arc::clone(&photos))).collect::<Result<Vec<_>>>()?;
    report::write_pictures(&args.out, "Augmentations", &rows)?;
    output::note(format_args!("written to {}", args.out.display()));
    Ok(())
}

fn row(line: &str, args: &Args, photos: Arc<Photos>) -> Result<PictureRow> {
    let augment: Augment = recipe::parse(line, line)?;
    augment.check().with_context(|| format!("{line} cannot be followed"))?;
    let fit = Fit { size: [usize::from(args.size); 2], ..Fit::default() };
    let (indices, draws): (Vec<usize>, _) = ((0..photos.len()).collect(), Random::new(args.seed));
    let prepare = move |example, random| augment.apply(example, fit, random);
    // Bytes as they are.
    let plain = [Normalise { mean: 0.0, std: 1.0 / 255.0 }; 3];
    let batch = Prepared::new(photos, &plain, prepare)?.mixed(augment.mix())?.batch(&indices, draws)?;
    let pictures = (0..indices.len()).map(|n| picture(&batch.inputs.get(n)?)).collect::<Result<_>>()?;
    Ok(PictureRow { title: line.to_owned(), pictures })
}

fn picture(input: &Tensor) -> Result<Image> {
    let (c, h, w) = input.dims3()?;
    let bytes = input.flatten_all()?.to_vec1::<f32>()?.into_iter().map(|v| v.round() as u8).collect();
    Ok(Image::new(bytes, [c, h, w])?)
}
