//! Pictures of other sizes: resampled, cut out, surrounded.
//!
//! Source: Pillow's `Image.resize` ("antialias": where a picture shrinks the filter widens by the scale) and
//! torchvision's `Resize` and `CenterCrop`, whose roundings decide which pixels a network sees.

use candle_core::{Error, Result};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use nn_core::ensure;

use super::{Channels, MAX_PIXELS, Picture};

/// What a new pixel is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The triangle filter: two neighbours a side, weighted by their distance.
    Bilinear,
    /// The cubic filter of Keys 1981 with `a = −0.5`: four neighbours a side.
    Bicubic,
}

impl Picture {
    /// Resampled to `size`, each filter widened by the scale where the picture shrinks, so that thin lines fade
    /// instead of breaking. A picture of that size already is returned as it is.
    ///
    /// # Errors
    /// If a side of `size` is 0, or the picture would have more than 100 million pixels.
    pub fn resize(&self, size: [usize; 2], interpolation: Interpolation) -> Result<Self> {
        ensure!(!size.contains(&0), "Picture: sides must be at least 1 pixel, got {size:?}");
        let widened = [self.size[0], size[1]];
        let few = |[h, w]: [usize; 2]| h.checked_mul(w).is_some_and(|n| n as u64 <= MAX_PIXELS);
        ensure!(
            few(size) && few(widened),
            "Picture: {:?} cannot become {size:?}: a picture has at most {MAX_PIXELS} pixels",
            self.size
        );
        // Rows first, as Pillow: between the passes values are rounded and cut off at 0 and 255. Left to itself the
        // library takes columns first.
        self.resample(widened, interpolation)?.resample(size, interpolation)
    }

