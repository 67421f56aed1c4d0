//! Turned, moved, enlarged and sheared in one go.
//!
//! Source: torchvision's `RandomAffine` and `affine` on Pillow's pictures.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::Interpolation;
use super::warp::Matrix;
use crate::data::{Example, Image};

/// Each by an amount that is drawn; what comes in from beyond the picture is black, in a mask "not known".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomAffine {
    /// Turned by up to so many degrees either way, in [0, 180].
    pub degrees: f64,
    /// Moved by up to this share of the width and of the height, in [0, 1].
    pub translate: [f64; 2],
    /// Enlarged by a factor between the two, above 0.
    pub scale: [f64; 2],
    /// Sheared by up to so many degrees along the rows and along the columns, in [0, 90).
    pub shear: [f64; 2],
    /// What a picture's pixel is made from.
    pub interpolation: Interpolation,
}

impl Default for RandomAffine {
    /// Nothing moves.
    fn default() -> Self {
        Self {
            degrees: 0.0,
            translate: [0.0; 2],
            scale: [1.0; 2],
            shear: [0.0; 2],
            interpolation: Interpolation::Nearest,
        }
    }
}

/// How far a picture is moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineMap {
    /// Clockwise.
    pub degrees: f64,
    /// Pixels to the right and down.
    pub translate: [f64; 2],
    /// Above 1 the picture grows.
    pub scale: f64,
    /// Degrees along the rows and along the columns.
    pub shear: [f64; 2],
}

impl Default for AffineMap {
    /// The picture stays as it is.
    fn default() -> Self {
        Self { degrees: 0.0, translate: [0.0; 2], scale: 1.0, shear: [0.0; 2] }
    }
}

impl RandomAffine {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { degrees, translate, scale: [low, high], shear, .. } = *self;
        ensure!((0.0..=180.0).contains(&degrees), "RandomAffine: degrees must be in [0, 180], got {degrees}");
        let shares = translate.iter().all(|share| (0.0..=1.0).contains(share));
        ensure!(shares, "RandomAffine: translate must be two shares in [0, 1], got {translate:?}");
        ensure!(
            0.0 < low && low <= high && high.is_finite(),
            "RandomAffine: scale must be two rising numbers above 0, got [{low}, {high}]"
        );
        let angles = shear.iter().all(|angle| (0.0..90.0).contains(angle));
        ensure!(angles, "RandomAffine: shear must be two angles in [0, 90), got {shear:?}");
        Ok(())
    }

    /// The example moved as `random` has it.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&self, example: Example, random: Random) -> Result<Example> {
        let mut draws = random.draws();
        let [_, h, w] = example.image.size();
        let mut either = |most: f64| draws.uniform(-most, most);
        let degrees = either(self.degrees);
        let [across, down] = self.translate;
        let translate = [either(across * w as f64), either(down * h as f64)].map(f64::round_ties_even);
        let shear = self.shear.map(&mut either);
        let scale = draws.uniform(self.scale[0], self.scale[1]);
        let map = AffineMap { degrees, translate, scale, shear };
        example.moved(
            |image| affine(&image, map, self.interpolation, 0),
            |mask, ignore| affine(&mask, map, Interpolation::Nearest, ignore),
        )
    }
}

/// The picture turned and sheared about its middle, and moved; what comes from beyond it is `fill`. A scale of 0 leaves
/// nothing of it.
///
/// # Errors
/// Never.
pub fn affine(image: &Image, map: AffineMap, interpolation: Interpolation, fill: u8) -> Result<Image> {
    let [_, h, w] = image.size();
    map.about([w as f64 * 0.5, h as f64 * 0.5]).warp(image, interpolation, fill)
}

impl AffineMap {
    /// Where pixels come from, if `centre` stays where it is but for the translation.
    pub(super) fn about(self, [cx, cy]: [f64; 2]) -> Matrix {
        let Self { degrees, translate: [tx, ty], scale, shear } = self;
        let (angle, [sx, sy]) = (degrees.to_radians(), shear.map(f64::to_radians));
        // Shear, then turn: a matrix of determinant 1, whose inverse needs no division.
        let a = (angle - sy).cos() / sy.cos();
        let b = -(angle - sy).cos() * sx.tan() / sy.cos() - angle.sin();
        let c = (angle - sy).sin() / sy.cos();
        let d = -(angle - sy).sin() * sx.tan() / sy.cos() + angle.cos();
        let [a, b, c, d] = [d, -b, -c, a].map(|v| v / scale);
        let (x, y) = (-cx - tx, -cy - ty);
        Matrix([a, b, a * x + b * y + cx, c, d, c * x + d * y + cy])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    #[test]
    fn nothing_moves_by_default() -> Result<()> {
        let example = masked([5, 7]);
        assert_eq!(RandomAffine::default().apply(example.clone(), Random::new(1))?, example);
        Ok(())
    }

    #[test]
    fn twice_the_size_shows_the_middle() -> Result<()> {
        let image = Image::new((0..16).collect(), [1, 4, 4])?;
        let twice = AffineMap { scale: 2.0, ..AffineMap::default() };
        let large = affine(&image, twice, Interpolation::Nearest, 99)?;
        assert_eq!(large.pixels(), [5, 5, 6, 6, 5, 5, 6, 6, 9, 9, 10, 10, 9, 9, 10, 10]);
        let right = AffineMap { translate: [1.0, 0.0], ..AffineMap::default() };
        assert_eq!(affine(&image, right, Interpolation::Nearest, 99)?.pixels()[..4], [99, 0, 1, 2]);
        let turn = AffineMap { degrees: 90.0, ..AffineMap::default() };
        assert_eq!(affine(&image, turn, Interpolation::Nearest, 99)?.pixels()[..4], [12, 8, 4, 0]);
        Ok(())
    }

    #[test]
    fn draws_stay_within_the_options() -> Result<()> {
        let affine = RandomAffine { translate: [0.5, 0.0], ..RandomAffine::default() };
        let example = masked([1, 4]);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..200 {
            seen.insert(affine.apply(example.clone(), Random::new(0).nth(n))?.image.pixels().to_vec());
        }
        let moved: [&[u8]; 5] = [&[2, 3, 0, 0], &[1, 2, 3, 0], &[0, 1, 2, 3], &[0, 0, 1, 2], &[0, 0, 0, 1]];
        assert_eq!(seen, moved.map(<[u8]>::to_vec).into());
        Ok(())
    }
}
