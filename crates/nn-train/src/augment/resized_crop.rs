//! A part of random size and proportions, stretched to one size.
//!
//! Source: Szegedy et al. 2014, arXiv:1409.4842, section 6; drawn as torchvision's `RandomResizedCrop` does.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::{Fit, middle};
use crate::data::{Example, Resample};

/// A part of the picture whose share of the area and whose proportions are drawn, resized.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// The least and the largest share of the picture's area.
    pub scale: [f64; 2],
    /// The least and the largest width in heights; its logarithm is uniform.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomResizedCrop {
    /// # Errors
    /// If a range is empty or holds numbers that are not positive, or a share is above 1.
    pub fn check(&self) -> Result<()> {
        for (what, [low, high], most) in [("scale", self.scale, 1.0), ("ratio", self.ratio, f64::MAX)] {
            ensure!(
                0.0 < low && low <= high && high <= most,
                "RandomResizedCrop: {what} must be two rising numbers above 0, at most {most}, got [{low}, {high}]"
            );
        }
        Ok(())
    }

    /// The part of the example that `random` has, resized to the size of `fit`.
    ///
    /// # Errors
    /// If a side of that is 0.
    pub fn apply(&self, example: Example, fit: Fit, random: Random) -> Result<Example> {
        let Fit { size, resample, .. } = fit;
        let [_, h, w] = example.image.size();
        let (place, part) = self.part([h, w], random);
        example.moved(
            |image| image.window(place, part, 0).resized(size, resample),
            |mask, ignore| mask.window(place, part, ignore).resized(size, Resample::Nearest),
        )
    }

    /// Where the part lies, and its size; in the middle, if ten draws do not fit into the picture.
    fn part(&self, [h, w]: [usize; 2], random: Random) -> ([i64; 2], [usize; 2]) {
        let mut draws = random.draws();
        let [low, high] = self.ratio.map(f64::ln);
        for _ in 0..10 {
            let area = (h * w) as f64 * draws.uniform(self.scale[0], self.scale[1]);
            let ratio = draws.uniform(low, high).exp();
            let part =
                [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|side| side.round_ties_even() as usize);
            if (1..=h).contains(&part[0]) && (1..=w).contains(&part[1]) {
                let place = [h - part[0], w - part[1]].map(|room| i64::from(draws.below(room as u32 + 1)));
                return (place, part);
            }
        }
        let [low, high] = self.ratio;
        let side = |n: f64, most: usize| (n.round_ties_even() as usize).clamp(1, most);
        let part = match w as f64 / h as f64 {
            narrow if narrow < low => [side(w as f64 / low, h), w],
            wide if wide > high => [h, side(h as f64 * high, w)],
            _ => [h, w],
        };
        ([middle(h, part[0]), middle(w, part[1])], part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    #[test]
    fn parts_have_the_shares_and_proportions_asked_for() {
        let crop = RandomResizedCrop::default();
        let mut areas = Vec::new();
        for n in 0..2000 {
            let ([top, left], [h, w]) = crop.part([100, 140], Random::new(1).nth(n));
            assert!(top >= 0 && left >= 0 && top as usize + h <= 100 && left as usize + w <= 140);
            let ratio = w as f64 / h as f64;
            assert!((0.7..1.4).contains(&ratio), "{ratio}");
            areas.push((h * w) as f64 / 14_000.0);
        }
        let (least, most) = areas.iter().fold((1.0f64, 0.0f64), |(a, b), &v| (a.min(v), b.max(v)));
        assert!(least > 0.07 && least < 0.1 && most > 0.85, "{least} {most}");
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        // torchvision's parts of such a picture have 0.419; large ones often do not fit.
        assert!((0.40..0.44).contains(&mean), "{mean}");
    }

    #[test]
    fn what_never_fits_is_taken_from_the_middle() {
        let whole = RandomResizedCrop { scale: [1.0, 1.0], ..RandomResizedCrop::default() };
        assert_eq!(whole.part([10, 100], Random::new(0)), ([0, 44], [10, 13]));
        assert_eq!(whole.part([100, 10], Random::new(0)), ([44, 0], [13, 10]));
    }

    #[test]
    fn the_whole_picture_at_its_own_size_is_itself() -> Result<()> {
        let crop = RandomResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 1.0] };
        let example = masked([8, 8]);
        let fit = |size| Fit { size, ..Fit::default() };
        assert_eq!(crop.apply(example.clone(), fit([8, 8]), Random::new(0))?, example);
        assert_eq!(crop.apply(example, fit([5, 3]), Random::new(0))?.image.size(), [1, 5, 3]);
        Ok(())
    }
}
