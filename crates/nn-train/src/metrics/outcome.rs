//! What a forward pass made of a batch.

use candle_core::{DType, Result, Tensor};
use nn_core::ensure;
use nn_core::ops::{CrossEntropy, Reduction, bce_with_logits, cross_entropy, reshape};

use super::Counts;

/// What a forward pass made of a batch: the loss to minimise, for classifiers what was decided, and what else its task is
/// judged by.
#[derive(Clone, Debug)]
pub struct Outcome {
    loss: Tensor,
    examples: usize,
    weight: f64,
    decisions: Option<Decisions>,
    counts: Counts,
}

/// A classifier's scores and what they should have said.
#[derive(Clone, Debug)]
pub(super) struct Decisions {
    /// `[B, C, P]` for the places of each example, outside the graph.
    logits: Tensor,
    /// `[B · P]`
    targets: Tensor,
    places: Places,
}

/// What is decided about an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// The example itself.
    One,
    /// Each of its places.
    Many,
    /// Each of its places but those whose target is this.
    Scene { ignore: u32 },
}

/// A decision: the example's place in the batch, what it is, what it was taken for.
pub(super) struct Decision {
    pub(super) example: usize,
    pub(super) target: usize,
    pub(super) predicted: usize,
}

impl Outcome {
    /// A scalar loss that is the mean over `examples` examples; of one that is the mean over something else tell
    /// [`Outcome::averaged_over`].
    ///
    /// # Errors
    /// If `loss` is no scalar.
    pub fn new(loss: Tensor, examples: usize) -> Result<Self> {
        ensure!(
            loss.elem_count() == 1,
            "Outcome: the loss must be a single number, got shape {:?}",
            loss.dims()
        );
        Ok(Self {
            // An operation of Candle's at the end would send all of the graph its way back.
            loss: reshape(&loss, ())?,
            examples,
            weight: examples as f64,
            decisions: None,
            counts: Counts::default(),
        })
    }

