//! Brightness, contrast, saturation and hue of a picture, changed by chance.
//!
//! Source: torchvision's `ColorJitter` on Pillow's pictures, whose bytes these are.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use crate::data::{Example, Image};

/// Each by a factor from [max(0, 1 − x), 1 + x], the hue by a share of the circle from [−x, x]; in random order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// 0 or more.
    pub brightness: f64,
    /// 0 or more.
    pub contrast: f64,
    /// 0 or more.
    pub saturation: f64,
    /// In [0, 0.5].
    pub hue: f64,
}

impl ColourJitter {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { brightness, contrast, saturation, hue } = *self;
        for (what, x) in [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)] {
            ensure!(x.is_finite() && x >= 0.0, "ColourJitter: {what} must be 0 or more, got {x}");
        }
        ensure!((0.0..=0.5).contains(&hue), "ColourJitter: hue must be in [0, 0.5], got {hue}");
        Ok(())
    }

    /// The example with other colours, as `random` has them. A mask stays as it is.
    ///
    /// # Errors
    /// If the picture has not three channels.
    pub fn apply(&self, mut example: Example, random: Random) -> Result<Example> {
        let mut draws = random.draws();
        let mut order = [0, 1, 2, 3];
        draws.shuffle(&mut order);
        let ranges = [self.brightness, self.contrast, self.saturation];
        let factors = ranges.map(|x| draws.uniform((1.0 - x).max(0.0), 1.0 + x) as f32);
        let shift = draws.uniform(-self.hue, self.hue);
        for which in order {
            let image = &mut example.image;
            match which {
                0 if self.brightness > 0.0 => blend_brightness(image, factors[0]),
                1 if self.contrast > 0.0 => blend_contrast(image, factors[1])?,
                2 if self.saturation > 0.0 => blend_saturation(image, factors[2])?,
                3 if self.hue > 0.0 => shift_hue(image, shift)?,
                _ => {}
            }
        }
        Ok(example)
    }
}

/// Black at 0, the picture at 1.
pub fn blend_brightness(image: &mut Image, factor: f32) {
    image.pixels_mut().iter_mut().for_each(|v| *v = blend(0, *v, factor));
}

/// The mean grey of the picture at 0, the picture at 1.
///
/// # Errors
/// If the picture has neither one channel nor three.
pub fn blend_contrast(image: &mut Image, factor: f32) -> Result<()> {
    let mut sum = 0;
    let [channels, h, w] = image.size();
    if channels == 1 {
        sum = image.pixels().iter().map(|&v| u64::from(v)).sum();
    } else {
        each(image, |[r, g, b]| sum += u64::from(luma(*r, *g, *b)))?;
    }
    let mean = (sum as f64 / (h * w) as f64 + 0.5) as u8;
    image.pixels_mut().iter_mut().for_each(|v| *v = blend(mean, *v, factor));
    Ok(())
}

/// Grey at 0, the picture at 1.
///
/// # Errors
/// If the picture has not three channels.
pub fn blend_saturation(image: &mut Image, factor: f32) -> Result<()> {
    each(image, |rgb| {
        let grey = luma(*rgb[0], *rgb[1], *rgb[2]);
        rgb.into_iter().for_each(|v| *v = blend(grey, *v, factor));
    })
}

/// Every hue moved by a share of the circle, in [−0.5, 0.5].
///
/// # Errors
/// If the picture has not three channels.
pub fn shift_hue(image: &mut Image, share: f64) -> Result<()> {
    let shift = (share * 255.0) as i32 as u8;
    each(image, |[r, g, b]| {
        let [h, s, v] = to_hsv([*r, *g, *b]);
        [*r, *g, *b] = to_rgb([h.wrapping_add(shift), s, v]);
    })
}

