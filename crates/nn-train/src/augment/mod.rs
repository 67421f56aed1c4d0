//! More pictures of those that there are: crops, flips, maps, colours, mixtures; a mask moves with its picture.
//!
//! Each is a struct of options and an `apply` that draws from the place it is given, so what becomes of an example
//! depends on seed, epoch and index alone. [`Augment`] is all of them in the usual order. Beside most stands a function
//! that does the same by numbers that are given.

mod affine;
mod blur;
mod crop;
mod elastic;
mod erasing;
mod fit;
mod flip;
mod grey;
mod jitter;
mod mix;
mod rand_augment;
mod resized_crop;
mod rotation;
mod tone;
mod warp;

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use crate::data::Example;

pub use affine::{AffineMap, RandomAffine, affine};
pub use blur::{GaussianBlur, blur};
pub use crop::RandomCrop;
pub use elastic::{Elastic, elastic};
pub use erasing::{Fill, RandomErasing, erase};
pub use fit::Fit;
pub use flip::HorizontalFlip;
pub use grey::{RandomGrey, grey};
pub use jitter::{ColourJitter, blend_brightness, blend_contrast, blend_saturation, shift_hue};
pub use mix::{Cutmix, Mix, Mixing, Mixup};
pub use rand_augment::{Operation, RandAugment};
pub use resized_crop::RandomResizedCrop;
pub use rotation::{Rotation, rotate};
pub use tone::{autocontrast, equalize, posterize, sharpen, solarize};
pub use warp::Interpolation;

/// What is done to a training picture: a random resized crop, or else a fit; then what else there is, from above to below.
/// What is absent is left out; by default everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// A part of random size and proportions, stretched to the size asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resized_crop: Option<RandomResizedCrop>,
    /// Turned by a random angle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Turned, moved, enlarged and sheared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affine: Option<RandomAffine>,
    /// Bent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elastic: Option<Elastic>,
    /// Moved by up to so many pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
    /// Mirrored at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<HorizontalFlip>,
    /// A few of fourteen operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Brightness, contrast, saturation and hue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ColourJitter>,
    /// Without colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grey: Option<RandomGrey>,
    /// Blurred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur: Option<GaussianBlur>,
    /// A rectangle taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasing: Option<RandomErasing>,
    /// Batches whose pictures are means of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
    /// Batches whose pictures have a rectangle of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<Cutmix>,
}

impl Augment {
    /// # Errors
    /// If an option is out of range; the message gives the range.
    pub fn check(&self) -> Result<()> {
        fn of<T>(option: &Option<T>, check: impl Fn(&T) -> Result<()>) -> Result<()> {
            option.as_ref().map_or(Ok(()), check)
        }
        of(&self.resized_crop, RandomResizedCrop::check)?;
        of(&self.rotation, Rotation::check)?;
        of(&self.affine, RandomAffine::check)?;
        of(&self.elastic, Elastic::check)?;
        of(&self.flip, HorizontalFlip::check)?;
        of(&self.rand_augment, RandAugment::check)?;
        of(&self.jitter, ColourJitter::check)?;
        of(&self.grey, RandomGrey::check)?;
        of(&self.blur, GaussianBlur::check)?;
        of(&self.erasing, RandomErasing::check)?;
        self.mix().check()?;
        let both = self.resized_crop.is_some() && self.crop.is_some();
        ensure!(!both, "Augment: crop and resized_crop exclude each other, got both");
        Ok(())
    }

    /// Brings the example to the size of `fit`, by chance.
    ///
    /// # Errors
    /// If an option is out of range, the size has a side of 0, or colours of a picture are to change that has not three
    /// channels.
    pub fn apply(&self, example: Example, fit: Fit, random: Random) -> Result<Example> {
        let example = match &self.resized_crop {
            Some(crop) => crop.apply(example, fit, random.at("resized_crop"))?,
            None => fit.apply(example)?,
        };
        let example = self.move_pixels(example, random)?;
        self.change_colours(example, random)
    }

    /// The part after a resized crop that a mask takes part in.
    fn move_pixels(&self, mut example: Example, random: Random) -> Result<Example> {
        if let Some(rotation) = &self.rotation {
            example = rotation.apply(example, random.at("rotation"))?;
        }
        if let Some(affine) = &self.affine {
            example = affine.apply(example, random.at("affine"))?;
        }
        if let Some(elastic) = &self.elastic {
            example = elastic.apply(example, random.at("elastic"))?;
        }
        if let Some(crop) = &self.crop {
            example = crop.apply(example, random.at("crop"))?;
        }
        if let Some(flip) = &self.flip {
            example = flip.apply(example, random.at("flip"))?;
        }
        Ok(example)
    }

