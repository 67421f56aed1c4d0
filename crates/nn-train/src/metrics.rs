//! What batches, epochs and evaluations came to.

use candle_core::{DType, Result, Tensor};
use nn_core::ensure;
use nn_core::ops::{CrossEntropy, Reduction, cross_entropy};
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
    /// `[B, C, P]` for the places of each example, outside the graph.
    logits: Tensor,
    /// `[B · P]`
    targets: Tensor,
    places: Places,
}

/// What is decided about an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    /// The example itself.
    One,
    /// Each of its places.
    Many,
    /// Each of its places but those whose target is this.
    Scene { ignore: u32 },
}

/// A decision: the example's place in the batch, what it is, what it was taken for.
struct Decision {
    example: usize,
    target: usize,
    predicted: usize,
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
        let places = if logits.rank() == 2 { Places::One } else { Places::Many };
        let loss = cross_entropy(logits, targets, Reduction::Mean)?;
        Self::decided(loss, logits, targets, places)
    }

    /// Mean cross-entropy of `logits` `[B, C, …]` against the classes of places, `targets` `[B, …]`. Those whose target
    /// is `ignore` count nothing; an evaluation finds the mean intersection over union.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn segmentation(logits: &Tensor, targets: &Tensor, ignore: u32) -> Result<Self> {
        let options = CrossEntropy { ignore_index: ignore.into(), ..CrossEntropy::default() };
        Self::decided(cross_entropy(logits, targets, options)?, logits, targets, Places::Scene { ignore })
    }

    fn decided(loss: Tensor, logits: &Tensor, targets: &Tensor, places: Places) -> Result<Self> {
        let (examples, rows) = (logits.dim(0)?, logits.detach());
        let logits = if rows.rank() == 2 { rows.unsqueeze(2)? } else { rows.flatten_from(2)? }; // [B, C, P]
        let decisions = Decisions { logits, targets: targets.flatten_all()?, places };
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
    /// Calls `f` with each decision and the scores of its example, `[C, P]`.
    fn each(&self, mut f: impl FnMut(Decision, &[f32]) -> Result<()>) -> Result<()> {
        let (n, classes, places) = self.logits.dims3()?;
        let scores: Vec<f32> = self.logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let targets: Vec<u32> = self.targets.to_dtype(DType::U32)?.to_vec1()?;
        ensure!(
            targets.len() == n * places,
            "Outcome: {} places with scores need as many targets, got {}",
            n * places,
            targets.len()
        );
        let mut predicted = vec![0; places];
        let examples =
            scores.chunks_exact((classes * places).max(1)).zip(targets.chunks_exact(places.max(1)));
        for (example, (scores, targets)) in examples.enumerate() {
            argmax(scores, &mut predicted);
            for (&target, &predicted) in targets.iter().zip(&predicted) {
                if self.places != (Places::Scene { ignore: target }) {
                    f(Decision { example, target: target as usize, predicted }, scores)?;
                }
            }
        }
        Ok(())
    }
}

/// The first of the largest scores `[C, P]` at each place.
fn argmax(scores: &[f32], best: &mut [usize]) {
    let mut planes = scores.chunks_exact(best.len().max(1));
    let mut most: Vec<f32> = planes.next().unwrap_or_default().to_vec();
    best.fill(0);
    for (class, plane) in (1..).zip(planes) {
        for ((&score, most), best) in plane.iter().zip(&mut most).zip(&mut *best) {
            if score > *most {
                (*most, *best) = (score, class);
            }
        }
    }
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
    /// The mean over classes of intersection over union, in [0, 1], where scenes were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_iou: Option<f64>,
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
            decisions.each(|decision, _| {
                self.decided += 1;
                self.correct += u64::from(decision.predicted == decision.target);
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
            mean_iou: None,
        }
    }
}

impl Figures {
    /// Whether these are to be preferred: a higher mean intersection over union, else a higher accuracy or, without
    /// one, a lower loss. Equals are not better.
    pub fn better_than(&self, other: &Self) -> bool {
        match (self.mean_iou.zip(other.mean_iou), self.accuracy.zip(other.accuracy)) {
            (Some((a, b)), _) | (None, Some((a, b))) => a > b,
            (None, None) => self.loss < other.loss,
        }
    }
}

