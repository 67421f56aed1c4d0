//! Means over examples, by name.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What can be measured beside the loss.
///
/// They are listed in the order in which they decide: what a task is judged by comes before what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// The mean over classes of intersection over union, where scenes were evaluated.
    MeanIou,
    /// The harmonic mean of [`Measure::EntityPrecision`] and [`Measure::EntityRecall`].
    EntityF1,
    /// Overlap of translations with their references, in [0, 100]; see [`Bleu`](super::Bleu).
    Bleu,
    /// The share of sequences that are right from beginning to end.
    Exact,
    /// Wrong, missing and surplus words of all words that should be there.
    Wer,
    /// Wrong, missing and surplus characters of all that should be there.
    Cer,
    /// Between how many equally likely tokens a model is undecided.
    Perplexity,
    /// The root of the mean squared error.
    Rmse,
    /// The share of right decisions.
    Accuracy,
    /// The share of examples whose class is among the five with the highest scores.
    Top5,
    /// The probability that an example of class 1 scores higher than one of class 0, where there are two classes.
    RocAuc,
    /// The mean precision over recall, of class 1 where there are two.
    AveragePrecision,
    /// The mean absolute error.
    Mae,
    /// The mean absolute error as a share of the truth.
    Mape,
    /// The share of the truth's variance that was foretold; at most 1, and 0 for its mean.
    R2,
    /// The share of entities claimed that are there.
    EntityPrecision,
    /// The share of entities there that were found.
    EntityRecall,
}

/// Which way a measure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Larger.
    Up,
    /// Smaller.
    Down,
}

/// How a measure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A share of 1 as `93.10 %`.
    Percent,
    /// A share of 1 that may lie outside [0, 1], or a number in the data's own unit: `0.9310`.
    Plain,
    /// A score in [0, 100]: `31.42`.
    Score,
}

/// A measure's key in JSON, its title, direction and style.
type Row = (Measure, &'static str, &'static str, Direction, Style);

const TABLE: [Row; 17] = {
    use Direction::{Down, Up};
    use Measure::*;
    use Style::{Percent, Plain, Score};
    [
        (MeanIou, "mean_iou", "mean IoU", Up, Percent),
        (EntityF1, "entity_f1", "entity F1", Up, Percent),
        (Bleu, "bleu", "BLEU", Up, Score),
        (Exact, "exact", "exact match", Up, Percent),
        (Wer, "wer", "word error rate", Down, Percent),
        (Cer, "cer", "character error rate", Down, Percent),
        (Perplexity, "perplexity", "perplexity", Down, Plain),
        (Rmse, "rmse", "RMSE", Down, Plain),
        (Accuracy, "accuracy", "accuracy", Up, Percent),
        (Top5, "top5", "top-5 accuracy", Up, Percent),
        (RocAuc, "roc_auc", "ROC AUC", Up, Plain),
        (AveragePrecision, "average_precision", "average precision", Up, Plain),
        (Mae, "mae", "MAE", Down, Plain),
        (Mape, "mape", "MAPE", Down, Percent),
        (R2, "r2", "R²", Up, Plain),
        (EntityPrecision, "entity_precision", "entity precision", Up, Percent),
        (EntityRecall, "entity_recall", "entity recall", Up, Percent),
    ]
};

impl Measure {
    /// All of them, in the order in which they decide.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its key in `metrics.json` and `log.jsonl`.
    pub fn key(self) -> &'static str {
        self.row().1
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Which way it is better.
    pub fn direction(self) -> Direction {
        self.row().3
    }

    /// How it is written.
    pub fn style(self) -> Style {
        self.row().4
    }

    /// A value of it as people read it.
    pub fn text(self, value: f64) -> String {
        match self.style() {
            Style::Percent => format!("{:.2} %", 100.0 * value),
            Style::Plain => format!("{value:.4}"),
            Style::Score => format!("{value:.2}"),
        }
    }
}

/// Means over examples: the loss, and what else was measured.
///
/// In JSON an object with `loss` and a key for each measure there is; keys it does not know are passed over, so logs of
/// other versions can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Mean loss.
    pub loss: f64,
    measures: [Option<f64>; TABLE.len()],
}

impl Figures {
    /// A loss alone.
    pub fn new(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }

    /// These, and a value of `measure`. One that is no finite number is left out: JSON has none for it.
    pub fn with(mut self, measure: Measure, value: impl Into<Option<f64>>) -> Self {
        self.measures[measure as usize] = value.into().filter(|value| value.is_finite());
        self
    }

