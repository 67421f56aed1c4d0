//! Whether scores put what is there above what is not.

use serde::{Deserialize, Serialize};

/// Scores of examples, each of which is of the class in question or not: sixteen bytes each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    scores: Vec<(f64, bool)>,
}

/// Examples with one score.
#[derive(Clone, Copy)]
struct Tied {
    positives: f64,
    all: f64,
}

impl Ranking {
    /// Adds an example that is of the class.
    pub fn positive(&mut self, score: f64) {
        self.scores.push((score, true));
    }

    /// Adds an example that is not.
    pub fn negative(&mut self, score: f64) {
        self.scores.push((score, false));
    }

    /// Adds the examples of another.
    pub(super) fn join(&mut self, other: Self) {
        self.scores.extend(other.scores);
    }

    /// From the highest score to the lowest; examples with one score are together.
    fn tied(&self) -> Vec<Tied> {
        let mut scores = self.scores.clone();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let ties = scores.chunk_by(|a, b| a.0 == b.0);
        ties.map(|tie| Tied {
            positives: tie.iter().filter(|(_, positive)| *positive).count() as f64,
            all: tie.len() as f64,
        })
        .collect()
    }

    /// The area under the receiver operating characteristic: the probability that a positive example scores higher than a
    /// negative one, ties counted half. `None` if all are of one kind.
    ///
    /// Source: Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC)
    /// curve".
    pub fn roc_auc(&self) -> Option<f64> {
        let (mut above, mut pairs) = (0.0, 0.0);
        for Tied { positives, all } in self.tied() {
            pairs += (all - positives) * (above + positives / 2.0);
            above += positives;
        }
        let all = above * (self.scores.len() as f64 - above);
        (all > 0.0).then(|| pairs / all)
    }

    /// The mean over the positive examples of the precision down to each: `Σ (Rₙ − Rₙ₋₁) · Pₙ`, the area under the
    /// precision-recall curve. `None` if there are none.
    pub fn average_precision(&self) -> Option<f64> {
        let (mut hits, mut claimed, mut sum) = (0.0, 0.0, 0.0);
        for Tied { positives, all } in self.tied() {
            hits += positives;
            claimed += all;
            sum += positives * hits / claimed;
        }
        (hits > 0.0).then(|| sum / hits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_the_right_order() {
        let mut ranking = Ranking::default();
        assert_eq!((ranking.roc_auc(), ranking.average_precision()), (None, None));
        [0.1, 0.4].into_iter().for_each(|score| ranking.negative(score));
        [0.35, 0.8].into_iter().for_each(|score| ranking.positive(score));
        assert_eq!(ranking.roc_auc(), Some(0.75));
        let precision = ranking.average_precision().expect("positives");
        assert!((precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12, "{precision}");
        let mut tied = Ranking::default();
        tied.positive(0.5);
        tied.negative(0.5);
        assert_eq!((tied.roc_auc(), tied.average_precision()), (Some(0.5), Some(0.5)));
    }
}