    /// The part that leaves a mask as it is, but for what moves in RandAugment.
    fn change_colours(&self, mut example: Example, random: Random) -> Result<Example> {
        if let Some(operations) = &self.rand_augment {
            example = operations.apply(example, random.at("rand_augment"))?;
        }
        if let Some(jitter) = &self.jitter {
            example = jitter.apply(example, random.at("jitter"))?;
        }
        if let Some(grey) = &self.grey {
            example = grey.apply(example, random.at("grey"))?;
        }
        if let Some(blur) = &self.blur {
            example = blur.apply(example, random.at("blur"))?;
        }
        match &self.erasing {
            Some(erasing) => erasing.apply(example, random.at("erasing")),
            None => Ok(example),
        }
    }

    /// What is done to whole batches.
    pub fn mix(&self) -> Mix {
        Mix { mixup: self.mixup, cutmix: self.cutmix }
    }
}

/// # Errors
/// If a probability of `who` is not in [0, 1].
fn probability(who: &str, p: f64) -> Result<()> {
    ensure!((0.0..=1.0).contains(&p), "{who}: probability must be in [0, 1], got {p}");
    Ok(())
}

/// Half of what is left when `inner` is taken from `outer`, to the nearest even of two, as Python rounds.
fn middle(outer: usize, inner: usize) -> i64 {
    ((outer as f64 - inner as f64) / 2.0).round_ties_even() as i64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Tensor;

    use super::*;
    use crate::data::{Image, ImageSet, Images, Loader, LoaderConfig, Normalise, Order, Prepared, Target};

    /// A picture whose mask says the same as its one channel.
    pub(super) fn masked(size: [usize; 2]) -> Example {
        let pixels: Vec<u8> = (0..size[0] * size[1]).map(|i| (i % 251) as u8).collect();
        let image = Image::new(pixels, [1, size[0], size[1]]).expect("as many bytes as pixels");
        Example { target: Target::Mask { classes: image.clone(), ignore: 255 }, image }
    }

    fn everything() -> Augment {
        Augment {
            resized_crop: Some(RandomResizedCrop::default()),
            rotation: Some(Rotation { degrees: 20.0 }),
            affine: Some(RandomAffine { degrees: 10.0, shear: [5.0, 0.0], ..RandomAffine::default() }),
            elastic: Some(Elastic { alpha: 20.0, sigma: 2.0 }),
            crop: None,
            flip: Some(HorizontalFlip::default()),
            rand_augment: Some(RandAugment::default()),
            jitter: Some(ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
            grey: Some(RandomGrey::default()),
            blur: Some(GaussianBlur { kernel: 5, ..GaussianBlur::default() }),
            erasing: Some(RandomErasing::default()),
            mixup: Some(Mixup::default()),
            cutmix: Some(Cutmix::default()),
        }
    }

    #[test]
    fn the_same_place_gives_the_same_picture() -> Result<()> {
        let pixels = (0..3 * 20 * 30).map(|i| (i * 7 % 256) as u8).collect();
        let example = Example { image: Image::new(pixels, [3, 20, 30])?, target: Target::Class(1) };
        let fit = Fit { size: [16, 12], fraction: 1.0, ..Fit::default() };
        let run = |random| everything().apply(example.clone(), fit, random);
        let one = run(Random::new(1))?;
        assert_eq!((one.image.size(), &one.target), ([3, 16, 12], &Target::Class(1)));
        assert_eq!(one, run(Random::new(1))?);
        assert_ne!(one, run(Random::new(2))?);
        // Nothing to do but to fit.
        assert_eq!(Augment::default().apply(example.clone(), fit, Random::new(1))?, fit.apply(example)?);
        Ok(())
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers() -> Result<()> {
        let pixels = (0..11 * 3 * 20 * 22).map(|i| (i * 7 % 253) as u8).collect();
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let unit = [Normalise { mean: 0.0, std: 1.0 }; 3];
        let labels = (0..11).map(|i| i % 2).collect();
        let images = Images { pixels, size: [3, 20, 22] };
        let set = Arc::new(ImageSet::new(images, labels, classes, &unit)?);
        let fit = Fit { size: [16, 12], fraction: 1.0, ..Fit::default() };
        let prepare = move |example, random| everything().apply(example, fit, random);
        let prepared = Arc::new(Prepared::new(set, &unit, prepare)?.mixed(everything().mix())?);
        let epoch = |workers, n| -> Result<Vec<[Vec<f32>; 2]>> {
            let config = LoaderConfig {
                batch_size: 2,
                order: Order::Shuffled,
                workers,
                prefetch: 3,
                ..LoaderConfig::default()
            };
            let loader = Loader::new(Arc::clone(&prepared), config, Random::new(5))?;
            let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            loader
                .epoch(n)
                .map(|batch| batch.and_then(|b| Ok([flat(&b.inputs)?, flat(&b.targets)?])))
                .collect()
        };
        let one = epoch(1, 3)?;
        for workers in [2, 3, 6] {
            assert_eq!(epoch(workers, 3)?, one, "{workers}");
        }
        assert_ne!(epoch(1, 4)?, one);
        Ok(())
    }

    #[test]
    fn masks_move_with_their_pictures() -> Result<()> {
        let augment = Augment {
            rotation: Some(Rotation { degrees: 20.0 }),
            affine: Some(RandomAffine { translate: [0.1, 0.1], ..RandomAffine::default() }),
            crop: Some(RandomCrop { padding: 2 }),
            flip: Some(HorizontalFlip { probability: 0.5 }),
            ..Augment::default()
        };
        let fit = Fit { size: [12, 16], fraction: 1.0, ..Fit::default() };
        for seed in 0..20 {
            let moved = augment.apply(masked([12, 16]), fit, Random::new(seed))?;
            let Target::Mask { classes, .. } = &moved.target else { panic!("a mask") };
            // From beyond the picture come black and "not known".
            let pairs = moved.image.pixels().iter().zip(classes.pixels());
            assert!(pairs.clone().all(|(&v, &class)| v == class || (v, class) == (0, 255)), "{moved:?}");
            assert!(pairs.filter(|(v, class)| v == class).count() > 60);
        }
        Ok(())
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(everything().check().is_ok());
        for (bad, says) in [
            ("crop = {}\nresized_crop = {}", "exclude each other"),
            ("flip.probability = 1.5", "HorizontalFlip: probability must be in [0, 1]"),
            ("rotation.degrees = -1.0", "degrees must be in [0, 180]"),
            ("jitter.hue = 0.6", "hue must be in [0, 0.5]"),
            ("jitter.contrast = -0.1", "contrast must be 0 or more"),
            ("resized_crop.scale = [0.5, 0.2]", "scale must be two rising numbers above 0, at most 1"),
            ("affine.degrees = 200.0", "RandomAffine: degrees must be in [0, 180]"),
            ("affine.translate = [0.0, 1.5]", "translate must be two shares in [0, 1]"),
            ("affine.scale = [0.0, 1.0]", "RandomAffine: scale must be two rising numbers above 0"),
            ("affine.shear = [0.0, 90.0]", "shear must be two angles in [0, 90)"),
            ("elastic.alpha = -1.0", "alpha must be 0 or more"),
            ("elastic.sigma = 0.0", "sigma must be in (0, 100]"),
            ("rand_augment.operations = 17", "operations must be at most 16, got 17"),
            ("rand_augment.magnitude = 31", "magnitude must be in [0, 30], got 31"),
            ("grey.probability = -0.1", "RandomGrey: probability"),
            ("blur.probability = 2.0", "GaussianBlur: probability"),
            ("blur.kernel = 4", "kernel must be odd and at most 1023, got 4"),
            ("blur.sigma = [0.0, 1.0]", "sigma must be two rising numbers above 0"),
            ("erasing.probability = 2.0", "RandomErasing: probability"),
            (
                "erasing.scale = [0.1, 1.1]",
                "RandomErasing: scale must be two rising numbers above 0, at most 1",
            ),
            ("mixup.alpha = -1.0", "Mixup: alpha must be in (0, 1000]"),
            ("cutmix.alpha = 0.0", "Cutmix: alpha must be in (0, 1000]"),
        ] {
            let augment: Augment = toml::from_str(bad).expect("keys that there are");
            let error = augment.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
