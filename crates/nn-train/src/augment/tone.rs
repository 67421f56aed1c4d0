//! The lightness of each channel by a table, and sharpness: operations of AutoAugment and its kin.
//!
//! Source: Pillow's `ImageOps` and `ImageEnhance.Sharpness`, as torchvision's functions of these names call them.

use super::jitter::blend;
use crate::data::Image;

/// Each byte by a table, which is made of each channel.
fn mapped(image: &mut Image, table: impl Fn(&[u8]) -> [u8; 256]) {
    let [_, h, w] = image.size();
    for plane in image.pixels_mut().chunks_exact_mut(h * w) {
        let table = table(plane);
        plane.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
    }
}

/// Only the upper `bits` of each byte are kept; 8 and more keep all.
pub fn posterize(image: &mut Image, bits: u32) {
    let mask = 0xff_u8.checked_shl(8 - bits.min(8)).unwrap_or(0);
    mapped(image, |_| std::array::from_fn(|v| v as u8 & mask));
}

/// Bytes from `threshold` on are inverted.
pub fn solarize(image: &mut Image, threshold: f64) {
    mapped(image, |_| std::array::from_fn(|v| if (v as f64) < threshold { v as u8 } else { 255 - v as u8 }));
}

/// Each channel is stretched from black to white.
pub fn autocontrast(image: &mut Image) {
    mapped(image, |plane| {
        let (low, high) = plane.iter().fold((255, 0), |(low, high), &v| (v.min(low), v.max(high)));
        if low >= high {
            return std::array::from_fn(|v| v as u8);
        }
        let scale = 255.0 / (f64::from(high) - f64::from(low));
        let offset = -f64::from(low) * scale;
        // A conversion to bytes saturates, and drops the fraction as Pillow does.
        std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
    });
}

/// Each channel gets a histogram that is as flat as can be.
pub fn equalize(image: &mut Image) {
    mapped(image, |plane| {
        let mut histogram = [0; 256];
        plane.iter().for_each(|&v| histogram[usize::from(v)] += 1);
        let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (plane.len() - last) / 255;
        if step == 0 {
            return std::array::from_fn(|v| v as u8);
        }
        let mut below = step / 2;
        histogram.map(|count| {
            let level = below / step;
            below += count;
            level.min(255) as u8
        })
    });
}

/// Smooth at 0, the picture at 1, sharper beyond; its outermost pixels stay as they are.
pub fn sharpen(image: &mut Image, factor: f32) {
    let [_, h, w] = image.size();
    for plane in image.pixels_mut().chunks_exact_mut(h * w) {
        let old = plane.to_vec();
        for y in 1..h.saturating_sub(1) {
            for x in 1..w.saturating_sub(1) {
                let around = |dy: usize| &old[(y + dy - 1) * w + x - 1..][..3];
                let sum: u32 = (0..3).flat_map(around).map(|&v| u32::from(v)).sum();
                let own = old[y * w + x];
                // Weights of 5 in the middle and 1 around, to the nearest.
                let smooth = (2 * (sum + 4 * u32::from(own)) + 13) / 26;
                plane[y * w + x] = blend(smooth as u8, own, factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::*;

    fn changed(change: impl Fn(&mut Image), pixels: &[u8]) -> Result<Vec<u8>> {
        let mut image = Image::new(pixels.to_vec(), [1, 1, pixels.len()])?;
        change(&mut image);
        Ok(image.pixels().to_vec())
    }

    #[test]
    fn worked_examples() -> Result<()> {
        assert_eq!(changed(|x| posterize(x, 1), &[0, 127, 128, 255])?, [0, 0, 128, 128]);
        assert_eq!(changed(|x| posterize(x, 8), &[0, 127, 255])?, [0, 127, 255]);
        assert_eq!(changed(|x| posterize(x, 0), &[0, 127, 255])?, [0, 0, 0]);
        assert_eq!(changed(|x| solarize(x, 100.0), &[0, 99, 100, 255])?, [0, 99, 155, 0]);
        assert_eq!(changed(autocontrast, &[50, 100, 150])?, [0, 127, 255]);
        assert_eq!(changed(autocontrast, &[50, 50])?, [50, 50]);
        // 300 dark pixels and as many lighter ones: there are (600 − 300) / 255 pixels a level.
        let halves = [[10; 300], [20; 300]].concat();
        assert_eq!(changed(equalize, &halves)?, [[0; 300], [255; 300]].concat());
        assert_eq!(changed(equalize, &[3, 4, 5])?, [3, 4, 5]);
        Ok(())
    }

    #[test]
    fn the_middle_is_smoothed_or_sharpened_and_the_edge_stays() -> Result<()> {
        for (factor, middle) in [(0.0, 50), (1.0, 130), (2.0, 210)] {
            let mut image = Image::new(vec![0, 0, 0, 0, 130, 0, 0, 0, 0], [1, 3, 3])?;
            sharpen(&mut image, factor);
            assert_eq!(image.pixels(), [0, 0, 0, 0, middle, 0, 0, 0, 0]);
        }
        let mut line = Image::new(vec![1, 2], [1, 1, 2])?;
        sharpen(&mut line, 0.0);
        assert_eq!(line.pixels(), [1, 2]);
        Ok(())
    }
}
