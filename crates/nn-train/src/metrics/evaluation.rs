//! A pass over a data set in evaluation mode.

use std::cmp::Ordering;

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::outcome::{Decision, Places};
use super::{Confusion, Figures, Measure, Metrics, Outcome, Ranking};

/// A decision about an example.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
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
    /// Between how many was decided.
    classes: usize,
    /// Whether the places of scenes were decided.
    scenes: bool,
    mistakes: Vec<Verdict>,
    /// Right ones, class after class.
    best: Vec<Verdict>,
    /// By the scores of class 1, where there are two.
    ranking: Ranking,
}

/// Above this many classes nobody reads a confusion matrix.
const READABLE: usize = 100;

/// How many mistakes an evaluation remembers.
const MISTAKES: usize = 24;

/// How many right decisions it tells of. They are shared out among the classes: one that is easy would take all.
const BEST: usize = 12;

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
        self.scenes = matches!(decisions.places(), Places::Scene { .. });
        let Self { confusion, mistakes, best, ranking, .. } = self;
        if (classes <= READABLE || matches!(decisions.places(), Places::Scene { .. })) && confusion.is_none()
        {
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
            if decisions.places() == Places::One {
                let confidence = decision.confidence(scores);
                let among = if predicted == target { &mut *best } else { &mut *mistakes };
                among.push(Verdict { index: before + example, target, predicted, confidence });
            }
            Ok(())
        })?;
        self.classes = classes;
        self.keep_the_ends();
        Ok(())
    }

    /// Adds what was seen of other examples of the same data set.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.metrics += other.metrics;
        self.scenes |= other.scenes;
        self.ranking.join(other.ranking);
        self.mistakes.extend(other.mistakes);
        self.best.extend(other.best);
        match (&mut self.confusion, other.confusion) {
            (Some(own), Some(other)) => {
                let counts = own.counts.iter_mut().flatten().zip(other.counts.into_iter().flatten());
                counts.for_each(|(count, more)| *count += more);
            }
            (own, other) => *own = own.take().or(other),
        }
        self.classes = self.classes.max(other.classes);
        self.keep_the_ends();
        self
    }

    fn keep_the_ends(&mut self) {
        self.mistakes.sort_by(surest_first);
        self.mistakes.truncate(MISTAKES);
        self.best.sort_by(|a, b| a.target.cmp(&b.target).then(surest_first(a, b)));
        let (each, mut class, mut kept) = ((BEST / self.classes.max(1)).max(1), 0, 0);
        self.best.retain(|verdict| {
            kept = if verdict.target == class { kept + 1 } else { 1 };
            class = verdict.target;
            kept <= each
        });
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
    pub fn mistakes(&self) -> &[Verdict] {
        &self.mistakes
    }

    /// Right decisions made with the most confidence, about 12: as many of every class, class after class, or one each of
    /// those that are the surest.
    pub fn best(&self) -> Vec<Verdict> {
        let mut best = self.best.clone();
        best.sort_by(surest_first);
        best.truncate(BEST);
        best.sort_by(|a, b| a.target.cmp(&b.target).then(surest_first(a, b)));
        best
    }
}

/// Among equals the earlier example stays in front.
fn surest_first(a: &Verdict, b: &Verdict) -> Ordering {
    b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index))
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

    /// Of three classes four each, and of many one each; two halves know what the whole knows.
    #[test]
    fn the_best_are_the_surest_of_every_class() -> Result<()> {
        let sure = |class: usize, score: f32| {
            let mut row = [0.0; 3];
            row[class] = score;
            row
        };
        let rows: Vec<[f32; 3]> = (0..8).map(|i| sure(i % 2, [1.0, 2.0, 3.0][i % 3])).collect();
        let targets: Vec<u32> = (0..8).map(|i| if i == 7 { 2 } else { i % 2 }).collect();
        let mut whole = Evaluation::default();
        whole.add(&outcome(&rows, &targets)?)?;
        let places =
            |found: &Evaluation| found.best().iter().map(|v| (v.target, v.index)).collect::<Vec<_>>();
        // The scores of class 0 are 1, 3, 2, 1, of class 1 2, 1, 3; that of the last is a mistake.
        assert_eq!(places(&whole), [(0, 2), (0, 4), (0, 0), (0, 6), (1, 5), (1, 1), (1, 3)]);
        let (mut one, mut other) = (Evaluation::default(), Evaluation::default());
        other.add_from(3, &outcome(&rows[3..], &targets[3..])?)?;
        one.add(&outcome(&rows[..3], &targets[..3])?)?;
        assert_eq!(places(&one.join(other)), places(&whole));

        let score = |i: usize| if (i / 20) % 20 == i % 20 { (i / 20) as f32 / 8.0 } else { 0.0 };
        let scores: Vec<f32> = (0..800).map(score).collect();
        let targets: Vec<u32> = (0..40).map(|i| i % 20).collect();
        let logits = Tensor::from_vec(scores, (40, 20), &Device::Cpu)?;
        let mut many = Evaluation::default();
        many.add(&Outcome::classification(&logits, &Tensor::new(targets, &Device::Cpu)?)?)?;
        assert_eq!(places(&many), (8..20).map(|class| (class, 20 + class)).collect::<Vec<_>>());
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
