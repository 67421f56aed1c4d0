//! Picture files as tensors: what a network sees of a photo, or of a drawn digit.
//!
//! Source: pixels are made as Pillow makes them and pictures cut as torchvision cuts them, because most models were
//! trained on theirs.

mod decode;
mod digit;
mod jpeg;
mod mask;
mod preset;
mod resample;

use candle_core::{Device, Result, Tensor};
use nn_core::ensure;

pub use self::preset::{IMAGENET, Normalise, Preprocessing};
pub use self::resample::Interpolation;

/// No picture for a network is larger; a file that claims more is a mistake or an attack.
const MAX_PIXELS: u64 = 100_000_000;

/// What a model sees of a picture's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One channel, lightness.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// Grey for 1 channel, colour for 3.
    ///
    /// # Errors
    /// For any other number.
    pub fn of(count: usize) -> Result<Self> {
        match count {
            1 => Ok(Self::Grey),
            3 => Ok(Self::Rgb),
            _ => candle_core::bail!("Channels: a picture has 1 channel or 3, got {count}"),
        }
    }

    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// A decoded picture, eight bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[H, W, C]`, row-major.
    pixels: Vec<u8>,
    size: [usize; 2],
    channels: Channels,
}

impl Picture {
    /// From pixels `[H, W, C]`, row-major.
    ///
    /// # Errors
    /// If there are not exactly `H · W · C` bytes, or none.
    pub fn new(pixels: Vec<u8>, size: [usize; 2], channels: Channels) -> Result<Self> {
        let expected = size[0] * size[1] * channels.count();
        ensure!(
            expected > 0 && pixels.len() == expected,
            "Picture: {size:?} with {} channels needs {expected} bytes (not 0), got {}",
            channels.count(),
            pixels.len()
        );
        Ok(Self { pixels, size, channels })
    }

    /// Height and width, in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Grey or colour.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The bytes pixel by pixel, `[H, W, C]`, row-major.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes channel by channel, `[C, H, W]`, row-major.
    pub fn planes(&self) -> Vec<u8> {
        let mut planes = self.pixels.clone();
        if self.channels == Channels::Rgb {
            let (red, rest) = planes.split_at_mut(self.pixels.len() / 3);
            let (green, blue) = rest.split_at_mut(self.pixels.len() / 3);
            for (((rgb, r), g), b) in self.pixels.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
                [*r, *g, *b] = *rgb;
            }
        }
        planes
    }

    /// `[C, H, W]` in [0, 1], `f32` on the CPU.
    ///
    /// # Errors
    /// Never for a picture that fits into memory.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let values: Vec<f32> = self.planes().into_iter().map(|v| f32::from(v) / 255.0).collect();
        let [height, width] = self.size;
        Tensor::from_vec(values, (self.channels.count(), height, width), &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn grey(pixels: &[u8], size: [usize; 2]) -> Picture {
        Picture::new(pixels.to_vec(), size, Channels::Grey).expect("as many bytes as pixels")
    }

    #[test]
    fn tensors_are_channels_first_in_0_to_1() -> Result<()> {
        let picture = Picture::new(vec![0, 51, 102, 153, 204, 255], [1, 2], Channels::Rgb)?;
        let x = picture.to_tensor()?;
        assert_eq!(x.dims(), [3, 1, 2]);
        assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
        assert!(Picture::new(vec![0; 5], [1, 2], Channels::Rgb).is_err());
        assert!(Channels::of(2).is_err());
        Ok(())
    }
}
