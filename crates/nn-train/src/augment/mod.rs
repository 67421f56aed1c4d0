//! More pictures of those that there are: crops, flips, rotations, colours; a mask moves with its picture.
//!
//! Each is a struct of options and an `apply` that draws from the place it is given, so what becomes of an example
//! depends on seed, epoch and index alone. [`Augment`] is all of them in the usual order.

mod crop;
mod fit;
mod flip;
mod jitter;
mod resized_crop;
mod rotation;

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use crate::data::Example;

pub use crop::RandomCrop;
pub use fit::Fit;
pub use flip::HorizontalFlip;
pub use jitter::{ColourJitter, blend_brightness, blend_contrast, blend_saturation, shift_hue};
pub use resized_crop::RandomResizedCrop;
pub use rotation::Rotation;

/// What is done to a training picture: a random resized crop, or else a fit, a rotation and a padded crop; then a
/// flip and a jitter of colours. What is absent is left out; by default everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// A part of random size and proportions, stretched to the size asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resized_crop: Option<RandomResizedCrop>,
    /// Turned by a random angle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Moved by up to so many pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
    /// Mirrored at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<HorizontalFlip>,
    /// Brightness, contrast, saturation and hue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ColourJitter>,
}

impl Augment {
    /// # Errors
    /// If an option is out of range; the message gives the range.
    pub fn check(&self) -> Result<()> {
        self.resized_crop.map_or(Ok(()), |crop| crop.check())?;
        self.rotation.map_or(Ok(()), |rotation| rotation.check())?;
        self.flip.map_or(Ok(()), |flip| flip.check())?;
        self.jitter.map_or(Ok(()), |jitter| jitter.check())?;
        let both = self.resized_crop.is_some() && self.crop.is_some();
        ensure!(!both, "Augment: crop and resized_crop exclude each other, got both");
        Ok(())
    }

    /// Brings the example to the size of `fit`, by chance.
    ///
    /// # Errors
    /// If the size has a side of 0, or colours of a picture are to change that has not three channels.
    pub fn apply(&self, example: Example, fit: Fit, random: Random) -> Result<Example> {
        let mut example = match &self.resized_crop {
            Some(crop) => crop.apply(example, fit, random.at("resized_crop"))?,
            None => fit.apply(example)?,
        };
        if let Some(rotation) = &self.rotation {
            example = rotation.apply(example, random.at("rotation"))?;
        }
        if let Some(crop) = &self.crop {
            example = crop.apply(example, random.at("crop"))?;
        }
        if let Some(flip) = &self.flip {
            example = flip.apply(example, random.at("flip"))?;
        }
        match &self.jitter {
            Some(jitter) => jitter.apply(example, random.at("jitter")),
            None => Ok(example),
        }
    }
}

/// Half of what is left when `inner` is taken from `outer`, to the nearest even of two, as Python rounds.
fn middle(outer: usize, inner: usize) -> i64 {
    ((outer as f64 - inner as f64) / 2.0).round_ties_even() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Image, Target};

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
            crop: None,
            flip: Some(HorizontalFlip::default()),
            jitter: Some(ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
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
    fn masks_move_with_their_pictures() -> Result<()> {
        let augment = Augment {
            rotation: Some(Rotation { degrees: 30.0 }),
            crop: Some(RandomCrop { padding: 3 }),
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
        let good = everything();
        assert!(good.check().is_ok());
        for (bad, says) in [
            (Augment { crop: Some(RandomCrop { padding: 1 }), ..good }, "exclude each other"),
            (
                Augment { flip: Some(HorizontalFlip { probability: 1.5 }), ..good },
                "probability must be in [0, 1]",
            ),
            (Augment { rotation: Some(Rotation { degrees: -1.0 }), ..good }, "degrees must be in [0, 180]"),
            (
                Augment { jitter: Some(ColourJitter { hue: 0.6, ..ColourJitter::default() }), ..good },
                "hue must be in [0, 0.5]",
            ),
            (
                Augment { jitter: Some(ColourJitter { contrast: -0.1, ..ColourJitter::default() }), ..good },
                "contrast must be 0 or more",
            ),
            (
                Augment {
                    resized_crop: Some(RandomResizedCrop {
                        scale: [0.5, 0.2],
                        ..RandomResizedCrop::default()
                    }),
                    ..good
                },
                "scale",
            ),
        ] {
            let error = bad.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
