//! Pictures of a batch mixed with one another, and their classes with them.
//!
//! Source: mixup, Zhang et al. 2017, arXiv:1710.09412, equation 1; CutMix, Yun et al. 2019, arXiv:1905.04899, section 3.1.
//! Differs: as in torchvision, an example is mixed with the one before it, the first with the last, and the whole batch in
//! one proportion.

use candle_core::Result;
use nn_core::random::Draws;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

/// Each picture a mean of two, weighted by a share λ from Beta(α, α).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// Above 0: near 0 little is mixed, at 1 every share is as likely, beyond it halves are.
    pub alpha: f64,
}

/// A rectangle of each picture is another's; it has the share 1 − λ of the area, with λ from Beta(α, α).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cutmix {
    /// Above 0, as [`Mixup::alpha`].
    pub alpha: f64,
}

impl Default for Mixup {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

impl Default for Cutmix {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

/// How the examples of a batch are mixed. Of two ways one is drawn for each batch; of none a batch stays as it is.
///
/// [`Prepared::mixed`](crate::data::Prepared::mixed) does it to the batches of a loader. By hand, to two pictures of one
/// number each:
///
/// ```
/// use nn_core::Random;
/// use nn_train::augment::{Mix, Mixing, Mixup};
///
/// let mix = Mix { mixup: Some(Mixup { alpha: 0.2 }), cutmix: None };
/// assert!(matches!(mix.draw([1, 1], Random::new(0)), Some(Mixing::Mean(_))));
/// let mut pictures = [0.0, 1.0];
/// let shares = Mixing::Mean(0.75).apply(&mut pictures, [1, 1, 1], &[0, 2], 3)?;
/// assert_eq!((pictures, shares), ([0.25, 0.75], vec![0.75, 0.0, 0.25, 0.25, 0.0, 0.75]));
/// # candle_core::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Means.
    pub mixup: Option<Mixup>,
    /// Rectangles.
    pub cutmix: Option<Cutmix>,
}

/// What is done to one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixing {
    /// Each picture keeps this share, and the one before it gives the rest.
    Mean(f64),
    /// The rows and columns, from and to, that come from the picture before.
    Part([[usize; 2]; 2]),
}

impl Mix {
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let alphas =
            [("Mixup", self.mixup.map(|mix| mix.alpha)), ("Cutmix", self.cutmix.map(|mix| mix.alpha))];
        for (who, alpha) in alphas {
            let alpha = alpha.unwrap_or(1.0);
            ensure!(alpha > 0.0 && alpha <= 1e3, "{who}: alpha must be in (0, 1000], got {alpha}");
        }
        Ok(())
    }

    /// What becomes of a batch of pictures `[H, W]`, as `random` has it.
    pub fn draw(&self, size: [usize; 2], random: Random) -> Option<Mixing> {
        let mut draws = random.draws();
        let means = match (self.mixup, self.cutmix) {
            (Some(_), Some(_)) => draws.unit() < 0.5,
            (mixup, _) => mixup.is_some(),
        };
        if means {
            return self.mixup.map(|Mixup { alpha }| Mixing::Mean(beta(alpha, &mut draws)));
        }
        self.cutmix.map(|Cutmix { alpha }| {
            // The rectangle has the picture's proportions, and is cut off where the picture ends.
            let half = 0.5 * (1.0 - beta(alpha, &mut draws)).sqrt();
            Mixing::Part(size.map(|side| {
                let (middle, reach) = (draws.below(side as u32) as usize, (half * side as f64) as usize);
                [middle.saturating_sub(reach), (middle + reach).min(side)]
            }))
        })
    }
}

impl Mixing {
    /// Mixes the inputs `[B, C, H, W]` and gives the share of each class in each, `[B, classes]`.
    ///
    /// # Errors
    /// If the inputs are no whole number of pictures, one for each label, or a label is no class.
    pub fn apply(
        self,
        inputs: &mut [f32],
        [channels, h, w]: [usize; 3],
        labels: &[u32],
        classes: usize,
    ) -> Result<Vec<f32>> {
        let area = channels * h * w;
        ensure!(
            inputs.len() == labels.len() * area,
            "Mixing: every picture needs one label, got {} numbers for {} labels of {area} each",
            inputs.len(),
            labels.len()
        );
        let beyond = labels.iter().find(|&&label| label as usize >= classes);
        ensure!(beyond.is_none(), "Mixing: labels must be below the {classes} classes, got {beyond:?}");
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let last = inputs[inputs.len() - area..].to_vec();
        // From the end, so that the one before is still as it was.
        for n in (0..labels.len()).rev() {
            let (before, own) = inputs.split_at_mut(n * area);
            let other = if n == 0 { &last[..] } else { &before[(n - 1) * area..] };
            self.mix(&mut own[..area], other, [h, w]);
        }
        let share = self.share([h, w]);
        let (own, rest) = (share as f32, (1.0 - share) as f32);
        let mut shares = vec![0.0; labels.len() * classes];
        for (n, row) in shares.chunks_exact_mut(classes).enumerate() {
            row[labels[(n + labels.len() - 1) % labels.len()] as usize] += rest;
            row[labels[n] as usize] += own;
        }
        Ok(shares)
    }