/// How often which class was taken for which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Row by row: `counts[target][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Intersection over union of each class: right decisions for it, of all places that are of the class or were
    /// taken for it. `None` where there are none.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let of = |class: usize| {
            let hits = self.counts[class][class];
            let there: u64 = self.counts[class].iter().sum();
            let taken: u64 = self.counts.iter().map(|row| row[class]).sum();
            let union = there + taken - hits;
            (union > 0).then(|| hits as f64 / union as f64)
        };
        (0..self.counts.len()).map(of).collect()
    }

    /// The mean of [`Self::iou`] over the classes that have one.
    pub fn mean_iou(&self) -> Option<f64> {
        let each: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
    }
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
    /// Whether the places of scenes were decided.
    scenes: bool,
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
        self.scenes = matches!(decisions.places, Places::Scene { .. });
        if (classes <= READABLE || self.scenes) && confusion.is_none() {
            *confusion = Some(Confusion { counts: vec![vec![0; classes]; classes] });
        }
        decisions.each(|Decision { example, target, predicted }, scores| {
            if let Some(confusion) = confusion {
                let count = confusion.counts.get_mut(target).and_then(|row| row.get_mut(predicted));
                let Some(count) = count else {
                    candle_core::bail!("Evaluation: a target must be below {classes} classes, got {target}")
                };
                *count += 1;
            }
            if decisions.places == Places::One && predicted != target {
                let confidence = confidence(scores, predicted);
                mistakes.push(Mistake { index: before + example, target, predicted, confidence });
            }
            Ok(())
        })?;
        // Stable: among equals the earlier example stays in front.
        mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        mistakes.truncate(MISTAKES);
        Ok(())
    }

    /// Mean loss and accuracy, and of scenes the mean intersection over union.
    pub fn figures(&self) -> Figures {
        let mean_iou = self.confusion.as_ref().filter(|_| self.scenes).and_then(Confusion::mean_iou);
        Figures { mean_iou, ..self.metrics.figures() }
    }

    /// How many examples were seen.
    pub fn examples(&self) -> u64 {
        self.metrics.examples
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
        assert_eq!(
            (metrics.examples(), metrics.figures()),
            (4, Figures { loss: 2.0, accuracy: None, mean_iou: None })
        );
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
    fn ignored_places_count_nothing() -> Result<()> {
        // One image of four places, two classes: taken for 0, 1, 1, 0.
        let scores = Tensor::new(&[[[1f32, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]], &Device::Cpu)?;
        let targets = Tensor::new(&[[0u8, 1, 0, 255]], &Device::Cpu)?;
        let mut evaluation = Evaluation::default();
        let outcome = Outcome::segmentation(&scores, &targets, 255)?;
        evaluation.add(&outcome)?;
        // 0: one of two; 1: one of two.
        let figures = evaluation.figures();
        assert_eq!((figures.accuracy, figures.mean_iou), (Some(2.0 / 3.0), Some(0.5)));
        let right = -(1f64.exp() / (1f64.exp() + 1.0)).ln();
        assert!((outcome.loss_value()? - (3.0 * right + 1.0) / 3.0).abs() < 1e-6, "{outcome:?}");
        assert!(evaluation.mistakes().is_empty());
        let strange = Tensor::new(&[[0u8, 1, 7, 255]], &Device::Cpu)?;
        assert!(Outcome::segmentation(&scores, &strange, 255).is_err());
        Ok(())
    }

    #[test]
    fn higher_accuracy_or_lower_loss_is_better_and_a_tie_is_not() {
        let figures = |loss, accuracy| Figures { loss, accuracy, mean_iou: None };
        let scenes =
            |accuracy, mean_iou| Figures { mean_iou: Some(mean_iou), ..figures(1.0, Some(accuracy)) };
        for (a, b, better) in [
            (figures(2.0, Some(0.9)), figures(1.0, Some(0.8)), true),
            (figures(1.0, Some(0.9)), figures(2.0, Some(0.9)), false),
            (figures(1.0, None), figures(2.0, None), true),
            (figures(1.0, None), figures(1.0, None), false),
            (scenes(0.5, 0.4), scenes(0.9, 0.3), true),
            (scenes(0.9, 0.4), scenes(0.8, 0.4), false),
        ] {
            assert_eq!(a.better_than(&b), better);
        }
    }
}
