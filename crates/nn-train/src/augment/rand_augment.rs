//! A few of fourteen operations, drawn for each picture, all of one strength.
//!
//! Source: Cubuk et al. 2019, arXiv:1909.13719, section 3; the list and the strengths of torchvision's `RandAugment`.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::affine::AffineMap;
use super::jitter::{blend_brightness, blend_contrast, blend_saturation};
use super::rotation::rotation;
use super::warp::Matrix;
use super::{Interpolation, autocontrast, equalize, posterize, sharpen, solarize};
use crate::data::{Example, Image};

/// So many operations one after the other, of one magnitude; the same may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// How many, at most 16.
    pub operations: usize,
    /// How strong, in [0, 30].
    pub magnitude: usize,
    /// What the pixel of a picture that is moved is made from.
    pub interpolation: Interpolation,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self { operations: 2, magnitude: 9, interpolation: Interpolation::Nearest }
    }
}

/// The largest magnitude.
const STRONGEST: usize = 30;

/// More than this leaves nothing of a picture.
const MAX_OPERATIONS: usize = 16;

impl RandAugment {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { operations, magnitude, .. } = *self;
        ensure!(
            operations <= MAX_OPERATIONS,
            "RandAugment: operations must be at most {MAX_OPERATIONS}, got {operations}"
        );
        ensure!(
            magnitude <= STRONGEST,
            "RandAugment: magnitude must be in [0, {STRONGEST}], got {magnitude}"
        );
        Ok(())
    }

    /// The example changed as `random` has it; a mask moves with its picture.
    ///
    /// # Errors
    /// As [`RandAugment::check`], and if the picture has neither one channel nor three.
    pub fn apply(&self, mut example: Example, random: Random) -> Result<Example> {
        self.check()?;
        let mut draws = random.draws();
        for _ in 0..self.operations {
            let operation = Operation::ALL[draws.below(Operation::ALL.len() as u32) as usize];
            let [_, h, w] = example.image.size();
            let strength = operation.strength(self.magnitude, [h, w]);
            let other_way = operation.has_two_ways() && draws.unit() < 0.5;
            let strength = if other_way { -strength } else { strength };
            example = operation.apply(example, strength, self.interpolation)?;
        }
        Ok(example)
    }
}

/// What [`RandAugment`] may do to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Each row moved in proportion to its height; the strength is the tangent.
    ShearX,
    /// Each column, likewise.
    ShearY,
    /// Moved to the right by whole pixels.
    TranslateX,
    /// Moved down.
    TranslateY,
    /// Turned counter-clockwise, in degrees.
    Rotate,
    /// Lighter by a share.
    Brightness,
    /// More colourful by a share; greys have no colour.
    Color,
    /// Richer in contrast by a share.
    Contrast,
    /// Sharper by a share.
    Sharpness,
    /// So many bits kept.
    Posterize,
    /// Inverted from a share of white on.
    Solarize,
    /// From black to white.
    AutoContrast,
    /// A flat histogram.
    Equalize,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// What a magnitude in [0, 30] means for a picture `[H, W]`.
    pub fn strength(self, magnitude: usize, [h, w]: [usize; 2]) -> f64 {
        let up_to = |most: f64| f64::from(between([0.0, most], magnitude));
        match self {
            Self::Identity | Self::AutoContrast | Self::Equalize => 0.0,
            Self::ShearX | Self::ShearY => up_to(0.3),
            Self::TranslateX => up_to(150.0 / 331.0 * w as f64),
            Self::TranslateY => up_to(150.0 / 331.0 * h as f64),
            Self::Rotate => up_to(30.0),
            Self::Brightness | Self::Color | Self::Contrast | Self::Sharpness => up_to(0.9),
            Self::Posterize => {
                f64::from((8.0 - magnitude as f32 / (STRONGEST as f32 / 4.0)).round_ties_even())
            }
            Self::Solarize => f64::from(between([1.0, 0.0], magnitude)),
        }
    }

    /// Whether the strength may be negative as well.
    pub fn has_two_ways(self) -> bool {
        use Operation::{Brightness, Color, Contrast, Rotate, Sharpness};
        use Operation::{ShearX, ShearY, TranslateX, TranslateY};
        [ShearX, ShearY, TranslateX, TranslateY, Rotate, Brightness, Color, Contrast, Sharpness]
            .contains(&self)
    }

    /// The example, changed by a strength as [`Operation::strength`] gives it. A mask moves with its picture and has no
    /// colours.
    ///
    /// # Errors
    /// If colours are to change of a picture that has neither one channel nor three.
    pub fn apply(self, mut example: Example, strength: f64, interpolation: Interpolation) -> Result<Example> {
        if let Some(matrix) = self.map(&example.image, strength) {
            return example.moved(
                |image| matrix.warp(&image, interpolation, 0),
                |mask, ignore| matrix.warp(&mask, Interpolation::Nearest, ignore),
            );
        }
        let (image, factor) = (&mut example.image, (1.0 + strength) as f32);
        match self {
            Self::Brightness => blend_brightness(image, factor),
            Self::Color if image.size()[0] == 1 => {}
            Self::Color => blend_saturation(image, factor)?,
            Self::Contrast => blend_contrast(image, factor)?,
            Self::Sharpness => sharpen(image, factor),
            Self::Posterize => posterize(image, strength as u32),
            Self::Solarize => solarize(image, 255.0 * strength),
            Self::AutoContrast => autocontrast(image),
            Self::Equalize => equalize(image),
            _ => {}
        }
        Ok(example)
    }

    /// Where the pixels come from, if they move.
    fn map(self, image: &Image, strength: f64) -> Option<Matrix> {
        let ([_, h, w], still) = (image.size(), AffineMap::default());
        let (angle, middle) = (strength.atan().to_degrees(), [w as f64 * 0.5, h as f64 * 0.5]);
        match self {
            // About the first corner.
            Self::ShearX => Some(AffineMap { shear: [angle, 0.0], ..still }.about([0.0; 2])),
            Self::ShearY => Some(AffineMap { shear: [0.0, angle], ..still }.about([0.0; 2])),
            Self::TranslateX => Some(AffineMap { translate: [strength.trunc(), 0.0], ..still }.about(middle)),
            Self::TranslateY => Some(AffineMap { translate: [0.0, strength.trunc()], ..still }.about(middle)),
            Self::Rotate => Some(rotation(image.size(), strength)),
            _ => None,
        }
    }
}

