//! What batches, epochs and evaluations came to.

use candle_core::{DType, Result, Tensor};
use nn_core::ensure;
use nn_core::ops::{Reduction, cross_entropy};
use serde::{Deserialize, Serialize};

/// What a forward pass made of a batch: the loss to minimise and, for classifiers, what was decided.
#[derive(Clone, Debug)]
pub struct Outcome {
    loss: Tensor,
    examples: usize,
    decisions: Option<Decisions>,
}

/// A classifier's scores and what they should have said.
#[derive(Clone, Debug)]
struct Decisions {
    /// `[N, C]`, outside the graph.
    logits: Tensor,
    /// `[N]`
    targets: Tensor,
    /// Whether a row is an example, not one of many places in one.
    one_each: bool,
}

impl Outcome {
    /// A scalar loss that is the mean over `examples` examples.
    ///
    /// # Errors
    /// If `loss` is no scalar.
    pub fn new(loss: Tensor, examples: usize) -> Result<Self> {
        ensure!(
            loss.elem_count() == 1,
            "Outcome: the loss must be a single number, got shape {:?}",
            loss.dims()
        );
        Ok(Self { loss: loss.flatten_all()?.squeeze(0)?, examples, decisions: None })
    }

    /// Mean cross-entropy of `logits` `[B, C, …]` against class indices `targets` `[B, …]`.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn classification(logits: &Tensor, targets: &Tensor) -> Result<Self> {
        let examples = logits.dim(0)?;
        let loss = cross_entropy(logits, targets, Reduction::Mean)?;
        let one_each = logits.rank() == 2;
        let rows = logits.detach();
        let rows = if one_each { rows } else { rows.flatten_from(2)?.transpose(1, 2)?.flatten_to(1)? }; // [B·…, C]
        let decisions = Decisions { logits: rows, targets: targets.flatten_all()?, one_each };
        Ok(Self { decisions: Some(decisions), ..Self::new(loss, examples)? })
    }

    /// The loss, a scalar that knows how it came about.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// The loss as a number.
    ///
    /// # Errors
    /// If it cannot be brought to the CPU.
    pub fn loss_value(&self) -> Result<f64> {
        self.loss.to_dtype(DType::F64)?.to_scalar()
    }

    /// How many examples it is the mean of.
    pub fn examples(&self) -> usize {
        self.examples
    }
}

impl Decisions {
    /// Calls `f(row, scores, target)` for each decision.
    fn each(&self, mut f: impl FnMut(usize, &[f32], usize) -> Result<()>) -> Result<()> {
        let (n, classes) = self.logits.dims2()?;
        let scores: Vec<f32> = self.logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let targets: Vec<u32> = self.targets.to_dtype(DType::U32)?.to_vec1()?;
        ensure!(
            targets.len() == n,
            "Outcome: {n} rows of scores need as many targets, got {}",
            targets.len()
        );
        for (row, (scores, &target)) in scores.chunks_exact(classes.max(1)).zip(&targets).enumerate() {
            f(row, scores, target as usize)?;
        }
        Ok(())
    }
}

/// The first of the largest scores.
fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (i, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = i;
        }
    }
    best
}

/// The share of the softmax that the class `chosen`, the highest score, gets.
fn confidence(scores: &[f32], chosen: usize) -> f64 {
    let top = f64::from(scores[chosen]);
    1.0 / scores.iter().map(|&s| (f64::from(s) - top).exp()).sum::<f64>()
}

/// Sums over examples, from which means follow: an epoch's last, smaller batch weighs less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    examples: u64,
    loss: f64,
    decided: u64,
    correct: u64,
}

