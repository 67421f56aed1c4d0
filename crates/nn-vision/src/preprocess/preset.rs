//! What was done to the pictures a network was trained on, and so must be done to those it is shown.
//!
//! Source: torchvision's `transforms._presets.ImageClassification`.

use candle_core::{Device, Result, Tensor};
use nn_core::ensure;

use super::{Channels, Interpolation, Picture};

/// Numbers in [0, 1] become `(x − mean) / deviation`, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub deviation: [f32; 3],
}

impl Normalise {
    /// Of the photos of ImageNet.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
    /// To [−1, 1], as TensorFlow's models have it.
    pub const HALF: Self = Self { mean: [0.5; 3], deviation: [0.5; 3] };
}

/// Resize the shorter side → the square in the middle → normalise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Of the resized picture, in pixels.
    pub shorter_side: usize,
    /// Side of the square, in pixels.
    pub crop: usize,
    /// For resizing.
    pub interpolation: Interpolation,
    /// Of the result.
    pub normalise: Normalise,
}

/// Of most networks trained on ImageNet: 256 pixels, and of these 224 · 224.
pub const IMAGENET: Preprocessing = Preprocessing {
    shorter_side: 256,
    crop: 224,
    interpolation: Interpolation::Bilinear,
    normalise: Normalise::IMAGENET,
};

impl Preprocessing {
    /// `[3, crop, crop]`, `f32` on the CPU.
    ///
    /// # Errors
    /// If the picture is grey, or too narrow to be resized, or a length is 0.
    pub fn apply(&self, picture: &Picture) -> Result<Tensor> {
        ensure!(
            picture.channels() == Channels::Rgb,
            "Preprocessing: the picture must have colours, got {:?}",
            picture.channels()
        );
        let square = picture.resize_shorter(self.shorter_side, self.interpolation)?.crop([self.crop; 2])?;
        let levels = self.normalise.levels();
        let plane = self.crop * self.crop;
        let mut values = vec![0.0; 3 * plane];
        for (i, pixel) in square.pixels.chunks_exact(3).enumerate() {
            for c in 0..3 {
                values[c * plane + i] = levels[c][usize::from(pixel[c])];
            }
        }
        Tensor::from_vec(values, (3, self.crop, self.crop), &Device::Cpu)
    }
}

impl Normalise {
    /// What each of the 256 levels becomes, for each channel.
    fn levels(&self) -> [[f32; 256]; 3] {
        let level = |c: usize, v: usize| (v as f32 / 255.0 - self.mean[c]) / self.deviation[c];
        [0, 1, 2].map(|c| std::array::from_fn(|v| level(c, v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_normalised_channel_by_channel() -> Result<()> {
        let picture = Picture::new(vec![0, 51, 255, 255, 102, 0], [1, 2], Channels::Rgb)?;
        let as_it_is = Preprocessing {
            shorter_side: 1,
            crop: 1,
            normalise: Normalise { mean: [0.0, 0.2, 0.5], deviation: [1.0, 0.5, 0.25] },
            ..IMAGENET
        };
        // Half a pixel is left out, which rounds to none: the left one remains.
        assert_eq!(as_it_is.apply(&picture)?.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.0, 2.0]);
        let surrounded = Preprocessing { crop: 3, normalise: Normalise::HALF, ..as_it_is };
        let x = surrounded.apply(&picture)?;
        assert_eq!(x.dims(), [3, 3, 3]);
        assert_eq!(x.get(0)?.to_vec2::<f32>()?, [[-1.0; 3], [-1.0, 1.0, -1.0], [-1.0; 3]]);
        let grey = Picture::new(vec![0], [1, 1], Channels::Grey)?;
        assert!(IMAGENET.apply(&grey).is_err());
        assert!(Preprocessing { crop: 0, ..IMAGENET }.apply(&picture).is_err());
        Ok(())
    }
}
