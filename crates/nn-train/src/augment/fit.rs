//! The middle of a picture, at the size a network takes: what evaluation sees.
//!
//! Source: Krizhevsky, Sutskever & Hinton 2012, section 2 (shorter side, central crop); torchvision's presets, in which
//! 224 pixels are cut from a shorter side of 256.

use candle_core::Result;
use nn_core::ensure;

use super::middle;
use crate::data::{Example, Resample};

/// The shorter side is resized so that the central crop of `size` takes `fraction` of it, and cropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// `[height, width]`
    pub size: [usize; 2],
    /// The share of the picture's shorter side that is seen, in (0, 1].
    pub fraction: f64,
    /// How a picture is resized; a mask always by the nearest.
    pub resample: Resample,
}

impl Default for Fit {
    fn default() -> Self {
        Self { size: [224, 224], fraction: 0.875, resample: Resample::Bilinear }
    }
}

impl Fit {
    /// The example, fitted. A picture that has the size already is left as it is.
    ///
    /// # Errors
    /// If a side of `size` is 0, `fraction` is not in (0, 1], or the picture is so long and thin that it would take too many
    /// pixels.
    pub fn apply(&self, example: Example) -> Result<Example> {
        let Self { size, fraction, resample } = *self;
        ensure!(!size.contains(&0), "Fit: sides must be at least 1 pixel, got {size:?}");
        ensure!(fraction > 0.0 && fraction <= 1.0, "Fit: a fraction must be in (0, 1], got {fraction}");
        let [_, h, w] = example.image.size();
        if [h, w] == size {
            return Ok(example);
        }
        // The least size that holds the crop, with the picture's proportions kept.
        let [of_height, of_width] =
            [size[0] as f64 / fraction / h as f64, size[1] as f64 / fraction / w as f64];
        let decides = |n: usize| (n as f64 / fraction).round() as usize;
        // The other side in whole numbers: a rounding error must not take a pixel of it.
        let follows = |n: usize, [was, is]: [usize; 2], least: usize| (n.saturating_mul(is) / was).max(least);
        let whole = if of_height >= of_width {
            let height = decides(size[0]);
            [height, follows(w, [h, height], size[1])]
        } else {
            let width = decides(size[1]);
            [follows(h, [w, width], size[0]), width]
        };
        let place = [middle(whole[0], size[0]), middle(whole[1], size[1])];
        example.moved(
            |image| Ok(image.resized(whole, resample)?.window(place, size, 0)),
            |mask, ignore| Ok(mask.resized(whole, Resample::Nearest)?.window(place, size, ignore)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;
    use crate::data::{Image, Target};

    #[test]
    fn a_picture_of_the_right_size_is_left_alone() -> Result<()> {
        let example = masked([4, 6]);
        assert_eq!(Fit { size: [4, 6], ..Fit::default() }.apply(example.clone())?, example);
        Ok(())
    }

    /// 256×340 at 224 and 0.875 is torchvision's `Resize(256)` and `CenterCrop(224)`.
    #[test]
    fn a_shorter_side_of_256_is_only_cropped() -> Result<()> {
        let pixels: Vec<u8> = (0..256 * 340).map(|i| (i * 31 % 256) as u8).collect();
        let image = Image::new(pixels, [1, 256, 340])?;
        let fitted = Fit::default().apply(Example { image: image.clone(), target: Target::Class(0) })?;
        assert_eq!(fitted.image, image.window([16, 58], [224, 224], 0));
        Ok(())
    }

    #[test]
    fn proportions_are_kept_and_nothing_comes_from_beyond() -> Result<()> {
        for (from, size, fraction) in
            [([30, 50], [20, 20], 1.0), ([50, 30], [7, 9], 0.7), ([5, 5], [20, 11], 1.0)]
        {
            let example = Example {
                image: Image::new(vec![200; from[0] * from[1]], [1, from[0], from[1]])?,
                ..masked(from)
            };
            let fitted = Fit { size, fraction, ..Fit::default() }.apply(example)?;
            assert_eq!(fitted.image.pixels(), vec![200; size[0] * size[1]], "{from:?}");
            let Target::Mask { classes, .. } = fitted.target else { panic!("a mask") };
            assert_eq!(classes.size(), [1, size[0], size[1]]);
            assert!(!classes.pixels().contains(&255));
        }
        for (size, fraction) in [([0, 3], 1.0), ([3, 3], 0.0), ([3, 3], 1.1), ([3, 3], f64::NAN)] {
            assert!(Fit { size, fraction, ..Fit::default() }.apply(masked([4, 4])).is_err());
        }
        // A line of pixels as long as a picture may be would have 2 thousand million at the size of a network's.
        let line = Image::new(vec![0; 32_768], [1, 1, 32_768])?;
        let error = Fit::default().apply(Example { image: line, target: Target::Class(0) });
        assert!(
            error.expect_err("too many").to_string().contains("1×32768 pixels cannot be resized to 256×")
        );
        Ok(())
    }
}
