//! A pass over a data set in evaluation mode.

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::outcome::{Decision, Places};
use super::{Confusion, Figures, Measure, Metrics, Outcome, Ranking};

/// A wrong decision about an example.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// The example's place in the order of evaluation.
    pub index: usize,
    /// What it is.
    pub target: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// With which probability, by the softmax of the scores.
    pub confidence: f64,
}

/// A pass over a data set in evaluation mode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Evaluation {
    metrics: Metrics,
    confusion: Option<Confusion>,
    /// Whether the places of scenes were decided.
    scenes: bool,
    mistakes: Vec<Mistake>,
    /// By the scores of class 1, where there are two.
    ranking: Ranking,
}

/// Above this many classes nobody reads a confusion matrix.
const READABLE: usize = 100;

/// How many mistakes an evaluation remembers.
const MISTAKES: usize = 24;

impl Evaluation {
    /// Adds the next batch.
    ///
    /// # Errors
    /// If its numbers cannot be read, or batches differ in the number of classes.
    pub fn add(&mut self, outcome: &Outcome) -> Result<()> {
        self.add_from(self.metrics.examples() as usize, outcome)
    }

    /// Adds a batch whose first example is at place `before` in the order of evaluation.
    ///
    /// # Errors
    /// As [`Evaluation::add`].
    pub(crate) fn add_from(&mut self, before: usize, outcome: &Outcome) -> Result<()> {
        self.metrics.add(outcome)?;
        let Some(decisions) = outcome.decisions() else { return Ok(()) };
        let classes = decisions.classes();
        let (confusion, mistakes, ranking) = (&mut self.confusion, &mut self.mistakes, &mut self.ranking);
        self.scenes = matches!(decisions.places(), Places::Scene { .. });
        if (classes <= READABLE || self.scenes) && confusion.is_none() {
            *confusion = Some(Confusion::new(classes));
        }
        decisions.each(|decision, scores| {
            let Decision { example, target, predicted } = decision;
            if let Some(confusion) = confusion {
                let count = confusion.counts.get_mut(target).and_then(|row| row.get_mut(predicted));
                let Some(count) = count else {
                    candle_core::bail!("Evaluation: a target must be below {classes} classes, got {target}")
                };
                *count += 1;
            }
            if let (Places::One, &[negative, positive]) = (decisions.places(), scores) {
                let margin = f64::from(positive) - f64::from(negative);
                if target == 1 { ranking.positive(margin) } else { ranking.negative(margin) }
            }
            if decisions.places() == Places::One && predicted != target {
                let confidence = decision.confidence(scores);
                mistakes.push(Mistake { index: before + example, target, predicted, confidence });
            }
            Ok(())
        })?;
        self.keep_the_worst();
        Ok(())
    }

