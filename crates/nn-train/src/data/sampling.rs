//! Examples drawn by weight, so that rare classes are met as often as common ones.
//!
//! Source: `torch.utils.data.WeightedRandomSampler` with `replacement=True`.

use std::collections::BTreeMap;

use candle_core::Result;
use nn_core::{Random, ensure};

/// Weights by which every class is drawn as often as any other: for each example, one over how many there are of its
/// class.
pub fn balanced(labels: &[u32]) -> Vec<f64> {
    let mut counts = BTreeMap::<u32, usize>::new();
    labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    labels.iter().map(|label| 1.0 / counts[label] as f64).collect()
}

/// Draws indices in proportion to their weights, again and again.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    /// Of each weight and all before it.
    sums: Vec<f64>,
}

impl Weighted {
    /// # Errors
    /// If a weight is negative or not finite, or none is above 0.
    pub(super) fn new(weights: &[f64]) -> Result<Self> {
        let wrong = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0));
        ensure!(
            wrong.is_none(),
            "Loader: a weight must be 0 or more, got {} at example {}",
            weights[wrong.unwrap_or(0)],
            wrong.unwrap_or(0)
        );
        let sums: Vec<f64> = weights
            .iter()
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().unwrap_or(0.0);
        ensure!(total > 0.0 && total.is_finite(), "Loader: weights must have a sum above 0, got {total}");
        Ok(Self { sums })
    }

    /// As many indices as there are weights.
    pub(super) fn draw(&self, random: Random) -> Vec<usize> {
        let mut draws = random.draws();
        let total = self.sums[self.sums.len() - 1];
        // Where rounding reaches the total, the last index that has a weight: the first whose sum is all.
        let last = self.sums.partition_point(|&sum| sum < total);
        let one = |_| {
            let place = draws.unit() * total;
            self.sums.partition_point(|&sum| sum <= place).min(last)
        };
        (0..self.sums.len()).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_weighs_the_same() {
        assert_eq!(balanced(&[7, 2, 7, 7, 7]), [0.25, 1.0, 0.25, 0.25, 0.25]);
        assert!(balanced(&[]).is_empty());
    }

    #[test]
    fn examples_come_in_proportion_to_their_weights() -> Result<()> {
        let weights: Vec<f64> = (0..40_000).map(|i| [0.0, 1.0, 5.0, 2.0][i % 4]).collect();
        let drawn = Weighted::new(&weights)?.draw(Random::new(3));
        assert_eq!(drawn.len(), weights.len());
        let mut counts = [0f64; 4];
        drawn.iter().for_each(|&i| counts[i % 4] += 1.0);
        assert_eq!(counts[0], 0.0);
        // Four deviations of a binomial with n = 40,000.
        for (count, weight) in counts.iter().zip([0.0f64, 1.0, 5.0, 2.0]) {
            let p = weight / 8.0;
            let away = (count - 4e4 * p).abs();
            assert!(away <= 4.0 * (4e4 * p * (1.0 - p)).sqrt(), "{counts:?}");
        }
        assert_eq!(Weighted::new(&[0.0, 3.0, 0.0])?.draw(Random::new(0)), [1, 1, 1]);
        Ok(())
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        for (weights, says) in [
            (&[1.0, -1.0][..], "0 or more, got -1 at example 1"),
            (&[f64::NAN], "0 or more, got NaN at example 0"),
            (&[0.0, 0.0], "a sum above 0, got 0"),
            (&[f64::MAX, f64::MAX], "a sum above 0, got inf"),
            (&[], "a sum above 0, got 0"),
        ] {
            let error = Weighted::new(weights).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
