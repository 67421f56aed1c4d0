//! Sums over examples.

use std::ops::AddAssign;

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::{Bleu, Edits, Figures, Found, Measure, Outcome, ValueErrors};

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Those that are right.
    pub right: u64,
    /// All.
    pub all: u64,
}

impl From<bool> for Share {
    /// One, which is right or is not.
    fn from(right: bool) -> Self {
        Self { right: u64::from(right), all: 1 }
    }
}

impl Share {
    fn value(self) -> Option<f64> {
        (self.all > 0).then(|| self.right as f64 / self.all as f64)
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.all += other.all;
    }
}

/// How likely a model held the tokens that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// `−Σ ln p`, in nats.
    pub negative_log: f64,
    /// How many tokens.
    pub tokens: u64,
}

impl Likelihood {
    /// `exp(−Σ ln p / tokens)`
    fn perplexity(self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.negative_log / self.tokens as f64).exp())
    }
}

impl AddAssign for Likelihood {
    fn add_assign(&mut self, other: Self) {
        self.negative_log += other.negative_log;
        self.tokens += other.tokens;
    }
}

/// Counts of a batch that its task is judged by, beside the loss; see [`Outcome::counting`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counts {
    /// Of foretold values: [`Measure::Mae`], [`Measure::Rmse`], [`Measure::Mape`] and [`Measure::R2`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<ValueErrors>,
    /// Of entities: [`Measure::EntityF1`], [`Measure::EntityPrecision`] and [`Measure::EntityRecall`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<Found>,
    /// Of translations: [`Measure::Bleu`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bleu: Option<Bleu>,
    /// Of words: [`Measure::Wer`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Edits>,
    /// Of characters: [`Measure::Cer`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<Edits>,
    /// Of tokens: [`Measure::Perplexity`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Likelihood>,
    /// Of whole sequences: [`Measure::Exact`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<Share>,
    /// Of decisions between many classes: [`Measure::Top5`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5: Option<Share>,
}

impl Counts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn figures(&self, figures: Figures) -> Figures {
        let found = |of: fn(&Found) -> f64| self.entities.as_ref().map(of);
        let values = |of: fn(&ValueErrors) -> Option<f64>| self.values.as_ref().and_then(of);
        let edits = |edits: &Option<Edits>| edits.as_ref().and_then(Edits::rate);
        [
            (Measure::EntityF1, found(|found| found.f(1.0))),
            (Measure::EntityPrecision, found(Found::precision)),
            (Measure::EntityRecall, found(Found::recall)),
            (Measure::Bleu, self.bleu.as_ref().map(Bleu::score)),
            (Measure::Wer, edits(&self.words)),
            (Measure::Cer, edits(&self.characters)),
            (Measure::Perplexity, self.likelihood.and_then(Likelihood::perplexity)),
            (Measure::Exact, self.exact.and_then(Share::value)),
            (Measure::Top5, self.top5.and_then(Share::value)),
            (Measure::Mae, values(ValueErrors::mae)),
            (Measure::Rmse, values(ValueErrors::rmse)),
            (Measure::Mape, values(ValueErrors::mape)),
            (Measure::R2, values(ValueErrors::r2)),
        ]
        .into_iter()
        .fold(figures, |figures, (measure, value)| figures.with(measure, value))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        fn add<T: AddAssign + Copy>(sum: &mut Option<T>, other: Option<T>) {
            match (sum, other) {
                (Some(sum), Some(other)) => *sum += other,
                (sum @ None, other) => *sum = other,
                (Some(_), None) => {}
            }
        }
        add(&mut self.values, other.values);
        add(&mut self.entities, other.entities);
        add(&mut self.bleu, other.bleu);
        add(&mut self.words, other.words);
        add(&mut self.characters, other.characters);
        add(&mut self.likelihood, other.likelihood);
        add(&mut self.exact, other.exact);
        add(&mut self.top5, other.top5);
    }
}

/// Sums over examples, from which means follow: an epoch's last, smaller batch weighs less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Metrics {
    examples: u64,
    /// `Σ weight · loss` over the batches.
    loss: f64,
    /// [`Outcome::weight`] of all batches together.
    weight: f64,
    decided: u64,
    correct: u64,
    #[serde(skip_serializing_if = "Counts::is_empty")]
    counts: Counts,
}

/// As they are kept; an older version weighed losses by examples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    examples: u64,
    loss: f64,
    weight: Option<f64>,
    decided: u64,
    correct: u64,
    #[serde(default)]
    counts: Counts,
}

impl From<Stored> for Metrics {
    fn from(stored: Stored) -> Self {
        let Stored { examples, loss, weight, decided, correct, counts } = stored;
        Self { examples, loss, weight: weight.unwrap_or(examples as f64), decided, correct, counts }
    }
}

