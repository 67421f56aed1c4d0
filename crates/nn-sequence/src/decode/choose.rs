//! One token from the scores of all.

use std::cmp::Ordering;

use candle_core::Result;
use nn_core::{Random, ensure};

/// How tokens are drawn; the defaults draw by the model's own probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What scores are divided by, above 0: below 1 likely tokens become likelier.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from.
    ///
    /// Source: Fan, Lewis & Dauphin 2018, arXiv:1805.04833, §5.3.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens whose probabilities together reach this are drawn from, in (0, 1].
    ///
    /// Source: Holtzman et al. 2020, arXiv:1904.09751, §3.1.
    pub top_p: Option<f64>,
    /// What the draws come from.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    pub(super) fn check(self) -> Result<()> {
        let Self { temperature, top_k, top_p, .. } = self;
        ensure!(
            temperature > 0.0 && temperature.is_finite(),
            "sample: the temperature must be a number above 0, got {temperature}"
        );
        ensure!(top_k != Some(0), "sample: top_k must be at least 1");
        ensure!(top_p.is_none_or(|p| p > 0.0 && p <= 1.0), "sample: top_p must be in (0, 1], got {top_p:?}");
        Ok(())
    }

    /// A token by its probability among those that are left.
    pub(super) fn draw(self, scores: &[f32], random: Random) -> u32 {
        let mut tokens: Vec<usize> = (0..scores.len()).collect();
        let likelier = |&a: &usize, &b: &usize| by_score(scores, b, a);
        if let Some(k) = self.top_k.filter(|&k| k < tokens.len()) {
            tokens.select_nth_unstable_by(k, likelier);
            tokens.truncate(k);
        }
        tokens.sort_unstable_by(likelier);
        let Some(&first) = tokens.first() else { return 0 };
        let weight = |&token: &usize| (f64::from(scores[token] - scores[first]) / self.temperature).exp();
        let weights: Vec<f64> = tokens.iter().map(weight).collect();
        let mut left = weights.len();
        if let Some(p) = self.top_p {
            let enough = p * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= enough
            });
            left = reached.map_or(left, |last| last + 1);
        }
        let mut point = random.draws().unit() * weights[..left].iter().sum::<f64>();
        for (&token, weight) in tokens.iter().zip(&weights[..left]) {
            point -= weight;
            if point < 0.0 {
                return token as u32;
            }
        }
        tokens[left - 1] as u32
    }
}

/// The first of the likeliest tokens; a score that is no number is not looked at.
pub(super) fn likeliest(scores: &[f32]) -> u32 {
    // The largest score side by side, in what the compiler makes vectors of, and then its place.
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = scores.as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for block in blocks {
        for (largest, &score) in largest.iter_mut().zip(block) {
            *largest = larger(*largest, score);
        }
    }
    let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
    scores.iter().position(|&score| score == largest).unwrap_or(0) as u32
}

/// Of two tokens the likelier, or the first, is the greater.
fn by_score(scores: &[f32], a: usize, b: usize) -> Ordering {
    scores[a].total_cmp(&scores[b]).then(b.cmp(&a))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each token is drawn.
    fn shares<const N: usize>(sampling: Sampling, scores: [f32; N]) -> [f64; N] {
        const DRAWS: u64 = 20_000;
        let mut shares = [0.0; N];
        for n in 0..DRAWS {
            shares[sampling.draw(&scores, Random::new(n)) as usize] += 1.0 / DRAWS as f64;
        }
        shares
    }

    #[test]
    fn draws_follow_the_probabilities_that_are_left() {
        let scores = [0f32, 8f32.ln(), 1f32.ln(), 4f32.ln()].map(|x| x - 1.0); // 1, 8, 1, 4
        let own = Sampling::default();
        for (sampling, expected) in [
            (own, [1.0, 8.0, 1.0, 4.0]),
            (Sampling { temperature: 0.5, ..own }, [1.0, 64.0, 1.0, 16.0]),
            (Sampling { top_k: Some(2), ..own }, [0.0, 8.0, 0.0, 4.0]),
            (Sampling { top_k: Some(3), ..own }, [1.0, 8.0, 0.0, 4.0]),
            (Sampling { top_k: Some(9), ..own }, [1.0, 8.0, 1.0, 4.0]),
            (Sampling { top_p: Some(0.5), ..own }, [0.0, 1.0, 0.0, 0.0]),
            (Sampling { top_p: Some(0.6), ..own }, [0.0, 8.0, 0.0, 4.0]),
            (Sampling { top_p: Some(1.0), ..own }, [1.0, 8.0, 1.0, 4.0]),
            (Sampling { top_k: Some(2), top_p: Some(0.6), ..own }, [0.0, 1.0, 0.0, 0.0]),
        ] {
            let total: f64 = expected.iter().sum();
            for (share, expected) in shares(sampling, scores).into_iter().zip(expected) {
                let off = (share - expected / total).abs();
                // Four standard deviations of 20,000 draws.
                assert!(off < 0.015, "{sampling:?}: {share} is not {}", expected / total);
                assert!(expected > 0.0 || share == 0.0, "{sampling:?} draws what is left out");
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_the_likeliest() {
        assert_eq!(likeliest(&[0.0, 2.0, 1.0, 2.0]), 1);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 3]), 0);
        assert_eq!(likeliest(&[f32::NAN, -3.0, f32::NAN]), 1);
        for place in [0, 15, 16, 31, 32, 34] {
            let scores: Vec<f32> = (0..35).map(|i| if i >= place { 1.0 } else { -1.0 }).collect();
            assert_eq!(likeliest(&scores), place as u32);
        }
    }
}
