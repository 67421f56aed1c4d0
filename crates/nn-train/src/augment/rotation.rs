//! The picture turned about its middle.
//!
//! Source: torchvision's `RandomRotation`, nearest pixels, the picture's size kept.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::Interpolation;
use super::warp::Matrix;
use crate::data::{Example, Image};

/// Turned by an angle in [−degrees, degrees]; corners that come in are black, in a mask "not known".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// In [0, 180].
    pub degrees: f64,
}

impl Rotation {
    /// # Errors
    /// If the angle is not in [0, 180].
    pub fn check(&self) -> Result<()> {
        let degrees = self.degrees;
        ensure!((0.0..=180.0).contains(&degrees), "Rotation: degrees must be in [0, 180], got {degrees}");
        Ok(())
    }

    /// The example turned as `random` has it.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&self, example: Example, random: Random) -> Result<Example> {
        let angle = random.draws().uniform(-self.degrees, self.degrees);
        let turn = |image: Image, fill| rotate(&image, angle, Interpolation::Nearest, fill);
        example.moved(|image| turn(image, 0), turn)
    }
}

/// Turned counter-clockwise by so many degrees; what comes from beyond the picture is `fill`.
///
/// # Errors
/// Never.
pub fn rotate(image: &Image, degrees: f64, interpolation: Interpolation, fill: u8) -> Result<Image> {
    rotation(image.size(), degrees).warp(image, interpolation, fill)
}

/// Where the pixels of a picture `[C, H, W]` come from that is turned counter-clockwise about its middle.
pub(super) fn rotation([_, h, w]: [usize; 3], degrees: f64) -> Matrix {
    // As Pillow, whose right angles are such by rounding.
    let rounded = |v: f64| (v * 1e15).round() / 1e15;
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (sin, cos) = (rounded(sin), rounded(cos));
    let (x, y) = (w as f64 / 2.0, h as f64 / 2.0);
    Matrix([cos, -sin, cos * -x - sin * -y + x, sin, cos, sin * -x + cos * -y + y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    fn turned(image: &Image, degrees: f64, fill: u8) -> Result<Image> {
        rotate(image, degrees, Interpolation::Nearest, fill)
    }

    #[test]
    fn right_angles_permute_the_pixels() -> Result<()> {
        let image = Image::new((0..9).collect(), [1, 3, 3])?;
        assert_eq!(turned(&image, 0.0, 99)?, image);
        assert_eq!(turned(&image, 90.0, 99)?.pixels(), [2, 5, 8, 1, 4, 7, 0, 3, 6]);
        assert_eq!(turned(&image, 180.0, 99)?.pixels(), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(turned(&image, -90.0, 99)?.pixels(), [6, 3, 0, 7, 4, 1, 8, 5, 2]);
        Ok(())
    }

    #[test]
    fn corners_that_come_in_are_filled() -> Result<()> {
        let image = Image::new(vec![7; 2 * 64], [2, 8, 8])?;
        let turned = turned(&image, 45.0, 99)?;
        let corner = |plane: usize| turned.pixels()[plane * 64];
        assert_eq!((corner(0), corner(1), turned.pixels()[36]), (99, 99, 7));
        let still = Rotation { degrees: 0.0 }.apply(masked([3, 4]), Random::new(1))?;
        assert_eq!(still, masked([3, 4]));
        Ok(())
    }
}