    /// In one pass, along rows or along columns.
    fn resample(&self, size: [usize; 2], interpolation: Interpolation) -> Result<Self> {
        if size == self.size {
            return Ok(self.clone());
        }
        let kind = match self.channels {
            Channels::Grey => PixelType::U8,
            Channels::Rgb => PixelType::U8x3,
        };
        let filter = match interpolation {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
        };
        let [height, width] = self.size.map(|n| n as u32);
        let from = ImageRef::new(width, height, &self.pixels, kind).map_err(Error::wrap)?;
        let mut to = Image::new(size[1] as u32, size[0] as u32, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        Resizer::new().resize(&from, &mut to, &options).map_err(Error::wrap)?;
        Ok(Self { pixels: to.into_vec(), size, channels: self.channels })
    }

    /// Resampled so that the shorter side has `length` pixels and the longer one as many as the proportions allow,
    /// rounded down: torchvision's `Resize(length)`.
    ///
    /// # Errors
    /// If `length` is 0, or the picture is so narrow that it would have more than 100 million pixels.
    pub fn resize_shorter(&self, length: usize, interpolation: Interpolation) -> Result<Self> {
        let shorter = self.size[0].min(self.size[1]);
        self.resize(self.size.map(|side| side * length / shorter), interpolation)
    }

    /// The middle `size` pixels, the odd one as torchvision's `CenterCrop` places it. Where the picture is smaller it is
    /// surrounded by black.
    ///
    /// # Errors
    /// If a side of `size` is 0.
    pub fn crop(&self, size: [usize; 2]) -> Result<Self> {
        ensure!(!size.contains(&0), "Picture: sides must be at least 1 pixel, got {size:?}");
        let c = self.channels.count();
        // Half an odd number of pixels: where there is too much to the even side, where there is too little down.
        let left_out = [0, 1]
            .map(|axis| (self.size[axis].saturating_sub(size[axis]) as f64 / 2.0).round_ties_even() as usize);
        let added = [0, 1].map(|axis| size[axis].saturating_sub(self.size[axis]) / 2);
        let kept = [0, 1].map(|axis| size[axis].min(self.size[axis]));
        let mut pixels = vec![0; size[0] * size[1] * c];
        for y in 0..kept[0] {
            let from = ((left_out[0] + y) * self.size[1] + left_out[1]) * c;
            let to = ((added[0] + y) * size[1] + added[1]) * c;
            pixels[to..to + kept[1] * c].copy_from_slice(&self.pixels[from..from + kept[1] * c]);
        }
        Ok(Self { pixels, size, channels: self.channels })
    }

    /// Resampled to the largest size that fits into `size` with the proportions kept, centred, and surrounded by
    /// the average colour of the picture's own edge.
    ///
    /// # Errors
    /// If a side of `size` is 0.
    pub fn fit(&self, size: [usize; 2]) -> Result<Self> {
        let [height, width] = self.size;
        let scale = (size[0] as f64 / height as f64).min(size[1] as f64 / width as f64);
        let scaled = |side: usize, limit: usize| ((side as f64 * scale).round() as usize).max(1).min(limit);
        let inner =
            self.resize([scaled(height, size[0]), scaled(width, size[1])], Interpolation::Bilinear)?;
        let mut pixels = self.edge().repeat(size[0] * size[1]);
        let place = [(size[0] - inner.size[0]) / 2, (size[1] - inner.size[1]) / 2];
        inner.paste(&mut pixels, size[1], place);
        Ok(Self { pixels, size, channels: self.channels })
    }

    /// Copies itself into a larger picture that is `width` pixels wide, its corner at `place`.
    pub(super) fn paste(&self, onto: &mut [u8], width: usize, place: [usize; 2]) {
        let c = self.channels.count();
        let row = self.size[1] * c;
        for (y, line) in self.pixels.chunks_exact(row).enumerate() {
            let start = ((place[0] + y) * width + place[1]) * c;
            onto[start..start + row].copy_from_slice(line);
        }
    }

    /// The average colour of the outermost pixels, `[C]`.
    pub(super) fn edge(&self) -> Vec<u8> {
        let ([height, width], c) = (self.size, self.channels.count());
        let mut sum = vec![0u64; c];
        let mut count = 0;
        for (y, row) in self.pixels.chunks_exact(width * c).enumerate() {
            let whole = y == 0 || y + 1 == height;
            for (x, pixel) in row.chunks_exact(c).enumerate() {
                if whole || x == 0 || x + 1 == width {
                    count += 1;
                    sum.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += u64::from(v));
                }
            }
        }
        sum.into_iter().map(|sum| ((sum + count / 2) / count) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::grey;
    use super::*;

    #[test]
    fn halving_averages_as_pillow_does() -> Result<()> {
        // PIL.Image.fromarray(uint8 [[0, 40, 80, 120]]).resize((2, 1), BILINEAR) gives 29 and 91: the filter
        // widens by the scale and reaches over the neighbours, so the result is not 20 and 100.
        let line = grey(&[0, 40, 80, 120], [1, 4]);
        assert_eq!(line.resize([1, 2], Interpolation::Bilinear)?.pixels, [29, 91]);
        assert!(line.resize([0, 2], Interpolation::Bilinear).is_err());
        Ok(())
    }

    #[test]
    fn the_shorter_side_is_met_and_the_longer_rounded_down() -> Result<()> {
        let sizes =
            [([3, 5], 4, [4, 6]), ([5, 3], 4, [6, 4]), ([7, 7], 2, [2, 2]), ([1213, 1546], 256, [256, 326])];
        for (size, length, expected) in sizes {
            let picture = grey(&vec![7; size[0] * size[1]], size);
            let resized = picture.resize_shorter(length, Interpolation::Bicubic)?;
            assert_eq!(resized, grey(&vec![7; expected[0] * expected[1]], expected));
        }
        assert!(grey(&[7], [1, 1]).resize_shorter(0, Interpolation::Bilinear).is_err());
        let sliver = grey(&[7; 30_000], [1, 30_000]);
        let error = sliver.resize_shorter(256, Interpolation::Bilinear).expect_err("1.9 billion").to_string();
        assert!(error.contains("[1, 30000] cannot become [256, 7680000]"), "{error}");
        Ok(())
    }

    /// As `torchvision.transforms.functional.center_crop` does it, on both sides of its cases.
    #[test]
    fn the_middle_is_torchvisions() -> Result<()> {
        let line = |pixels: &[u8]| grey(pixels, [1, pixels.len()]);
        let middle =
            |n: u8, size| Ok::<_, Error>(line(&(1..=n).collect::<Vec<u8>>()).crop([1, size])?.pixels);
        assert_eq!(middle(5, 5)?, [1, 2, 3, 4, 5]);
        assert_eq!(middle(5, 2)?, [3, 4]); // 1.5 left out rounds to 2
        assert_eq!(middle(3, 2)?, [1, 2]); // 0.5 left out rounds to 0
        assert_eq!(middle(2, 5)?, [0, 1, 2, 0, 0]);
        assert_eq!(middle(3, 5)?, [0, 1, 2, 3, 0]);
        assert_eq!(grey(&[1, 2, 3], [3, 1]).crop([1, 3])?.pixels, [0, 2, 0]);
        assert!(line(&[1]).crop([0, 1]).is_err());
        Ok(())
    }

    #[test]
    fn fitting_keeps_proportions_and_fills_with_the_edges_colour() -> Result<()> {
        let wide = grey(&[10, 10, 10, 10, 10, 10, 10, 10], [2, 4]).fit([4, 4])?;
        assert_eq!((wide.size, wide.pixels), ([4, 4], vec![10; 16]));
        let tall = grey(&[0, 0, 0, 200, 0, 0], [6, 1]).fit([3, 3])?;
        assert_eq!(tall.size, [3, 3]);
        assert_eq!(tall.pixels[0], 33); // 200 / 6: every pixel of so thin a picture is edge
        let sliver = grey(&[7; 1000], [1000, 1]).fit([28, 28])?;
        assert_eq!(sliver.pixels, [7; 784]);
        Ok(())
    }
}