    /// The value of a measure, if it was measured.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.measures[measure as usize]
    }

    /// All that was measured beside the loss, in the order in which they decide.
    pub fn measures(&self) -> impl Iterator<Item = (Measure, f64)> {
        Measure::all().filter_map(|measure| Some((measure, self.get(measure)?)))
    }

    /// Whether these are to be preferred: by the first measure that both have or, without one, by a lower loss. Equals are
    /// not better.
    pub fn better_than(&self, other: &Self) -> bool {
        self.gain_over(other) > 0.0
    }

    /// By how much these are better, in the unit of what decides: of the first measure that both have or, without one, of
    /// the loss. Below 0 where they are worse.
    pub fn gain_over(&self, other: &Self) -> f64 {
        let first = self.measures().find_map(|(measure, a)| Some((measure, a - other.get(measure)?)));
        match first.map_or((Direction::Down, self.loss - other.loss), |(m, gain)| (m.direction(), gain)) {
            (Direction::Up, gain) => gain,
            (Direction::Down, gain) => -gain,
        }
    }
}

const LOSS: &str = "loss";

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(LOSS, &self.loss)?;
        self.measures().try_for_each(|(measure, value)| map.serialize_entry(measure.key(), &value))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
        let get = |key: &str| map.get(key).copied().flatten();
        let loss = get(LOSS).ok_or_else(|| D::Error::missing_field(LOSS))?;
        Ok(Measure::all().fold(Self::new(loss), |figures, m| figures.with(m, get(m.key()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measure_has_its_row() {
        for (i, measure) in Measure::all().enumerate() {
            assert_eq!(measure as usize, i, "{measure:?}");
        }
        let keys: std::collections::BTreeSet<_> = Measure::all().map(Measure::key).collect();
        assert_eq!(keys.len(), TABLE.len());
        assert_eq!(
            [(Measure::Bleu, 31.416), (Measure::Wer, 0.5), (Measure::R2, -1.0)].map(|(m, v)| m.text(v)),
            ["31.42", "50.00 %", "-1.0000"]
        );
    }

    #[test]
    fn the_first_measure_decides_and_a_tie_is_not_better() {
        use Measure::{Accuracy, Bleu, Mae, MeanIou, Rmse};
        let of = |loss, list: &[(Measure, f64)]| {
            list.iter().fold(Figures::new(loss), |figures, &(measure, value)| figures.with(measure, value))
        };
        for (a, b, better) in [
            (of(2.0, &[(Accuracy, 0.9)]), of(1.0, &[(Accuracy, 0.8)]), true),
            (of(1.0, &[(Accuracy, 0.9)]), of(2.0, &[(Accuracy, 0.9)]), false),
            (of(1.0, &[]), of(2.0, &[]), true),
            (of(1.0, &[]), of(1.0, &[]), false),
            (of(1.0, &[(Bleu, 9.0)]), of(2.0, &[(Accuracy, 0.9)]), true),
            (of(1.0, &[(Accuracy, 0.5), (MeanIou, 0.4)]), of(1.0, &[(Accuracy, 0.9), (MeanIou, 0.3)]), true),
            (of(1.0, &[(Accuracy, 0.9), (MeanIou, 0.4)]), of(1.0, &[(Accuracy, 0.8), (MeanIou, 0.4)]), false),
            (of(9.0, &[(Rmse, 1.0), (Mae, 3.0)]), of(1.0, &[(Rmse, 2.0), (Mae, 1.0)]), true),
        ] {
            assert_eq!(a.better_than(&b), better, "{a:?} {b:?}");
        }
    }

    #[test]
    fn json_is_flat_and_other_versions_can_be_read() {
        let figures = Figures::new(0.25).with(Measure::Accuracy, 0.5).with(Measure::MeanIou, 0.1);
        let figures = figures.with(Measure::Perplexity, f64::INFINITY);
        let json = serde_json::to_string(&figures).expect("numbers");
        assert_eq!(json, r#"{"loss":0.25,"mean_iou":0.1,"accuracy":0.5}"#);
        assert_eq!(serde_json::from_str::<Figures>(&json).expect("the same"), figures);
        let other = r#"{"accuracy":0.5,"mean_iou":0.1,"loss":0.25,"brightness":3}"#;
        assert_eq!(serde_json::from_str::<Figures>(other).expect("readable"), figures);
        let error = serde_json::from_str::<Figures>(r#"{"accuracy":0.5}"#).expect_err("no loss").to_string();
        assert!(error.contains("missing field `loss`"), "{error}");
    }
}
