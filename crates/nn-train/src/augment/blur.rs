//! Each pixel the mean of its neighbourhood, weighted by a Gaussian.
//!
//! Source: torchvision's `GaussianBlur`; drawn as in SimCLR (Chen et al. 2020, arXiv:2002.05709, appendix A).

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::probability;
use crate::data::{Example, Image};

/// Blurred with a probability, by a width that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianBlur {
    /// In [0, 1].
    pub probability: f64,
    /// Pixels a side of the neighbourhood, an odd number.
    pub kernel: usize,
    /// The least and the largest standard deviation, in pixels.
    pub sigma: [f64; 2],
}

impl Default for GaussianBlur {
    /// SimCLR's, for pictures of 224 pixels.
    fn default() -> Self {
        Self { probability: 0.5, kernel: 23, sigma: [0.1, 2.0] }
    }
}

/// A larger neighbourhood is a mistake.
const MAX_KERNEL: usize = 1023;

impl GaussianBlur {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { kernel, sigma: [low, high], .. } = *self;
        let odd = kernel % 2 == 1 && kernel <= MAX_KERNEL;
        ensure!(odd, "GaussianBlur: kernel must be odd and at most {MAX_KERNEL}, got {kernel}");
        ensure!(
            0.0 < low && low <= high && high.is_finite(),
            "GaussianBlur: sigma must be two rising numbers above 0, got [{low}, {high}]"
        );
        probability("GaussianBlur", self.probability)
    }

    /// The example, blurred if `random` has it so. A mask stays as it is.
    ///
    /// # Errors
    /// As [`GaussianBlur::check`].
    pub fn apply(&self, mut example: Example, random: Random) -> Result<Example> {
        self.check()?;
        let mut draws = random.draws();
        if draws.unit() < self.probability {
            let sigma = draws.uniform(self.sigma[0], self.sigma[1]);
            blur(&mut example.image, self.kernel, sigma);
        }
        Ok(example)
    }
}

/// Weighted by `exp(−d²/2σ²)` over `kernel` pixels a side; beyond its edges the picture is mirrored.
pub fn blur(image: &mut Image, kernel: usize, sigma: f64) {
    let ([_, h, w], weights) = (image.size(), gaussian(kernel, sigma));
    for plane in image.pixels_mut().chunks_exact_mut(h * w) {
        let values: Vec<f32> = plane.iter().map(|&v| f32::from(v)).collect();
        let smooth = smoothed(&values, [h, w], &weights);
        plane.iter_mut().zip(smooth).for_each(|(out, v)| *out = v.round_ties_even() as u8);
    }
}

/// Weights of `kernel` neighbours in a row, which sum to 1.
pub(super) fn gaussian(kernel: usize, sigma: f64) -> Vec<f32> {
    let middle = (kernel as f64 - 1.0) / 2.0;
    let weights: Vec<f64> =
        (0..kernel).map(|i| (-0.5 * ((i as f64 - middle) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// A plane `[H, W]` whose rows, then columns, are weighted means; beyond its edges it is mirrored.
pub(super) fn smoothed(plane: &[f32], [h, w]: [usize; 2], weights: &[f32]) -> Vec<f32> {
    let reach = weights.len() / 2;
    let inside = |at: usize, side: usize| mirrored(at as i64 - reach as i64, side);
    let add = |out: &mut [f32], values: &[f32], weight: f32| {
        out.iter_mut().zip(values).for_each(|(out, v)| *out += weight * v);
    };
    let mut rows = vec![0.0; h * w];
    let columns: Vec<usize> = (0..w + 2 * reach).map(|at| inside(at, w)).collect();
    for (out, row) in rows.chunks_exact_mut(w).zip(plane.chunks_exact(w)) {
        let wide: Vec<f32> = columns.iter().map(|&at| row[at]).collect();
        weights.iter().enumerate().for_each(|(i, &weight)| add(out, &wide[i..], weight));
    }
    let mut smooth = vec![0.0; h * w];
    for (y, out) in smooth.chunks_exact_mut(w).enumerate() {
        for (&weight, at) in weights.iter().zip(y..) {
            add(out, &rows[inside(at, h) * w..][..w], weight);
        }
    }
    smooth
}

/// The place that a place beyond `0..side` is the mirror image of; the pixel at the edge has none.
fn mirrored(at: i64, side: usize) -> usize {
    let last = side as i64 - 1;
    if last == 0 {
        return 0;
    }
    let turn = at.rem_euclid(2 * last);
    turn.min(2 * last - turn) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    #[test]
    fn edges_are_mirrored_however_far() {
        let places: Vec<usize> = (-4..8).map(|at| mirrored(at, 3)).collect();
        assert_eq!(places, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!((mirrored(-7, 1), mirrored(5, 1)), (0, 0));
    }

    #[test]
    fn flat_stays_flat_and_a_point_spreads() -> Result<()> {
        let mut flat = Image::new(vec![77; 12], [1, 3, 4])?;
        blur(&mut flat, 23, 2.0);
        assert_eq!(flat.pixels(), [77; 12]);
        // e^(−1/2) : 1 : e^(−1/2) is 0.274 : 0.452 : 0.274.
        let mut point = Image::new(vec![0, 0, 100, 0, 0], [1, 1, 5])?;
        blur(&mut point, 3, 1.0);
        assert_eq!(point.pixels(), [0, 27, 45, 27, 0]);
        Ok(())
    }

    #[test]
    fn a_share_is_blurred_and_masks_are_not() -> Result<()> {
        let example = masked([6, 6]);
        let blurred = |probability| -> Result<usize> {
            let blur = GaussianBlur { probability, kernel: 5, sigma: [0.5, 1.5] };
            let mut count = 0;
            for n in 0..200 {
                let seen = blur.apply(example.clone(), Random::new(0).nth(n))?;
                assert_eq!(seen.target, example.target);
                count += usize::from(seen.image != example.image);
            }
            Ok(count)
        };
        assert_eq!((blurred(0.0)?, blurred(1.0)?), (0, 200));
        assert!((70..130).contains(&blurred(0.5)?));
        let even = GaussianBlur { kernel: 4, ..GaussianBlur::default() };
        assert!(even.apply(example, Random::new(0)).is_err());
        Ok(())
    }
}