/// Calls `f` with every pixel's red, green and blue.
pub(super) fn each(image: &mut Image, mut f: impl FnMut([&mut u8; 3])) -> Result<()> {
    let [channels, h, w] = image.size();
    ensure!(channels == 3, "augment: colours are changed of pictures with 3 channels, got {channels}");
    let (red, rest) = image.pixels_mut().split_at_mut(h * w);
    let (green, blue) = rest.split_at_mut(h * w);
    red.iter_mut().zip(green).zip(blue).for_each(|((r, g), b)| f([r, g, b]));
    Ok(())
}

/// From `zero` at 0 through `one` at 1 and beyond, cut off where bytes end.
pub(super) fn blend(zero: u8, one: u8, factor: f32) -> u8 {
    let (zero, one) = (f32::from(zero), f32::from(one));
    // A conversion to bytes saturates, and drops the fraction as Pillow does.
    (zero + factor * (one - zero)) as u8
}

/// ITU-R 601-2 luma in Pillow's fixed point.
pub(super) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// Hue, saturation and value, 255 being the whole circle and the most.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [from_r, from_g, from_b] = [r, g, b].map(|v| f32::from(most - v) / range);
    // Double precision where Pillow's constants are, single where its variables are.
    let sixths = if r == most {
        from_b - from_g
    } else if g == most {
        (2.0 + f64::from(from_r) - f64::from(from_b)) as f32
    } else {
        (4.0 + f64::from(from_g) - f64::from(from_r)) as f32
    };
    let hue = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let saturation = f32::from(s) / 255.0;
    let sixths = f64::from(h) * 6.0 / 255.0;
    let (sector, part) = (sixths.floor(), (sixths - sixths.floor()) as f32);
    let byte = |share: f64| (f64::from(v) * (1.0 - share)).round() as u8;
    let p = byte(f64::from(saturation));
    let q = byte(f64::from(saturation * part));
    let t = byte(f64::from(saturation) * (1.0 - f64::from(part)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Target;

    fn image(pixels: &[[u8; 3]]) -> Image {
        let planes = (0..3).flat_map(|c| pixels.iter().map(move |p| p[c])).collect();
        Image::new(planes, [3, 1, pixels.len()]).expect("three channels")
    }

    #[test]
    fn factors_of_one_change_nothing() -> Result<()> {
        let colours = image(&[[0, 128, 255], [10, 20, 30], [77, 77, 77], [255, 255, 255]]);
        let mut same = colours.clone();
        blend_brightness(&mut same, 1.0);
        blend_contrast(&mut same, 1.0)?;
        blend_saturation(&mut same, 1.0)?;
        assert_eq!(same, colours);
        Ok(())
    }

    #[test]
    fn worked_examples() -> Result<()> {
        let mut x = image(&[[100, 200, 50], [0, 10, 255]]);
        blend_brightness(&mut x, 1.5);
        assert_eq!(x.pixels(), [150, 0, 255, 15, 75, 255]);
        // Grey of (100, 200, 50) is 153.
        let mut x = image(&[[100, 200, 50]]);
        blend_saturation(&mut x, 0.0)?;
        assert_eq!(x.pixels(), [153; 3]);
        // A third of the circle turns red into green.
        let mut x = image(&[[255, 0, 0]]);
        shift_hue(&mut x, 1.0 / 3.0)?;
        assert_eq!(x.pixels(), [0, 255, 0]);
        Ok(())
    }

    #[test]
    fn grey_pictures_have_no_colours_to_change() {
        let grey = Image::new(vec![5; 4], [1, 2, 2]).expect("one channel");
        let mut contrast = grey.clone();
        blend_contrast(&mut contrast, 0.3).expect("greys have a contrast");
        assert_eq!(contrast, grey);
        let jitter = ColourJitter { saturation: 0.5, ..ColourJitter::default() };
        let example = Example { image: grey, target: Target::Class(0) };
        let error = jitter.apply(example, Random::new(0)).expect_err("grey").to_string();
        assert!(error.contains("pictures with 3 channels, got 1"), "{error}");
    }
}