    /// Mean cross-entropy of `logits` `[B, C, …]` against class indices `targets` `[B, …]`, or against shares of the classes
    /// of the logits' shape and type, of which the largest counts as the answer.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn classification(logits: &Tensor, targets: &Tensor) -> Result<Self> {
        Self::classification_with(logits, targets, CrossEntropy::default())
    }

    /// The same by a cross-entropy of one's own: with smoothed labels, in training only, or classes of unlike weights.
    ///
    /// # Errors
    /// If the shapes do not fit each other, or the options do not make one number of the batch.
    pub fn classification_with(logits: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<Self> {
        let places = if logits.rank() == 2 { Places::One } else { Places::Many };
        let (loss, weight) = averaged(logits, targets, options)?;
        Self::decided(loss, logits, &answers(targets)?, places)?.averaged_over(weight)
    }

    /// Mean cross-entropy of `logits` `[B, C, …]` against the classes of places, `targets` `[B, …]`. Those whose target
    /// is `ignore` count nothing; an evaluation finds the mean intersection over union.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn segmentation(logits: &Tensor, targets: &Tensor, ignore: u32) -> Result<Self> {
        let options = CrossEntropy { ignore_index: ignore.into(), ..CrossEntropy::default() };
        let (loss, weight) = averaged(logits, targets, options)?;
        Self::decided(loss, logits, targets, Places::Scene { ignore })?.averaged_over(weight)
    }

    /// Mean binary cross-entropy of the logits `[B, 1]` of class 1 against class indices `targets` `[B]`, 0 or 1, or against
    /// shares of the two classes `[B, 2]`, of which the larger counts as the answer.
    ///
    /// # Errors
    /// If the shapes do not fit each other, or a target is neither 0 nor 1.
    pub fn binary(logits: &Tensor, targets: &Tensor) -> Result<Self> {
        let (batch, _) = logits.dims2()?;
        ensure!(
            logits.dims() == [batch, 1] && (targets.dims() == [batch] || targets.dims() == [batch, 2]),
            "Outcome: binary targets [B] or [B, 2] need logits [B, 1], got {:?} and {:?}",
            targets.dims(),
            logits.dims()
        );
        let (shares, targets) = match targets.rank() {
            1 => (targets.clone(), targets.clone()),
            _ => (targets.narrow(1, 1, 1)?.squeeze(1)?, answers(targets)?),
        };
        let classes: Vec<u32> = targets.to_dtype(DType::U32)?.to_vec1()?;
        let strange = classes.iter().find(|&&class| class > 1);
        ensure!(strange.is_none(), "Outcome: a binary target must be 0 or 1, got {strange:?}");
        let shares = shares.to_dtype(logits.dtype())?;
        let loss = bce_with_logits(&reshape(logits, batch)?, &shares, Reduction::Mean)?;
        // The softmax of 0 and a logit is the logit's sigmoid.
        let rows = logits.detach();
        Self::decided(loss, &Tensor::cat(&[&rows.zeros_like()?, &rows], 1)?, &targets, Places::One)
    }

    /// The same decisions, learnt from another loss: one that counts auxiliary heads, say.
    ///
    /// # Errors
    /// If `loss` is no scalar.
    pub fn with_loss(self, loss: Tensor) -> Result<Self> {
        Ok(Self { loss: Self::new(loss, self.examples)?.loss, ..self })
    }

    /// The same, of a loss that is the mean over `weight` of something else than examples: tokens, pixels that are known,
    /// weights of classes. Losses and gradients of several batches, in one step or on several ranks, count by their
    /// weights: then they are those of one large batch, however long each one's sequences are.
    ///
    /// ```
    /// # use candle_core::{Device, Tensor};
    /// # use nn_train::{Metrics, Outcome};
    /// let loss = |mean: f32| Tensor::new(mean, &Device::Cpu);
    /// let mut metrics = Metrics::default();
    /// metrics.add(&Outcome::new(loss(1.0)?, 2)?.averaged_over(30.0)?)?; // two sentences of 30 words together
    /// metrics.add(&Outcome::new(loss(5.0)?, 2)?.averaged_over(10.0)?)?;
    /// assert_eq!(metrics.figures().loss, 2.0);
    /// # candle_core::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If `weight` is negative or not finite.
    pub fn averaged_over(self, weight: f64) -> Result<Self> {
        ensure!(
            weight.is_finite() && weight >= 0.0,
            "Outcome: a loss is the mean over something, got a weight of {weight}"
        );
        Ok(Self { weight, ..self })
    }

    fn decided(loss: Tensor, logits: &Tensor, targets: &Tensor, places: Places) -> Result<Self> {
        let (examples, rows) = (logits.dim(0)?, logits.detach());
        let logits = if rows.rank() == 2 { rows.unsqueeze(2)? } else { rows.flatten_from(2)? }; // [B, C, P]
        let decisions = Decisions { logits, targets: targets.flatten_all()?, places };
        Ok(Self { decisions: Some(decisions), ..Self::new(loss, examples)? })
    }

    /// The same, with counts that the task is judged by: foretold values, entities, translations. An evaluation makes figures of
    /// them, and the first of these in the order of [`Measure`](super::Measure) decides which epoch is the best.
    pub fn counting(self, counts: Counts) -> Self {
        Self { counts, ..self }
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

    /// How many examples the batch has.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Over how much the loss is the mean: over so many examples, unless something else was told.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    pub(super) fn decisions(&self) -> Option<&Decisions> {
        self.decisions.as_ref()
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The classes that targets name; of shares `[B, C, …]` the class with the largest.
fn answers(targets: &Tensor) -> Result<Tensor> {
    if targets.dtype().is_float() { targets.detach().argmax(1) } else { Ok(targets.clone()) }
}

/// A cross-entropy, and what it is the mean of. A part of a batch in which nothing is known has a loss of 0 that weighs nothing.
fn averaged(logits: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<(Tensor, f64)> {
    if options.reduction != Reduction::Mean {
        return Ok((cross_entropy(logits, targets, options)?, logits.dim(0)? as f64));
    }
    let weight = counted(logits, targets, options)?;
    let reduction = if weight == 0.0 { Reduction::Sum } else { Reduction::Mean };
    Ok((cross_entropy(logits, targets, CrossEntropy { reduction, ..options })?, weight))
}

/// What a mean cross-entropy is divided by: the number of targets, or what their classes weigh, without those that are
/// ignored.
fn counted(logits: &Tensor, targets: &Tensor, options: CrossEntropy<'_>) -> Result<f64> {
    if targets.dtype().is_float() {
        return Ok((targets.elem_count() / logits.dim(1)?.max(1)) as f64);
    }
    let weights = options.weight.map(|weights| weights.to_dtype(DType::F64)?.to_vec1::<f64>()).transpose()?;
    let labels: Vec<i64> = targets.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
    let known = labels.into_iter().filter(|&label| label != options.ignore_index);
    Ok(match weights {
        Some(weights) => known.filter_map(|label| weights.get(label as usize)).sum(),
        None => known.count() as f64,
    })
}

/// Between fewer classes nobody asks for the best five.
const MANY: usize = 100;

impl Decisions {
    pub(super) fn classes(&self) -> usize {
        self.logits.dims()[1]
    }

    pub(super) fn places(&self) -> Places {
        self.places
    }

    /// Whether examples as a whole are decided, between many classes.
    pub(super) fn are_many(&self) -> bool {
        self.places == Places::One && self.classes() >= MANY
    }

    /// Calls `f` with each decision and the scores of its example, `[C, P]`.
    pub(super) fn each(&self, mut f: impl FnMut(Decision, &[f32]) -> Result<()>) -> Result<()> {
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

impl Decision {
    /// Whether the target is among the `k` highest scores of an example; of equal ones the first are higher.
    pub(super) fn is_among(&self, k: usize, scores: &[f32]) -> bool {
        let Some(&own) = scores.get(self.target) else { return false };
        let higher = |(class, &score): (usize, &f32)| score > own || (score == own && class < self.target);
        scores.iter().enumerate().filter(|&pair| higher(pair)).count() < k
    }

    /// The share of the softmax that the class decided for gets.
    pub(super) fn confidence(&self, scores: &[f32]) -> f64 {
        let top = f64::from(scores[self.predicted]);
        1.0 / scores.iter().map(|&s| (f64::from(s) - top).exp()).sum::<f64>()
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use nn_core::testing::is_direct;

    use super::*;

    #[test]
    fn a_loss_is_one_number() -> Result<()> {
        let error =
            Outcome::new(Tensor::new(&[1f32, 2.0], &Device::Cpu)?, 2).expect_err("two losses").to_string();
        assert!(error.contains("a single number, got shape [2]"), "{error}");
        Ok(())
    }

    /// Shares of 1 are labels, and of others the loss is the mean by the shares.
    #[test]
    fn shares_of_classes_are_learnt_from() -> Result<()> {
        let logits = Tensor::new(&[[0.5f32, 2.0], [1.0, -1.0]], &Device::Cpu)?;
        let loss = |targets: &Tensor| Outcome::classification(&logits, targets)?.loss_value();
        let all = |class: u32| Tensor::new(&[class, class], &Device::Cpu);
        let (first, second) = (loss(&all(0)?)?, loss(&all(1)?)?);
        let mixed = Tensor::new(&[[0.25f32, 0.75], [0.25, 0.75]], &Device::Cpu)?;
        assert!((loss(&mixed)? - (0.25 * first + 0.75 * second)).abs() < 1e-6);
        let outcome = Outcome::classification(&logits, &mixed)?;
        let mut decided = Vec::new();
        let decisions = outcome.decisions().expect("a classifier decides");
        decisions.each(|decision, _| {
            decided.push((decision.target, decision.predicted));
            Ok(())
        })?;
        assert_eq!(decided, [(1, 1), (1, 0)]);

        let logit = Tensor::new(&[[0.5f32], [-1.0]], &Device::Cpu)?;
        let loss = |targets: &Tensor| Outcome::binary(&logit, targets)?.loss_value();
        let (first, second) = (loss(&all(0)?)?, loss(&all(1)?)?);
        assert!((loss(&mixed)? - (0.25 * first + 0.75 * second)).abs() < 1e-6);
        assert!(Outcome::binary(&logit, &Tensor::new(&[[0.5f32; 3]; 2], &Device::Cpu)?).is_err());
        Ok(())
    }

    /// Parts, weighed by what they say they are the mean of, make the loss of the whole.
    #[test]
    fn parts_of_a_batch_make_its_loss() -> Result<()> {
        let device = &Device::Cpu;
        let logits = Tensor::rand(-1f64, 1.0, (6, 3, 2), device)?;
        let targets = Tensor::new(&[[0u32, 1], [2, 2], [9, 1], [9, 9], [0, 9], [1, 0]], device)?;
        let weight = Tensor::new(&[0.5f64, 2.0, 1.0], device)?;
        let shares = Tensor::rand(0f64, 1.0, (6, 3, 2), device)?;
        let plain = CrossEntropy { ignore_index: 9, ..CrossEntropy::default() };
        let weighted = CrossEntropy { weight: Some(&weight), label_smoothing: 0.1, ..plain };
        let of = |from: usize, many: usize, case: usize| {
            let part = |t: &Tensor| t.narrow(0, from, many);
            match case {
                0 => Outcome::segmentation(&part(&logits)?, &part(&targets)?, 9),
                1 => Outcome::classification_with(&part(&logits)?, &part(&targets)?, plain),
                2 => Outcome::classification_with(&part(&logits)?, &part(&targets)?, weighted),
                _ => Outcome::classification(&part(&logits)?, &part(&shares)?),
            }
        };
        for (case, weight) in [8.0, 8.0, 9.5, 12.0].into_iter().enumerate() {
            let (whole, parts) =
                (of(0, 6, case)?, [of(0, 1, case)?, of(1, 2, case)?, of(3, 1, case)?, of(4, 2, case)?]);
            let sum = |f: fn(&Outcome) -> Result<f64>| parts.iter().map(f).sum::<Result<f64>>();
            let mean = sum(|o| Ok(o.loss_value()? * o.weight()))? / sum(|o| Ok(o.weight()))?;
            assert!((whole.weight() - weight).abs() < 1e-12, "{case}: {}", whole.weight());
            assert!((mean - whole.loss_value()?).abs() < 1e-12, "{case}: {mean} {:?}", whole.loss_value());
        }
        Ok(())
    }

    #[test]
    fn a_loss_stays_a_graph_of_our_ops() -> Result<()> {
        let x = Var::from_tensor(&Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?)?;
        let y = Tensor::new(&[1u32], &Device::Cpu)?;
        for reduction in [Reduction::Mean, Reduction::None] {
            let outcome = Outcome::new(cross_entropy(&x, &y, reduction)?, 1)?;
            assert!(is_direct(outcome.loss()) && outcome.loss().rank() == 0);
            assert!(nn_core::backward(outcome.loss())?.get(&x).is_some());
        }
        Ok(())
    }

    #[test]
    fn smoothed_labels_change_the_loss_and_no_decision() -> Result<()> {
        let logits = Tensor::new(&[[3f32.ln(), 0.0]], &Device::Cpu)?; // softmax 3/4, 1/4
        let targets = Tensor::new(&[0u32], &Device::Cpu)?;
        let options = CrossEntropy { label_smoothing: 0.5, ..CrossEntropy::default() };
        let smooth = Outcome::classification_with(&logits, &targets, options)?;
        let by_hand = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((smooth.loss_value()? - by_hand).abs() < 1e-6);
        let mut metrics = super::super::Metrics::default();
        metrics.add(&smooth)?;
        assert_eq!(metrics.figures().get(super::super::Measure::Accuracy), Some(1.0));
        let none = CrossEntropy { reduction: Reduction::None, ..options };
        assert!(Outcome::classification_with(&logits.repeat((2, 1))?, &targets.repeat(2)?, none).is_err());
        Ok(())
    }

    #[test]
    fn the_best_k_contain_the_target() {
        let among =
            |target, k| Decision { example: 0, target, predicted: 1 }.is_among(k, &[0.5, 2.0, 0.5, 1.0]);
        assert_eq!(
            [(1, 1), (3, 1), (3, 2), (0, 3), (2, 3), (2, 4), (9, 4)].map(|(t, k)| among(t, k)),
            [true, false, true, true, false, true, false]
        );
    }
}
