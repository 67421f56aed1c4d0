//! A picture bent as if it were drawn on rubber.
//!
//! Source: Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks applied to visual document
//! analysis", section 2; torchvision's `ElasticTransform`.

use candle_core::Result;
use nn_core::random::unit_f32;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::Interpolation;
use super::blur::{gaussian, smoothed};
use crate::data::{Example, Image};

/// Every pixel is moved by noise that was smoothed; what comes from beyond the picture is black, in a mask "not known".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Elastic {
    /// How strong: the noise is from [−alpha / 2, alpha / 2] pixels before it is smoothed, and is little after. 0 or more.
    pub alpha: f64,
    /// How smooth: the standard deviation of the Gaussian, in pixels. In (0, 100].
    pub sigma: f64,
}

impl Default for Elastic {
    fn default() -> Self {
        Self { alpha: 50.0, sigma: 5.0 }
    }
}

impl Elastic {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { alpha, sigma } = *self;
        ensure!(alpha.is_finite() && alpha >= 0.0, "Elastic: alpha must be 0 or more, got {alpha}");
        ensure!(sigma > 0.0 && sigma <= 100.0, "Elastic: sigma must be in (0, 100], got {sigma}");
        Ok(())
    }

    /// The example bent as `random` has it.
    ///
    /// # Errors
    /// As [`Elastic::check`].
    pub fn apply(&self, example: Example, random: Random) -> Result<Example> {
        self.check()?;
        let [_, h, w] = example.image.size();
        // As wide as four deviations either way.
        let kernel = gaussian((8.0 * self.sigma + 1.0) as usize | 1, self.sigma);
        let field = |name: &str| {
            let (place, most) = (random.at(name), self.alpha as f32 / 2.0);
            let words = (0..(h * w).div_ceil(4) as u64).flat_map(|n| place.block(n));
            let noise: Vec<f32> = words.take(h * w).map(|word| most * (2.0 * unit_f32(word) - 1.0)).collect();
            smoothed(&noise, [h, w], &kernel)
        };
        let (dx, dy) = (field("x"), field("y"));
        example.moved(
            |image| elastic(&image, [&dx, &dy], Interpolation::Bilinear, 0),
            |mask, ignore| elastic(&mask, [&dx, &dy], Interpolation::Nearest, ignore),
        )
    }
}

/// Each pixel of a picture `[C, H, W]` comes from `[dx, dy]`, each `[H, W]`, pixels farther to the right and down. What
/// comes from beyond it is `fill`.
///
/// # Errors
/// If there is not one displacement a pixel.
pub fn elastic(
    image: &Image,
    [dx, dy]: [&[f32]; 2],
    interpolation: Interpolation,
    fill: u8,
) -> Result<Image> {
    let [c, h, w] = image.size();
    let area = h * w;
    ensure!(
        dx.len() == area && dy.len() == area,
        "elastic: {h}×{w} pixels need as many displacements, got {} and {}",
        dx.len(),
        dy.len()
    );
    let mut pixels = vec![fill; c * area];
    for place in 0..area {
        let (x, y) = ((place % w) as f32 + dx[place], (place / w) as f32 + dy[place]);
        // The fill where there is no pixel.
        let at = |plane: &[u8], x: f32, y: f32| {
            let inside = x >= 0.0 && y >= 0.0 && x < w as f32 && y < h as f32;
            f32::from(if inside { plane[y as usize * w + x as usize] } else { fill })
        };
        for (plane, out) in image.planes().zip(pixels.chunks_exact_mut(area)) {
            out[place] = match interpolation {
                Interpolation::Nearest => at(plane, x.round_ties_even(), y.round_ties_even()) as u8,
                Interpolation::Bilinear => {
                    let (left, top) = (x.floor(), y.floor());
                    let (right, below) = (x - left, y - top);
                    let sum = at(plane, left, top) * (1.0 - right) * (1.0 - below)
                        + at(plane, left + 1.0, top) * right * (1.0 - below)
                        + at(plane, left, top + 1.0) * (1.0 - right) * below
                        + at(plane, left + 1.0, top + 1.0) * right * below;
                    sum.round_ties_even() as u8
                }
            };
        }
    }
    Image::new(pixels, [c, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;
    use crate::data::Target;

    #[test]
    fn pixels_come_from_where_the_field_says() -> Result<()> {
        let image = Image::new(vec![0, 100, 200, 50], [1, 1, 4])?;
        let (dx, dy) = ([1.0, 0.5, 0.25, 0.75], [0.0; 4]);
        assert_eq!(elastic(&image, [&dx, &dy], Interpolation::Bilinear, 0)?.pixels(), [100, 150, 162, 12]);
        assert_eq!(elastic(&image, [&dx, &dy], Interpolation::Nearest, 9)?.pixels(), [100, 200, 200, 9]);
        let error =
            elastic(&image, [&dx, &dy[..3]], Interpolation::Nearest, 9).expect_err("three").to_string();
        assert!(error.contains("1×4 pixels need as many displacements, got 4 and 3"), "{error}");
        Ok(())
    }

    #[test]
    fn it_moves_little_and_masks_along() -> Result<()> {
        let ramp: Vec<u8> = (0..40 * 40).map(|i| (i % 40 * 6) as u8).collect();
        let image = Image::new(ramp, [1, 40, 40])?;
        let example = Example { target: Target::Mask { classes: image.clone(), ignore: 255 }, image };
        let bent = Elastic::default().apply(example.clone(), Random::new(3))?;
        assert_ne!(bent.image, example.image);
        let Target::Mask { classes, .. } = &bent.target else { panic!("a mask") };
        // Half a pixel between the nearest and the mean is three levels.
        let inner = (10..30).flat_map(|y| (10..30).map(move |x| y * 40 + x));
        for at in inner {
            let (picture, mask) = (bent.image.pixels()[at], classes.pixels()[at]);
            assert!(picture.abs_diff(mask) <= 3 && picture.abs_diff(example.image.pixels()[at]) < 40);
        }
        let still = Elastic { alpha: 0.0, sigma: 2.0 }.apply(masked([3, 4]), Random::new(0))?;
        assert_eq!(still, masked([3, 4]));
        Ok(())
    }
}