    fn mix(self, own: &mut [f32], other: &[f32], [h, w]: [usize; 2]) {
        match self {
            Self::Mean(share) => {
                let (share, rest) = (share as f32, (1.0 - share) as f32);
                own.iter_mut().zip(other).for_each(|(own, other)| *own = other * rest + *own * share);
            }
            Self::Part([[top, bottom], [left, right]]) => {
                let (own, other) = (own.chunks_exact_mut(h * w), other.chunks_exact(h * w));
                for (own, other) in own.zip(other) {
                    for place in (top..bottom).map(|y| y * w + left..y * w + right) {
                        own[place.clone()].copy_from_slice(&other[place]);
                    }
                }
            }
        }
    }

    /// What is left of a picture.
    fn share(self, [h, w]: [usize; 2]) -> f64 {
        match self {
            Self::Mean(share) => share,
            Self::Part([[top, bottom], [left, right]]) => {
                1.0 - ((bottom - top) * (right - left)) as f64 / (h * w) as f64
            }
        }
    }
}

/// A draw from Beta(α, α): the share of one of two draws from Gamma(α) in their sum, by their logarithms, so that small
/// ones do not vanish.
fn beta(alpha: f64, draws: &mut Draws) -> f64 {
    let (one, other) = (ln_gamma(alpha, draws), ln_gamma(alpha, draws));
    1.0 / (1.0 + (other - one).exp())
}

/// The logarithm of a draw from Gamma(α), by Marsaglia & Tsang 2000, "A simple method for generating gamma variables":
/// one from Gamma(α + 1), times `u^(1/α)`.
fn ln_gamma(alpha: f64, draws: &mut Draws) -> f64 {
    let d = alpha + 2.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let least = (1.0 - draws.unit()).ln() / alpha;
    loop {
        let x = draws.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - draws.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln() + least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean ½ and variance 1 / 4(2α + 1).
    #[test]
    fn shares_have_the_moments_of_their_distribution() {
        for alpha in [0.05, 0.2, 1.0, 4.0] {
            let draw = |n| beta(alpha, &mut Random::new(3).nth(n).draws());
            let values: Vec<f64> = (0..20_000).map(draw).collect();
            let mean = values.iter().sum::<f64>() / 20_000.0;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.012 && (variance / expected - 1.0).abs() < 0.03, "{alpha}");
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        assert!(beta(1e-3, &mut Random::new(0).draws()).is_finite());
    }

    #[test]
    fn both_ways_are_drawn_and_rectangles_stay_inside() {
        let mix = Mix { mixup: Some(Mixup::default()), cutmix: Some(Cutmix::default()) };
        let (mut means, mut area) = (0, 0.0);
        for n in 0..2000 {
            match mix.draw([100, 200], Random::new(0).nth(n)).expect("one of two") {
                Mixing::Mean(_) => means += 1,
                Mixing::Part([[top, bottom], [left, right]]) => {
                    assert!(top <= bottom && bottom <= 100 && left <= right && right <= 200);
                    area += ((bottom - top) * (right - left)) as f64 / 20_000.0;
                }
            }
        }
        assert!((900..1100).contains(&means));
        // ∫ u (1 − √u / 4)² du over shares u in [0, 1]: a side s is cut off to s − s² / 4.
        let mean = area / f64::from(2000 - means);
        assert!((mean - 0.32).abs() < 0.03, "{mean}");
        assert_eq!(Mix::default().draw([10, 20], Random::new(0)), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for alpha in [0.0, -1.0, f64::NAN, 1e4] {
            let mix = Mix { mixup: Some(Mixup { alpha }), cutmix: None };
            assert!(
                mix.check().expect_err("refused").to_string().contains("Mixup: alpha must be in (0, 1000]")
            );
        }
        let half = Mixing::Mean(0.5);
        assert!(half.apply(&mut [0.0; 5], [1, 1, 2], &[0, 1], 2).is_err());
        assert!(half.apply(&mut [0.0; 4], [1, 1, 2], &[0, 2], 2).is_err());
        assert_eq!(half.apply(&mut [], [1, 1, 2], &[], 2).expect("nothing to mix"), [0f32; 0]);
    }
}