/// Means over examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean loss.
    pub loss: f64,
    /// The share of right decisions, in [0, 1], where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Metrics {
    /// Adds a batch.
    ///
    /// # Errors
    /// If its numbers cannot be read.
    pub fn add(&mut self, outcome: &Outcome) -> Result<()> {
        self.examples += outcome.examples as u64;
        self.loss += outcome.loss_value()? * outcome.examples as f64;
        if let Some(decisions) = &outcome.decisions {
            decisions.each(|_, scores, target| {
                self.decided += 1;
                self.correct += u64::from(argmax(scores) == target);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// How many examples were added.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// The means; the loss of no examples is 0.
    pub fn figures(&self) -> Figures {
        Figures {
            loss: self.loss / self.examples.max(1) as f64,
            accuracy: (self.decided > 0).then(|| self.correct as f64 / self.decided as f64),
        }
    }
}

impl Figures {
    /// Whether these are to be preferred: a higher accuracy or, without one, a lower loss. Equals are not better.
    pub fn better_than(&self, other: &Self) -> bool {
        match (self.accuracy, other.accuracy) {
            (Some(a), Some(b)) => a > b,
            _ => self.loss < other.loss,
        }
    }
}

/// How often which class was taken for which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Row by row: `counts[target][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// A wrong decision about an example.
#[derive(Clone, Copy, Debug, PartialEq)]
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
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    metrics: Metrics,
    confusion: Option<Confusion>,
    mistakes: Vec<Mistake>,
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
        let before = self.metrics.examples as usize;
        self.metrics.add(outcome)?;
        let Some(decisions) = &outcome.decisions else { return Ok(()) };
        let classes = decisions.logits.dim(1)?;
        let (confusion, mistakes) = (&mut self.confusion, &mut self.mistakes);
        if classes <= READABLE && confusion.is_none() {
            *confusion = Some(Confusion { counts: vec![vec![0; classes]; classes] });
        }
        decisions.each(|row, scores, target| {
            let predicted = argmax(scores);
            if let Some(confusion) = confusion {
                let count = confusion.counts.get_mut(target).and_then(|row| row.get_mut(predicted));
                let Some(count) = count else {
                    candle_core::bail!("Evaluation: a target must be below {classes} classes, got {target}")
                };
                *count += 1;
            }
            if decisions.one_each && predicted != target {
                let confidence = confidence(scores, predicted);
                mistakes.push(Mistake { index: before + row, target, predicted, confidence });
            }
            Ok(())
        })?;
        // Stable: among equals the earlier example stays in front.
        mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        mistakes.truncate(MISTAKES);
        Ok(())
    }

    /// Mean loss and accuracy.
    pub fn figures(&self) -> Figures {
        self.metrics.figures()
    }

    /// How many examples were seen.
    pub fn examples(&self) -> u64 {
        self.metrics.examples
    }

    /// Which class was taken for which, for classifiers of at most 100 classes.
    pub fn confusion(&self) -> Option<&Confusion> {
        self.confusion.as_ref()
    }

    /// The mistakes made with the most confidence, at most 24, the worst first.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn outcome(rows: &[[f32; 3]], targets: &[u32]) -> Result<Outcome> {
        Outcome::classification(
            &Tensor::from_slice(rows.as_flattened(), (rows.len(), 3), &Device::Cpu)?,
            &Tensor::new(targets, &Device::Cpu)?,
        )
    }

    #[test]
    fn means_are_over_examples_not_batches() -> Result<()> {
        let mut metrics = Metrics::default();
        for (loss, examples) in [(1.0, 3), (5.0, 1)] {
            metrics.add(&Outcome::new(Tensor::new(&[loss], &Device::Cpu)?, examples)?)?;
        }
        assert_eq!((metrics.examples(), metrics.figures()), (4, Figures { loss: 2.0, accuracy: None }));
        metrics.add(&outcome(&[[0.0, 1.0, 0.0], [9.0, 1.0, 0.0]], &[1, 2])?)?;
        assert_eq!(metrics.figures().accuracy, Some(0.5));
        let error =
            Outcome::new(Tensor::new(&[1f32, 2.0], &Device::Cpu)?, 2).expect_err("two losses").to_string();
        assert!(error.contains("a single number, got shape [2]"), "{error}");
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
        assert_eq!((evaluation.examples(), evaluation.figures().accuracy), (4, Some(0.5)));
        Ok(())
    }

    #[test]
    fn places_of_a_scene_are_decided_one_by_one() -> Result<()> {
        // Two images of two places, three classes: scores [2, 3, 2].
        let scores = [[[1f32, 0.0], [0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [3.0, 0.0]]];
        let targets = Tensor::new(&[[0u32, 1], [2, 0]], &Device::Cpu)?;
        let mut evaluation = Evaluation::default();
        evaluation.add(&Outcome::classification(&Tensor::new(&scores, &Device::Cpu)?, &targets)?)?;
        assert_eq!((evaluation.examples(), evaluation.figures().accuracy), (2, Some(0.75)));
        assert!(evaluation.mistakes().is_empty());
        Ok(())
    }

    #[test]
    fn higher_accuracy_or_lower_loss_is_better_and_a_tie_is_not() {
        let figures = |loss, accuracy| Figures { loss, accuracy };
        for (a, b, better) in [
            (figures(2.0, Some(0.9)), figures(1.0, Some(0.8)), true),
            (figures(1.0, Some(0.9)), figures(2.0, Some(0.9)), false),
            (figures(1.0, None), figures(2.0, None), true),
            (figures(1.0, None), figures(1.0, None), false),
        ] {
            assert_eq!(a.better_than(&b), better);
        }
    }
}
