//! Drawn digits as MNIST shows them.
//!
//! Source: LeCun et al. 1998, section III-A: 20×20 pixels of ink whose centre of mass lies in the middle of 28×28.

use candle_core::Result;
use nn_core::ensure;

use super::{Channels, Interpolation, Picture};

impl Picture {
    /// Light on dark: as it is if the outermost pixels are dark on average, else with every value turned over.
    ///
    /// Handwriting on paper becomes what MNIST's relatives hold, strokes of 255 on a ground of 0.
    #[must_use]
    pub fn light_on_dark(mut self) -> Self {
        let edge = self.edge();
        let mean = edge.iter().map(|&v| f64::from(v)).sum::<f64>() / edge.len() as f64;
        if mean > 127.5 {
            self.pixels.iter_mut().for_each(|v| *v = 255 - *v);
        }
        self
    }

    /// A drawn digit as MNIST shows them: light on dark, the ground at 0 and the brightest stroke at 255, the longer
    /// side of the ink's box 20/28 of the picture's, its centre of mass in the middle.
    ///
    /// # Errors
    /// If the picture has colours or a side of `size` is 0.
    pub fn digit(&self, size: [usize; 2]) -> Result<Self> {
        ensure!(
            self.channels == Channels::Grey,
            "Picture: a digit is drawn in grey, got {:?}",
            self.channels
        );
        let levels = self.clone().light_on_dark().stretched();
        let Some(ink) = levels.ink() else { return levels.resize(size, Interpolation::Bilinear) };
        let room = size.map(|side| (side * 20).div_ceil(28));
        let scale =
            (0..2).map(|axis| room[axis] as f64 / ink.size[axis] as f64).fold(f64::INFINITY, f64::min);
        let scaled =
            [0, 1].map(|axis| ((ink.size[axis] as f64 * scale).round() as usize).clamp(1, room[axis].max(1)));
        let ink = ink.resize(scaled, Interpolation::Bilinear)?;
        let centre = ink.centre_of_mass();
        let place = [0, 1].map(|axis| {
            let free = size[axis] - scaled[axis];
            (size[axis] as f64 / 2.0 - centre[axis]).round().clamp(0.0, free as f64) as usize
        });
        let mut pixels = vec![0; size[0] * size[1]];
        ink.paste(&mut pixels, size[1], place);
        Ok(Self { pixels, size, channels: self.channels })
    }

    /// The edge's average becomes 0 and the brightest pixel 255; a picture of one colour becomes black.
    fn stretched(mut self) -> Self {
        let ground = self.edge()[0];
        let range = self.pixels.iter().max().map_or(0, |max| max - ground.min(*max));
        let stretch = |v: u8| (u32::from(v.saturating_sub(ground)) * 255 / u32::from(range.max(1))) as u8;
        self.pixels.iter_mut().for_each(|v| *v = stretch(*v));
        self
    }

    /// The smallest part that holds every pixel brighter than a third; nothing if none is.
    fn ink(&self) -> Option<Self> {
        let width = self.size[1];
        let bright =
            self.pixels.iter().enumerate().filter(|(_, v)| **v > 85).map(|(i, _)| [i / width, i % width]);
        let (low, high) = bright.fold(([usize::MAX; 2], [0; 2]), |(low, high), p| {
            ([low[0].min(p[0]), low[1].min(p[1])], [high[0].max(p[0]), high[1].max(p[1])])
        });
        if low[0] > high[0] {
            return None;
        }
        let rows = self.pixels.chunks_exact(width).skip(low[0]).take(high[0] + 1 - low[0]);
        let pixels = rows.flat_map(|row| &row[low[1]..=high[1]]).copied().collect();
        Some(Self { pixels, size: [high[0] + 1 - low[0], high[1] + 1 - low[1]], channels: self.channels })
    }

    /// Height and width at which the values balance, in pixels from the top left corner.
    fn centre_of_mass(&self) -> [f64; 2] {
        let mut sums = [0.0; 3];
        for (i, &v) in self.pixels.iter().enumerate() {
            let (y, x, v) = ((i / self.size[1]) as f64 + 0.5, (i % self.size[1]) as f64 + 0.5, f64::from(v));
            sums = [sums[0] + v * y, sums[1] + v * x, sums[2] + v];
        }
        [sums[0] / sums[2].max(1.0), sums[1] / sums[2].max(1.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::grey;
    use super::*;

    #[test]
    fn ink_on_paper_is_turned_over_and_light_on_dark_left() {
        let mut paper = vec![250; 25];
        paper[12] = 0;
        let turned = grey(&paper, [5, 5]).light_on_dark();
        assert_eq!((turned.pixels[0], turned.pixels[12]), (5, 255));
        assert_eq!(turned.clone().light_on_dark(), turned);
    }

    #[test]
    fn digits_are_placed_as_in_mnist() -> Result<()> {
        // A bar of ink, 40 high and 10 wide, off centre on grey paper.
        let bar = |y: usize, x: usize| if (50..90).contains(&y) && (5..15).contains(&x) { 40 } else { 200 };
        let paper: Vec<u8> = (0..100 * 120).map(|i| bar(i / 120, i % 120)).collect();
        let digit = grey(&paper, [100, 120]).digit([28, 28])?;
        // 20 of 28 rows, in proportion 5 columns, in the middle: rows 4 to 23, columns 12 to 16 (half a pixel off).
        for (i, &v) in digit.pixels.iter().enumerate() {
            let inside = (4..24).contains(&(i / 28)) && (12..17).contains(&(i % 28));
            assert_eq!(v, if inside { 255 } else { 0 }, "row {}, column {}", i / 28, i % 28);
        }
        let blank = grey(&[255; 64], [8, 8]).digit([28, 28])?;
        assert_eq!(blank.pixels, [0; 784]);
        assert!(Picture::new(vec![0; 3], [1, 1], Channels::Rgb)?.digit([28, 28]).is_err());
        Ok(())
    }

    #[test]
    fn the_centre_of_mass_not_of_the_box_is_in_the_middle() -> Result<()> {
        // Two dots, one bright and one half as bright, eleven apart: the balance lies nearer the bright one.
        let mut dots = vec![0; 20 * 20];
        (dots[10 * 20 + 4], dots[10 * 20 + 15]) = (250, 125);
        let digit = grey(&dots, [20, 20]).digit([28, 28])?;
        let [y, x] = digit.centre_of_mass();
        assert!((y - 14.0).abs() <= 0.5 && (x - 14.0).abs() <= 0.5, "{y}, {x}");
        Ok(())
    }
}
