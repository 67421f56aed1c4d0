//! A rectangle of a picture taken away, so that a network looks at the rest too.
//!
//! Source: Zhong et al. 2017, arXiv:1708.04896, algorithm 1; drawn as torchvision's `RandomErasing` does.
//! Differs: before normalisation, not after; so nothing is erased to normal noise, but to noise of bytes.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::probability;
use crate::data::{Example, Image};

/// A rectangle whose share of the area and whose proportions are drawn, filled. A mask stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// In [0, 1].
    pub probability: f64,
    /// The least and the largest share of the picture's area.
    pub scale: [f64; 2],
    /// The least and the largest height in widths; its logarithm is uniform.
    pub ratio: [f64; 2],
    /// What is there instead.
    pub fill: Fill,
}

/// What an erased rectangle is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// A byte for each pixel and channel, drawn: the best of the paper's table 5.
    #[default]
    Noise,
    /// The picture's mean colour.
    Mean,
    /// Zero.
    Black,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], fill: Fill::Noise }
    }
}

impl RandomErasing {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        for (what, [low, high], most) in [("scale", self.scale, 1.0), ("ratio", self.ratio, f64::MAX)] {
            ensure!(
                0.0 < low && low <= high && high <= most,
                "RandomErasing: {what} must be two rising numbers above 0, at most {most}, got [{low}, {high}]"
            );
        }
        probability("RandomErasing", self.probability)
    }

    /// The example without the rectangle that `random` has, if it has one.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&self, mut example: Example, random: Random) -> Result<Example> {
        let mut draws = random.draws();
        let size = example.image.size();
        let [_, h, w] = size;
        if draws.unit() >= self.probability {
            return Ok(example);
        }
        let [low, high] = self.ratio.map(f64::ln);
        for _ in 0..10 {
            let area = (h * w) as f64 * draws.uniform(self.scale[0], self.scale[1]);
            let ratio = draws.uniform(low, high).exp();
            let part =
                [(area * ratio).sqrt(), (area / ratio).sqrt()].map(|side| side.round_ties_even() as usize);
            if part[0] >= h || part[1] >= w {
                continue;
            }
            let place = [h - part[0], w - part[1]].map(|room| draws.below(room as u32 + 1) as usize);
            match self.fill {
                Fill::Noise => erase(&mut example.image, place, part, |_| draws.word() as u8),
                Fill::Black => erase(&mut example.image, place, part, |_| 0),
                Fill::Mean => {
                    let means: Vec<u8> = example.image.planes().map(mean).collect();
                    erase(&mut example.image, place, part, |channel| means[channel]);
                }
            }
            break;
        }
        Ok(example)
    }
}

fn mean(plane: &[u8]) -> u8 {
    let sum: u64 = plane.iter().map(|&v| u64::from(v)).sum();
    ((sum + plane.len() as u64 / 2) / plane.len() as u64) as u8
}

/// Replaces `[height, width]` pixels from `[top, left]` on by what `fill` gives for a channel; what lies beyond the picture
/// is left out.
pub fn erase(
    image: &mut Image,
    [top, left]: [usize; 2],
    [height, width]: [usize; 2],
    mut fill: impl FnMut(usize) -> u8,
) {
    let [_, h, w] = image.size();
    let columns = left.min(w)..left.saturating_add(width).min(w);
    for (channel, plane) in image.pixels_mut().chunks_exact_mut(h * w).enumerate() {
        for row in plane.chunks_exact_mut(w).skip(top).take(height) {
            row[columns.clone()].iter_mut().for_each(|v| *v = fill(channel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Target;

    #[test]
    fn a_rectangle_of_the_share_asked_for_is_gone() -> Result<()> {
        let image = Image::new([[200; 400], [100; 400]].concat(), [2, 20, 20])?;
        let example = Example { image, target: Target::Class(0) };
        let erased = |erasing: RandomErasing, n: u64| erasing.apply(example.clone(), Random::new(0).nth(n));
        let mut shares = Vec::new();
        for n in 0..200 {
            let seen =
                erased(RandomErasing { fill: Fill::Black, probability: 1.0, ..Default::default() }, n)?;
            let gone: Vec<usize> = (0..400).filter(|&at| seen.image.pixels()[at] == 0).collect();
            assert!(gone.iter().all(|&at| seen.image.pixels()[400 + at] == 0));
            let (rows, columns) = (gone.iter().map(|at| at / 20), gone.iter().map(|at| at % 20));
            let side = |min: Option<usize>, max: Option<usize>| max.unwrap_or(0) + 1 - min.unwrap_or(0);
            let rectangle = side(rows.clone().min(), rows.max()) * side(columns.clone().min(), columns.max());
            assert_eq!(rectangle, gone.len(), "{n}");
            shares.push(gone.len() as f64 / 400.0);
        }
        assert!(shares.iter().all(|share| (0.01..0.36).contains(share)));
        let mean = shares.iter().sum::<f64>() / 200.0;
        assert!((0.14..0.21).contains(&mean), "{mean}");
        // The mean colour of a flat picture is the picture.
        let mean = RandomErasing { fill: Fill::Mean, probability: 1.0, ..Default::default() };
        assert_eq!(erased(mean, 0)?, example);
        let noise = RandomErasing { probability: 1.0, ..Default::default() };
        assert_ne!(erased(noise, 0)?, example);
        assert_eq!(erased(noise, 0)?, erased(noise, 0)?);
        assert_eq!(erased(RandomErasing { probability: 0.0, ..noise }, 0)?, example);
        Ok(())
    }

    #[test]
    fn what_lies_beyond_is_left_out() -> Result<()> {
        let mut image = Image::new(vec![1; 6], [1, 2, 3])?;
        erase(&mut image, [1, 2], [5, usize::MAX], |_| 7);
        erase(&mut image, [9, 9], [1, 1], |_| 8);
        assert_eq!(image.pixels(), [1, 1, 1, 1, 1, 7]);
        Ok(())
    }
}
