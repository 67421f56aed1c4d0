//! The most probable classes of picture files.
//!
//! A picture of any size is prepared as the training images were. Photos are resized, cropped and normalised as the source
//! of the weights says. All data sets of grey images show light things on black, so a picture whose edge is bright, ink
//! on paper, is turned over; one of the model's own size is taken as it is, of others a digit is placed as MNIST places
//! them, anything else fitted in with its proportions kept.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;
use nn_core::Random;
use nn_train::data::{Dataset, Example, ImageSet, Images, Target};
use nn_vision::preprocess::{Channels, Picture};

use crate::data::{self, DataName, photo};
use crate::failure::{self, failed};
use crate::model::{Model, inference};
use crate::subject::Subject;
use crate::task::{Pictures, Task};

use super::photo::Source;
use super::{Args, classes};

/// Prints what it can; files that are no pictures are reported together, as the error.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.sampling.refuse(Pictures::NAME)?;
    let (model, reader) = open(args)?;
    let labels = reader.labels();
    let (mut answers, mut bad) = (Vec::new(), Vec::new());
    for path in args.inputs.iter().map(Path::new) {
        match reader.read(path) {
            Ok(input) => {
                let probabilities = probabilities(&model, &input);
                let probabilities =
                    probabilities.with_context(|| format!("cannot classify {}", path.display()))?;
                let predictions = classes::best(&probabilities, &labels, args.top as usize);
                answers.push((path.display().to_string(), predictions));
            }
            Err(error) => bad.push(error),
        }
    }
    classes::print("file", &answers, args.format())?;
    let (count, all) = (bad.len(), args.inputs.len());
    match bad.into_iter().reduce(|all, next| failed(format!("{all}\n{next}"))) {
        None => Ok(()),
        Some(error) if all == 1 => Err(error),
        Some(error) => Err(error.context(format!("{count} of {all} files could not be read as pictures"))),
    }
}

/// The model with its weights, and how its pictures are read.
fn open(args: &Args) -> Result<(Model, Reader)> {
    let mut subject = Subject::<Pictures>::find(&args.subject, args.weights.as_deref())?;
    let device = args.device.open()?;
    let of_a_run = Path::new(&args.subject).is_dir();
    let name = &subject.recipe.model.name;
    let source = match args.data {
        None if !of_a_run => Source::find(name, args.source.as_deref(), &subject.weights)?,
        _ => None,
    };
    if let (Some(name), None) = (&args.source, &source) {
        return Err(failed(format!("--source {name}: {} was not trained on photos", args.subject)));
    }
    subject.choose_data(args.data, None)?;
    let (model, reader) = match source {
        Some(source) => {
            source.note();
            (source.build(&device)?, Reader::Photo(source))
        }
        None => {
            subject.follow_weights()?;
            let classes = subject.known()?;
            let plan = &subject.recipe.model;
            let model = plan.build(classes.len(), inference(), &device)?;
            let (data, size) = (subject.recipe.data.clone(), plan.input());
            (model, Reader::Like { data: Box::new(data), size, classes })
        }
    };
    model.load(&subject.weights)?;
    Ok((model, reader))
}

/// How a picture becomes an input.
enum Reader {
    /// As the weights' source says.
    Photo(Source),
    /// As the images of a data set are, `[C, H, W]`.
    Like { data: Box<data::Plan>, size: [usize; 3], classes: Vec<String> },
}

impl Reader {
    fn labels(&self) -> Vec<&str> {
        match self {
            Self::Photo(source) => source.labels().to_vec(),
            Self::Like { classes, .. } => classes.iter().map(String::as_str).collect(),
        }
    }

    /// `[1, C, H, W]`
    fn read(&self, path: &Path) -> Result<Tensor> {
        match self {
            Self::Photo(source) => source.read(path),
            Self::Like { data, size, classes } => {
                let images = Images { pixels: read_like(path, data, *size)?, size: *size };
                let set = ImageSet::new(images, vec![0], classes.clone(), &data.normalise())?;
                Ok(set.batch(&[0], Random::new(0))?.inputs)
            }
        }
    }
}

/// The picture as the training images are: their size, light on dark; `[C, H, W]`.
fn read_like(path: &Path, like: &data::Plan, size: [usize; 3]) -> Result<Vec<u8>> {
    let [c, h, w] = size;
    let read = || {
        if c == 3 {
            let example = Example { image: photo(path)?, target: Target::Class(0) };
            return Ok(like.fit(size).apply(example)?.image.pixels().to_vec());
        }
        let picture = Picture::open(path, Channels::of(c)?)?;
        let picture = match like.name {
            _ if picture.size() == [h, w] => picture.light_on_dark(),
            DataName::Digits | DataName::Mnist => picture.digit([h, w])?,
            _ => picture.fit([h, w])?.light_on_dark(),
        };
        Ok(picture.planes())
    };
    // The message alone: it names the file, and several are shown together.
    read().map_err(|e: candle_core::Error| failed(failure::without_backtrace(&e.to_string()).to_owned()))
}

/// Of each class, for the one image of the input.
fn probabilities(model: &Model, input: &Tensor) -> Result<Vec<f32>> {
    Ok(model.probabilities(input)?.squeeze(0)?.to_vec1()?)
}