    /// Adds what was seen of other examples of the same data set.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.metrics += other.metrics;
        self.scenes |= other.scenes;
        self.ranking.join(other.ranking);
        self.mistakes.extend(other.mistakes);
        self.keep_the_worst();
        match (&mut self.confusion, other.confusion) {
            (Some(own), Some(other)) => {
                let counts = own.counts.iter_mut().flatten().zip(other.counts.into_iter().flatten());
                counts.for_each(|(count, more)| *count += more);
            }
            (own, other) => *own = own.take().or(other),
        }
        self
    }

    fn keep_the_worst(&mut self) {
        // Among equals the earlier example stays in front.
        self.mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index)));
        self.mistakes.truncate(MISTAKES);
    }

    /// The means, of scenes with that of intersection over union, of two classes with how well scores tell them apart.
    pub fn figures(&self) -> Figures {
        let mean_iou = self.confusion.as_ref().filter(|_| self.scenes).and_then(Confusion::mean_iou);
        let figures = self.metrics.figures().with(Measure::MeanIou, mean_iou);
        figures
            .with(Measure::RocAuc, self.ranking.roc_auc())
            .with(Measure::AveragePrecision, self.ranking.average_precision())
    }

    /// How many examples were seen.
    pub fn examples(&self) -> u64 {
        self.metrics.examples()
    }

    /// Which class was taken for which, if there are at most 100.
    pub fn confusion(&self) -> Option<&Confusion> {
        self.confusion.as_ref().filter(|confusion| confusion.counts.len() <= READABLE)
    }

    /// The mistakes made with the most confidence, at most 24, the worst first.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn outcome(rows: &[[f32; 3]], targets: &[u32]) -> Result<Outcome> {
        Outcome::classification(
            &Tensor::from_slice(rows.as_flattened(), (rows.len(), 3), &Device::Cpu)?,
            &Tensor::new(targets, &Device::Cpu)?,
        )
    }

    #[test]
    fn a_single_logit_decides_between_two_classes() -> Result<()> {
        let logits = Tensor::new(&[[2f32], [-1.0], [0.5]], &Device::Cpu)?;
        let outcome = Outcome::binary(&logits, &Tensor::new(&[1u32, 0, 0], &Device::Cpu)?)?;
        let loss = [(-2f64).exp(), (-1f64).exp(), 0.5f64.exp()].map(f64::ln_1p).iter().sum::<f64>() / 3.0;
        assert!((outcome.loss_value()? - loss).abs() < 1e-6, "{outcome:?}");
        let mut evaluation = Evaluation::default();
        evaluation.add(&outcome)?;
        assert_eq!(evaluation.confusion().expect("two classes").counts, [[1, 1], [0, 1]]);
        let sure = 1.0 / (1.0 + (-0.5f64).exp());
        assert!((evaluation.mistakes()[0].confidence - sure).abs() < 1e-6, "{:?}", evaluation.mistakes());
        for (targets, says) in
            [(&[1u32, 2, 0][..], "0 or 1, got Some(2)"), (&[1], "[B, 1], got [1] and [3, 1]")]
        {
            let error = Outcome::binary(&logits, &Tensor::new(targets, &Device::Cpu)?).expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
        }
        Ok(())
    }

    #[test]
    fn another_loss_leaves_the_decisions() -> Result<()> {
        let outcome = outcome(&[[0.0, 1.0, 0.0]], &[1])?.with_loss(Tensor::new(7f32, &Device::Cpu)?)?;
        assert_eq!(outcome.loss_value()?, 7.0);
        let mut evaluation = Evaluation::default();
        evaluation.add(&outcome)?;
        assert_eq!(evaluation.figures().get(Measure::Accuracy), Some(1.0));
        let two = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
        assert!(outcome.with_loss(two).is_err());
        Ok(())
    }

    #[test]
    fn evaluations_know_what_was_taken_for_what() -> Result<()> {
        let mut evaluation = Evaluation::default();
        evaluation.add(&outcome(&[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]], &[1, 2])?)?;
        evaluation.add(&outcome(&[[0.0, 9.0, 0.0], [0.0, 0.0, 0.0]], &[0, 0])?)?;
        let counts = &evaluation.confusion().expect("a classifier").counts;
        assert_eq!(*counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]]);
        // The surest mistake comes first; the first of equal scores is the decision.
        let mistakes = evaluation.mistakes();
        assert_eq!(
            mistakes.iter().map(|m| (m.index, m.target, m.predicted)).collect::<Vec<_>>(),
            [(2, 0, 1), (1, 2, 0)]
        );
        let sure = 3f64.exp() / (3f64.exp() + 2.0);
        assert!((mistakes[1].confidence - sure).abs() < 1e-12, "{mistakes:?}");
        assert_eq!((evaluation.examples(), evaluation.figures().get(Measure::Accuracy)), (4, Some(0.5)));
        Ok(())
    }

    #[test]
    fn places_of_a_scene_are_decided_one_by_one() -> Result<()> {
        // Two images of two places, three classes: scores [2, 3, 2].
        let scores = [[[1f32, 0.0], [0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [3.0, 0.0]]];
        let targets = Tensor::new(&[[0u32, 1], [2, 0]], &Device::Cpu)?;
        let mut evaluation = Evaluation::default();
        evaluation.add(&Outcome::classification(&Tensor::new(&scores, &Device::Cpu)?, &targets)?)?;
        assert_eq!((evaluation.examples(), evaluation.figures().get(Measure::Accuracy)), (2, Some(0.75)));
        assert!(evaluation.mistakes().is_empty());
        Ok(())
    }

    #[test]
    fn ignored_places_count_nothing() -> Result<()> {
        // One image of four places, two classes: taken for 0, 1, 1, 0.
        let scores = Tensor::new(&[[[1f32, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]], &Device::Cpu)?;
        let targets = Tensor::new(&[[0u8, 1, 0, 255]], &Device::Cpu)?;
        let mut evaluation = Evaluation::default();
        let outcome = Outcome::segmentation(&scores, &targets, 255)?;
        evaluation.add(&outcome)?;
        // 0: one of two; 1: one of two.
        let figures = evaluation.figures();
        assert_eq!(
            (figures.get(Measure::Accuracy), figures.get(Measure::MeanIou)),
            (Some(2.0 / 3.0), Some(0.5))
        );
        let right = -(1f64.exp() / (1f64.exp() + 1.0)).ln();
        assert!((outcome.loss_value()? - (3.0 * right + 1.0) / 3.0).abs() < 1e-6, "{outcome:?}");
        assert!(evaluation.mistakes().is_empty());
        let strange = Tensor::new(&[[0u8, 1, 7, 255]], &Device::Cpu)?;
        assert!(Outcome::segmentation(&scores, &strange, 255).is_err());
        Ok(())
    }
}
