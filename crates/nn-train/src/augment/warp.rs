//! A picture whose pixels come from other places of it.
//!
//! Source: Pillow's `Image.transform` with an affine matrix, whose arithmetic this is: positions of nearest pixels in
//! sixteenths of bits, means of four pixels with their fraction dropped.

use candle_core::Result;
use serde::{Deserialize, Serialize};

use crate::data::Image;

/// What a pixel of a picture that is turned, sheared or bent is made from; a mask's is always the nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// The pixel that lies there: fast, with jagged edges.
    #[default]
    Nearest,
    /// The four pixels around, by their distance.
    Bilinear,
}

/// Where a pixel comes from: `x' = a·x + b·y + c` and `y' = d·x + e·y + f` for `[a, b, c, d, e, f]`; the middle of the
/// first pixel is at one half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix(pub(super) [f64; 6]);

impl Matrix {
    /// The picture, moved; what comes from beyond it is `fill`.
    pub(super) fn warp(self, image: &Image, interpolation: Interpolation, fill: u8) -> Result<Image> {
        match interpolation {
            Interpolation::Nearest => self.nearest(image, fill),
            Interpolation::Bilinear => self.bilinear(image, fill),
        }
    }

    fn nearest(self, image: &Image, fill: u8) -> Result<Image> {
        let [c, h, w] = image.size();
        let sources = self.sources([h, w]);
        let planes = image.planes().flat_map(|plane| sources.iter().map(|s| s.map_or(fill, |s| plane[s])));
        Image::new(planes.collect(), [c, h, w])
    }

    /// The place of the pixel that each pixel is.
    fn sources(self, [h, w]: [usize; 2]) -> Vec<Option<usize>> {
        let Self([a, b, c, d, e, f]) = self;
        let at = |position: f64, side: usize| (position >= 0.0 && position < side as f64).then_some(position);
        let mut sources = Vec::with_capacity(h * w);
        if b == 0.0 && d == 0.0 {
            // Step by step, because sums round otherwise than products.
            let steps = |mut position: f64, step: f64, side: usize| -> Vec<Option<usize>> {
                let next = |_| {
                    let here = at(position, side).map(|position| position as usize);
                    position += step;
                    here
                };
                (0..side).map(next).collect()
            };
            let (columns, rows) = (steps(c + a * 0.5, a, w), steps(f + e * 0.5, e, h));
            for row in rows {
                sources.extend(columns.iter().map(|column| Some(row? * w + (*column)?)));
            }
            return sources;
        }
        // Whole numbers of 1/65536: exact in double precision, however far away.
        let fixed = |v: f64| (v * 65_536.0 + 0.5).floor();
        let (x, y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
        let [a, b, d, e] = [a, b, d, e].map(fixed);
        for row in (0..h).map(|row| row as f64) {
            sources.extend((0..w).map(|column| column as f64).map(|column| {
                let x = at((x + b * row + a * column) / 65_536.0, w)?;
                let y = at((y + e * row + d * column) / 65_536.0, h)?;
                Some(y as usize * w + x as usize)
            }));
        }
        sources
    }

    fn bilinear(self, image: &Image, fill: u8) -> Result<Image> {
        let ([channels, h, w], Self([a, b, c, d, e, f])) = (image.size(), self);
        let area = h * w;
        let mut pixels = vec![fill; channels * area];
        for place in 0..area {
            let (x, y) = ((place % w) as f64 + 0.5, (place / w) as f64 + 0.5);
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            if !(x >= 0.0 && x < w as f64 && y >= 0.0 && y < h as f64) {
                continue;
            }
            let [left, top] = [x, y].map(|v| (v - 0.5).floor());
            let (dx, dy) = (x - 0.5 - left, y - 0.5 - top);
            // At the edge a pixel stands for its missing neighbour.
            let near = |v: f64, side: usize| (v.max(0.0) as usize).min(side - 1);
            let (columns, rows) =
                ([left, left + 1.0].map(|v| near(v, w)), [top, top + 1.0].map(|v| near(v, h)));
            for (plane, out) in image.planes().zip(pixels.chunks_exact_mut(area)) {
                let [upper, lower] = rows.map(|row| {
                    let [left, right] = columns.map(|column| f64::from(plane[row * w + column]));
                    left + (right - left) * dx
                });
                out[place] = (upper + (lower - upper) * dy) as u8;
            }
        }
        Image::new(pixels, [channels, h, w])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_moves_pixels_and_fills() -> Result<()> {
        let image = Image::new((1..=6).collect(), [1, 2, 3])?;
        let shift = Matrix([1.0, 0.0, 1.0, 0.0, 1.0, -1.0]);
        for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
            assert_eq!(shift.warp(&image, interpolation, 99)?.pixels(), [99, 99, 99, 2, 3, 99]);
        }
        let half = Matrix([1.0, 0.0, 0.5, 0.0, 1.0, 0.0]);
        assert_eq!(half.warp(&image, Interpolation::Bilinear, 99)?.pixels(), [1, 2, 99, 4, 5, 99]);
        Ok(())
    }

    #[test]
    fn places_beyond_numbers_are_filled() -> Result<()> {
        let image = Image::new(vec![1; 4], [1, 2, 2])?;
        for far in [f64::NAN, f64::INFINITY, 1e300] {
            for matrix in [[far; 6], [far, 0.0, 0.0, 0.0, far, far]] {
                for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
                    assert_eq!(Matrix(matrix).warp(&image, interpolation, 9)?.pixels(), [9; 4]);
                }
            }
        }
        Ok(())
    }
}