/// Number `magnitude` of 31 from one end to the other, in PyTorch's arithmetic: from the nearer end.
fn between([start, end]: [f64; 2], magnitude: usize) -> f32 {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / STRONGEST as f32;
    if magnitude < STRONGEST.div_ceil(2) {
        start + step * magnitude as f32
    } else {
        end - step * (STRONGEST - magnitude.min(STRONGEST)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;
    use crate::data::Target;

    #[test]
    fn no_strength_leaves_a_picture_as_it_is() -> Result<()> {
        for operation in Operation::ALL {
            let strength = operation.strength(0, [20, 30]);
            if [Operation::AutoContrast, Operation::Equalize].contains(&operation) {
                continue;
            }
            let example = masked([20, 30]);
            assert_eq!(operation.apply(example.clone(), strength, Interpolation::Nearest)?, example);
        }
        assert_eq!(Operation::Posterize.strength(30, [1, 1]), 4.0);
        assert_eq!(Operation::Solarize.strength(30, [1, 1]), 0.0);
        assert_eq!(Operation::Rotate.strength(30, [1, 1]), 30.0);
        Ok(())
    }

    #[test]
    fn everything_is_drawn_and_masks_move_along() -> Result<()> {
        let augment = RandAugment { operations: 1, magnitude: 15, interpolation: Interpolation::Nearest };
        let example = masked([20, 30]);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..400 {
            let changed = augment.apply(example.clone(), Random::new(1).nth(n))?;
            let Target::Mask { classes, .. } = &changed.target else { panic!("a mask") };
            let pairs = || changed.image.pixels().iter().zip(classes.pixels());
            let together = pairs().all(|(&v, &class)| v == class || (v, class) == (0, 255));
            assert!(together || Target::Mask { classes: classes.clone(), ignore: 255 } == example.target);
            seen.insert(changed.image.pixels().to_vec());
        }
        // Nine in two ways and five in one; greys have no colour to change, so that is the identity three times.
        assert_eq!(seen.len(), 9 * 2 + 5 - 2);
        assert!(RandAugment { magnitude: 31, ..augment }.apply(example.clone(), Random::new(0)).is_err());
        assert!(RandAugment { operations: 17, ..augment }.apply(example, Random::new(0)).is_err());
        Ok(())
    }
}
