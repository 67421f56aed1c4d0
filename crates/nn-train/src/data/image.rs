//! One picture in memory, eight bits a channel, and the geometry that crops, flips and resizing are made of.
//!
//! Source: resizing widens the filter by the scale where a picture shrinks, as Pillow and torchvision do.
//! Differs: rows always come before columns. So they did in Pillow before 13, with which networks that are published were
//! trained; Pillow 13 takes columns first where a picture loses much more of its height than of its width.

use candle_core::{Error, Result};
use fast_image_resize::images::{Image as Resized, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

/// How pixels between pixels are made up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resample {
    /// Of the neighbours, or of all that are covered where the picture shrinks: for pictures.
    #[default]
    Bilinear,
    /// Of four neighbours a side, by the cubic filter of Keys 1981 with `a = −0.5`: for pictures of networks that want it.
    Bicubic,
    /// The one that is nearest: for classes, which have no means.
    Nearest,
}

/// More pixels than a picture is resized to.
const MAX_PIXELS: usize = 100_000_000;

/// A picture, or a map of classes, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Channel by channel, row by row.
    pixels: Vec<u8>,
    size: [usize; 3],
}

impl Image {
    /// From `[C, H, W]` bytes; 0 is black and 255 is white, or each is a class.
    ///
    /// # Errors
    /// If there are not exactly `C · H · W` bytes, or none.
    pub fn new(pixels: Vec<u8>, size: [usize; 3]) -> Result<Self> {
        ensure!(
            area(size) > 0 && pixels.len() == area(size),
            "Image: {size:?} channels, height, width need {} bytes (not 0), got {}",
            area(size),
            pixels.len()
        );
        Ok(Self { pixels, size })
    }

    /// `[C, H, W]`
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// `[C, H, W]`, row-major.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The same bytes, to be changed.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Its channels, `[H, W]` each.
    pub fn planes(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.size[1] * self.size[2])
    }

    /// The part of `[height, width]` whose upper left corner is `[top, left]`. It may reach beyond the picture, where
    /// everything is `fill`. A part without pixels has none.
    #[must_use]
    pub fn window(&self, [top, left]: [i64; 2], [height, width]: [usize; 2], fill: u8) -> Self {
        let [c, h, w] = self.size;
        let mut pixels = vec![fill; c * height * width];
        // Columns of the picture that are in the window.
        let from = left.clamp(0, w as i64) as usize;
        let to = (left.saturating_add(width as i64)).clamp(from as i64, w as i64) as usize;
        let start = (from as i64 - left).max(0) as usize;
        for (line, row) in
            pixels.chunks_exact_mut(width.max(1)).zip((0..c * height).map(|n| (n / height, n % height)))
        {
            let (plane, y) = (row.0, top.saturating_add(row.1 as i64));
            if (0..h as i64).contains(&y) && from < to {
                let source = (plane * h + y as usize) * w;
                line[start..start + to - from].copy_from_slice(&self.pixels[source + from..source + to]);
            }
        }
        Self { pixels, size: [c, height, width] }
    }

    /// Left becomes right.
    #[must_use]
    pub fn mirrored(mut self) -> Self {
        self.pixels.chunks_exact_mut(self.size[2]).for_each(<[u8]>::reverse);
        self
    }

    /// Resampled to `[height, width]`; as it is if it has that size.
    ///
    /// # Errors
    /// If a side is 0, or there would be more than 100 million pixels, on the way there too.
    pub fn resized(self, to: [usize; 2], resample: Resample) -> Result<Self> {
        ensure!(!to.contains(&0), "Image: sides must be at least 1 pixel, got {to:?}");
        let [_, h, w] = self.size;
        // Left to itself the library takes columns first, and rounds between the passes.
        let rows = [h, to[1]];
        let most = [to, rows].iter().all(|&[h, w]| (1..=MAX_PIXELS).contains(&area([1, h, w])));
        ensure!(
            most,
            "Image: {h}×{w} pixels cannot be resized to {}×{}: that takes more than {MAX_PIXELS}",
            to[0],
            to[1]
        );
        self.pass(rows, resample)?.pass(to, resample)
    }

    /// Along rows or along columns.
    fn pass(self, to: [usize; 2], resample: Resample) -> Result<Self> {
        let [c, h, w] = self.size;
        if [h, w] == to {
            return Ok(self);
        }
        let side = |n: usize| u32::try_from(n).map_err(Error::wrap);
        let algorithm = match resample {
            Resample::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Resample::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Resample::Nearest => ResizeAlg::Nearest,
        };
        let options = ResizeOptions::new().resize_alg(algorithm);
        let mut resizer = Resizer::new();
        let mut pixels = Vec::new();
        for plane in self.planes() {
            let from = ImageRef::new(side(w)?, side(h)?, plane, PixelType::U8).map_err(Error::wrap)?;
            let mut resized = Resized::new(side(to[1])?, side(to[0])?, PixelType::U8);
            resizer.resize(&from, &mut resized, &options).map_err(Error::wrap)?;
            pixels.extend_from_slice(resized.buffer());
        }
        Ok(Self { pixels, size: [c, to[0], to[1]] })
    }
}

