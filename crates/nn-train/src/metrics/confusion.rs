//! Which classes were taken for which, and what follows from it.

use serde::{Deserialize, Serialize};

use super::Found;

/// How often which class was taken for which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Row by row: `counts[target][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// How classes become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// All decisions together: precision, recall and F are the accuracy.
    Micro,
    /// The mean over the classes that were there or were claimed.
    Macro,
}

/// Precision, recall and their mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// Of what was claimed, the share that was right.
    pub precision: f64,
    /// Of what was there, the share that was found.
    pub recall: f64,
    /// Their weighted harmonic mean; see [`Found::f`].
    pub f: f64,
}

impl Found {
    fn precision_recall(self, beta: f64) -> PrecisionRecall {
        PrecisionRecall { precision: self.precision(), recall: self.recall(), f: self.f(beta) }
    }
}

impl Confusion {
    /// No decisions between so many classes.
    pub(super) fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// What was found of each class.
    pub fn found(&self) -> Vec<Found> {
        let mut all = vec![Found::default(); self.counts.len()];
        for (target, row) in self.counts.iter().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                all[target].there += count;
                all[predicted].claimed += count;
                all[target].hits += if target == predicted { count } else { 0 };
            }
        }
        all
    }

    /// Intersection over union of each class: right decisions for it, of all places that are of the class or were
    /// taken for it. `None` where there are none.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let of = |Found { hits, claimed, there }| {
            let union = there + claimed - hits;
            (union > 0).then(|| hits as f64 / union as f64)
        };
        self.found().into_iter().map(of).collect()
    }

    /// The mean of [`Self::iou`] over the classes that have one.
    pub fn mean_iou(&self) -> Option<f64> {
        let each: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
    }

    /// Precision, recall and F-beta over classes; the same as scikit-learn's with `zero_division=0`. `None` if nothing was
    /// decided.
    pub fn precision_recall(&self, average: Average, beta: f64) -> Option<PrecisionRecall> {
        let mut found = self.found();
        found.retain(|found| found.there + found.claimed > 0);
        if found.is_empty() {
            return None;
        }
        Some(match average {
            Average::Micro => {
                let mut sum = Found::default();
                found.into_iter().for_each(|found| sum += found);
                sum.precision_recall(beta)
            }
            Average::Macro => {
                let mean =
                    |of: &dyn Fn(&Found) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
                PrecisionRecall {
                    precision: mean(&Found::precision),
                    recall: mean(&Found::recall),
                    f: mean(&|found| found.f(beta)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_never_occur_do_not_count() {
        let confusion = Confusion { counts: vec![vec![3, 1, 0], vec![1, 1, 0], vec![0, 0, 0]] };
        assert_eq!(confusion.found()[0], Found { hits: 3, claimed: 4, there: 4 });
        assert_eq!(confusion.iou(), [Some(0.6), Some(1.0 / 3.0), None]);
        let of = |average| confusion.precision_recall(average, 1.0).expect("decisions");
        assert_eq!(of(Average::Micro).f, 4.0 / 6.0);
        assert_eq!(of(Average::Macro), PrecisionRecall { precision: 0.625, recall: 0.625, f: 0.625 });
        assert_eq!(Confusion::new(2).precision_recall(Average::Macro, 1.0), None);
    }
}