impl AddAssign for Metrics {
    fn add_assign(&mut self, other: Self) {
        self.examples += other.examples;
        self.loss += other.loss;
        self.weight += other.weight;
        self.decided += other.decided;
        self.correct += other.correct;
        self.counts += other.counts;
    }
}

impl Metrics {
    /// Adds a batch.
    ///
    /// # Errors
    /// If its numbers cannot be read.
    pub fn add(&mut self, outcome: &Outcome) -> Result<()> {
        self.examples += outcome.examples() as u64;
        self.loss += outcome.loss_value()? * outcome.weight();
        self.weight += outcome.weight();
        self.counts += *outcome.counts();
        if let Some(decisions) = outcome.decisions() {
            let mut top5 = Share::default();
            decisions.each(|decision, scores| {
                self.decided += 1;
                self.correct += u64::from(decision.predicted == decision.target);
                if decisions.are_many() {
                    top5 += Share::from(decision.is_among(5, scores));
                }
                Ok(())
            })?;
            self.counts += Counts { top5: (top5.all > 0).then_some(top5), ..Counts::default() };
        }
        Ok(())
    }

    /// How many examples were added.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// Over how much the loss is the mean.
    pub(crate) fn weight(&self) -> f64 {
        self.weight
    }

    /// The means; the loss of no examples is 0.
    pub fn figures(&self) -> Figures {
        let accuracy = Share { right: self.correct, all: self.decided }.value();
        let figures = Figures::new(if self.weight > 0.0 { self.loss / self.weight } else { 0.0 });
        self.counts.figures(figures.with(Measure::Accuracy, accuracy))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn outcome(loss: f32, examples: usize, counts: Counts) -> Result<Outcome> {
        Ok(Outcome::new(Tensor::new(&[loss], &Device::Cpu)?, examples)?.counting(counts))
    }

    #[test]
    fn means_are_over_examples_not_batches() -> Result<()> {
        let mut metrics = Metrics::default();
        for (loss, examples) in [(1.0, 3), (5.0, 1)] {
            metrics.add(&outcome(loss, examples, Counts::default())?)?;
        }
        assert_eq!((metrics.examples(), metrics.figures()), (4, Figures::new(2.0)));
        let rows = Tensor::new(&[[0f32, 1.0, 0.0], [9.0, 1.0, 0.0]], &Device::Cpu)?;
        metrics.add(&Outcome::classification(&rows, &Tensor::new(&[1u32, 2], &Device::Cpu)?)?)?;
        assert_eq!(metrics.figures().get(Measure::Accuracy), Some(0.5));
        Ok(())
    }

    #[test]
    fn what_a_task_is_judged_by_is_summed_up() -> Result<()> {
        let (mut metrics, mut exact) = (Metrics::default(), Share::default());
        [true, false, true, true].into_iter().for_each(|right| exact += Share::from(right));
        for (values, tokens) in [([1.0, 3.0], 1), ([2.0, 2.0], 3)] {
            let counts = Counts {
                values: Some(ValueErrors::of_one(values[0], values[1])),
                entities: Some(Found { hits: 1, claimed: 2, there: 2 }),
                words: Some(Edits::of_words("a b", "a c")),
                likelihood: Some(Likelihood { negative_log: 2f64.ln() * 2.0, tokens }),
                exact: (tokens == 1).then_some(exact),
                ..Counts::default()
            };
            metrics.add(&outcome(1.0, 1, counts)?)?;
        }
        let figures = metrics.figures();
        let values: Vec<_> = figures.measures().map(|(measure, value)| (measure.key(), value)).collect();
        let expected = [
            ("entity_f1", 0.5),
            ("exact", 0.75),
            ("wer", 0.5),
            ("perplexity", 2.0),
            ("rmse", 2f64.sqrt()),
            ("mae", 1.0),
            ("mape", 1.0 / 3.0),
            ("r2", -7.0),
            ("entity_precision", 0.5),
            ("entity_recall", 0.5),
        ];
        for ((name, value), (key, right)) in values.iter().zip(expected) {
            assert!(*name == key && (value - right).abs() < 1e-12, "{name} {value} {key} {right}");
        }
        assert_eq!(values.len(), expected.len());
        let json = serde_json::to_string(&metrics).expect("numbers");
        assert_eq!(serde_json::from_str::<Metrics>(&json).expect("the same"), metrics);
        let old: Metrics = serde_json::from_str(r#"{"examples":2,"loss":1.0,"decided":2,"correct":1}"#)
            .expect("sums of an older version");
        assert_eq!(old.figures(), Figures::new(0.5).with(Measure::Accuracy, 0.5));
        Ok(())
    }
}
