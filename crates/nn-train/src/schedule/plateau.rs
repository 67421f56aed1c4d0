//! A rate that falls when evaluations no longer get better.
//!
//! Source: `torch.optim.lr_scheduler.ReduceLROnPlateau` with its names.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use crate::metrics::{Direction, Figures};

/// A change of the rate below this is none; PyTorch's default.
const EPSILON: f64 = 1e-8;

/// Multiplies the rate with `factor` after more than `patience` evaluations without an improvement. Those during
/// warm-up do not count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// What the rate is multiplied with.
    pub factor: f64,
    /// Evaluations without an improvement that change nothing yet.
    pub patience: u64,
    /// By how much a figure must be better than the best before to be an improvement.
    pub threshold: f64,
    /// What `threshold` is in: `threshold_mode`.
    pub threshold_mode: Threshold,
    /// Evaluations after a reduction that do not count.
    pub cooldown: u64,
    /// Where the rate falls no further.
    pub min_lr: f64,
    /// What is to get better.
    pub watch: Watch,
}

/// What a threshold is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// A share of the best figure.
    #[default]
    Rel,
    /// The figure's own unit.
    Abs,
}

/// Which figure of an evaluation is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// The loss.
    #[default]
    Loss,
    /// The measure that the best weights are chosen by; the loss, where there is none.
    Best,
}

/// What a [`Plateau`] has seen so far; it belongs into a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The rate, once it was reduced.
    lr: Option<f64>,
    /// The best figure.
    best: Option<f64>,
    /// Evaluations since then, or since the last reduction.
    stale: u64,
    /// Evaluations that still do not count.
    cooldown: u64,
}

impl Watched {
    /// The rate, if it was not reduced below.
    pub(super) fn cap(&self, rate: f64) -> f64 {
        self.lr.map_or(rate, |lr| lr.min(rate))
    }
}

impl Default for Plateau {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: Threshold::Rel,
            cooldown: 0,
            min_lr: 0.0,
            watch: Watch::Loss,
        }
    }
}

impl Plateau {
    /// Takes in an evaluation of a run whose rate was `lr` before any reduction.
    pub(super) fn watch(self, watched: &mut Watched, figures: &Figures, lr: f64) {
        let measure = figures.measures().next().filter(|_| self.watch == Watch::Best);
        let (value, direction) =
            measure.map_or((figures.loss, Direction::Down), |(measure, value)| (value, measure.direction()));
        if watched.best.is_none_or(|best| self.improves(value, best, direction)) {
            (watched.best, watched.stale) = (Some(value), 0);
        } else {
            watched.stale += 1;
        }
        if watched.cooldown > 0 {
            watched.cooldown -= 1;
            watched.stale = 0;
        }
        if watched.stale > self.patience {
            (watched.stale, watched.cooldown) = (0, self.cooldown);
            let old = watched.lr.unwrap_or(lr);
            let new = (old * self.factor).max(self.min_lr);
            if old - new > EPSILON {
                watched.lr = Some(new);
            }
        }
    }

    fn improves(self, value: f64, best: f64, direction: Direction) -> bool {
        match (direction, self.threshold_mode) {
            (Direction::Down, Threshold::Rel) => value < best * (1.0 - self.threshold),
            (Direction::Down, Threshold::Abs) => value < best - self.threshold,
            (Direction::Up, Threshold::Rel) => value > best * (1.0 + self.threshold),
            (Direction::Up, Threshold::Abs) => value > best + self.threshold,
        }
    }

    /// All but `min_lr`, which depends on the rate.
    pub(super) fn check(self) -> Result<()> {
        let Self { factor, threshold, .. } = self;
        ensure!(factor > 0.0 && factor < 1.0, "Schedule: factor must be in (0, 1), got {factor}");
        ensure!(
            threshold.is_finite() && threshold >= 0.0,
            "Schedule: threshold must be 0 or more, got {threshold}"
        );
        Ok(())
    }
}