/// Bytes of an image, or 0 if their number has no name.
pub(crate) fn area(size: [usize; 3]) -> usize {
    size.iter().try_fold(1usize, |a, &n| a.checked_mul(n)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(size: [usize; 3]) -> Image {
        Image::new((0..area(size) as u8).collect(), size).expect("as many bytes as pixels")
    }

    #[test]
    fn a_window_may_reach_beyond_the_picture() {
        let image = counting([2, 2, 3]);
        assert_eq!(image.window([0, 0], [2, 3], 9), image);
        assert_eq!(image.window([0, 1], [1, 2], 99).pixels(), [1, 2, 7, 8]);
        let around = image.window([-1, -1], [4, 5], 99);
        assert_eq!(around.size(), [2, 4, 5]);
        let first = [[99; 5], [99, 0, 1, 2, 99], [99, 3, 4, 5, 99], [99; 5]].concat();
        assert_eq!(around.pixels()[..20], first);
        assert_eq!(image.window([1, 2], [2, 2], 7).pixels(), [5, 7, 7, 7, 11, 7, 7, 7]);
        for place in [[5, 0], [0, 5], [-9, 0], [0, -9], [i64::MAX, i64::MIN]] {
            assert_eq!(image.window(place, [2, 2], 7).pixels(), [7; 8]);
        }
    }

    #[test]
    fn mirrors_turn_rows_and_resizing_keeps_planes_apart() -> Result<()> {
        let image = counting([2, 2, 3]);
        assert_eq!(image.clone().mirrored().pixels(), [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]);
        let twice = image.clone().resized([4, 6], Resample::Nearest)?;
        assert_eq!(twice.pixels()[..12], [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
        // The mean of each plane, by a filter as wide as the picture.
        let flat = Image::new([[10; 64], [200; 64]].concat(), [2, 8, 8])?;
        assert_eq!(flat.resized([3, 5], Resample::Bilinear)?.pixels(), [[10; 15], [200; 15]].concat());
        assert_eq!(image.clone().resized([2, 3], Resample::Bilinear)?, image);
        assert!(image.clone().resized([0, 3], Resample::Nearest).is_err());
        // Refused before there is memory for it, whatever the order of the passes.
        let line = Image::new(vec![0; 30_000], [1, 30_000, 1])?;
        for (image, to) in [(&image, [20_000, 20_000]), (&image, [usize::MAX, 2]), (&line, [1, 20_000])] {
            let error = image.clone().resized(to, Resample::Bilinear).expect_err("too many").to_string();
            assert!(error.contains("takes more than 100000000"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn bytes_and_sizes_must_agree() {
        for (bytes, size) in [(0, [3, 0, 2]), (5, [1, 2, 3]), (0, [usize::MAX, 2, 2])] {
            let error = Image::new(vec![0; bytes], size).expect_err("refused").to_string();
            assert!(error.contains("channels, height, width need"), "{error}");
        }
    }
}
