//! How the rate goes on after warm-up.

use std::f64::consts::PI;

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::{Length, Milestones, OneCycle, Plateau};

/// How the learning rate goes on; counted from the end of warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// `lr · factorⁿ` after `n` periods: `StepLR`.
    Step {
        /// Length of a period, in epochs; rounded to whole steps.
        every: f64,
        /// What the rate is multiplied with after each period.
        factor: f64,
    },
    /// `lr · factorⁿ` after the `n`-th of some moments: `MultiStepLR`.
    MultiStep {
        /// The moments, in epochs; rounded to whole steps.
        at: Milestones,
        /// What the rate is multiplied with at each of them.
        factor: f64,
    },
    /// `lr · factor^(t / every)` at time `t`, from step to step: `ExponentialLR`.
    Exponential {
        /// In what time the rate is multiplied with `factor` once, in epochs; rounded to whole steps.
        #[serde(default = "one")]
        every: f64,
        /// What it is multiplied with in that time.
        factor: f64,
    },
    /// `min_lr + (lr − min_lr) · (1 − t)^power`, where `t` goes from 0 to 1 at the run's end: `PolynomialLR`.
    Polynomial {
        /// 1 is a straight line.
        #[serde(default = "one")]
        power: f64,
        /// Where it ends.
        #[serde(default)]
        min_lr: f64,
    },
    /// `min_lr + (lr − min_lr) · (1 + cos πt) / 2`, where `t` goes from 0 to 1 at the run's end: `CosineAnnealingLR`.
    Cosine {
        /// Where it ends.
        #[serde(default)]
        min_lr: f64,
    },
    /// The same over and over, beginning at `lr` each time: `CosineAnnealingWarmRestarts`
    /// (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5).
    CosineRestarts {
        /// Length of the first period, `T_0`, in epochs; rounded to whole steps.
        every: f64,
        /// How many times as long as the one before each period is, `T_mult`.
        #[serde(default = "once")]
        mult: u64,
        /// Where each ends.
        #[serde(default)]
        min_lr: f64,
    },
    /// One rise and one fall over the run.
    OneCycle(OneCycle),
    /// `lr · √((w + 1) / (w + 1 + t))`, `t` steps after a warm-up of `w`.
    ///
    /// That of Vaswani et al. 2017, arXiv:1706.03762, equation 3, with `warmup_steps = w + 1` and
    /// `lr = (d_model · (w + 1))^−½`, the highest rate.
    Noam,
    /// Multiplied with a factor whenever evaluations no longer get better.
    Plateau(Plateau),
}

fn one() -> f64 {
    1.0
}

fn once() -> u64 {
    1
}

/// A step of a run, as a decay sees it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Steps since warm-up.
    pub(super) step: u64,
    /// Steps of warm-up.
    pub(super) warmup: u64,
    /// Steps from warm-up to the run's end; 1 or more.
    pub(super) total: u64,
    pub(super) length: Length,
}

impl Moment {
    /// How much of the time to the run's end is over, in [0, 1].
    fn share(self) -> f64 {
        self.step.min(self.total) as f64 / self.total as f64
    }

    /// Steps in so many epochs; 1 or more.
    fn period(self, epochs: f64) -> u64 {
        self.length.steps(epochs).max(1)
    }
}

impl Decay {
    pub(super) fn rate(self, lr: f64, now: Moment) -> f64 {
        match self {
            Self::Constant | Self::Plateau(_) => lr,
            Self::Step { every, factor } => lr * factor.powf((now.step / now.period(every)) as f64),
            Self::MultiStep { at, factor } => {
                let passed = at.iter().filter(|&moment| now.length.steps(moment) <= now.step).count();
                lr * factor.powf(passed as f64)
            }
            Self::Exponential { every, factor } => {
                lr * factor.powf(now.step as f64 / now.period(every) as f64)
            }
            Self::Polynomial { power, min_lr } => min_lr + (lr - min_lr) * (1.0 - now.share()).powf(power),
            Self::Cosine { min_lr } => half_wave(lr, min_lr, now.share()),
            Self::CosineRestarts { every, mult, min_lr } => {
                half_wave(lr, min_lr, since_restart(now.step, now.period(every), mult))
            }
            Self::OneCycle(cycle) => cycle.rate(lr, now.step, now.total),
            Self::Noam => {
                let peak = now.warmup as f64 + 1.0;
                lr * (peak / (peak + now.step as f64)).sqrt()
            }
        }
    }

    pub(super) fn check(self, lr: f64) -> Result<()> {
        match self {
            Self::Constant | Self::Noam => Ok(()),
            Self::Step { every, factor } | Self::Exponential { every, factor } => {
                check_every(every)?;
                check_factor(factor)
            }
            Self::MultiStep { at: _, factor } => check_factor(factor),
            Self::Polynomial { power, min_lr } => {
                ensure!(power.is_finite() && power > 0.0, "Schedule: power must be above 0, got {power}");
                check_min(min_lr, lr)
            }
            Self::Cosine { min_lr } => check_min(min_lr, lr),
            Self::CosineRestarts { every, mult, min_lr } => {
                check_every(every)?;
                ensure!(mult > 0, "Schedule: mult must be 1 or more, got 0");
                check_min(min_lr, lr)
            }
            Self::OneCycle(cycle) => cycle.check(),
            Self::Plateau(plateau) => {
                plateau.check()?;
                check_min(plateau.min_lr, lr)
            }
        }
    }
}

/// From `high` to `low` while `t` goes from 0 to 1.
pub(super) fn half_wave(high: f64, low: f64, t: f64) -> f64 {
    low + (high - low) * (1.0 + (PI * t).cos()) / 2.0
}

/// How much of its period is over at `step`, in [0, 1), where the first has `period` steps and each other `mult` times
/// those of the one before.
fn since_restart(step: u64, mut period: u64, mult: u64) -> f64 {
    if mult <= 1 {
        return (step % period) as f64 / period as f64;
    }
    let mut left = step;
    while left >= period {
        left -= period;
        period = period.saturating_mul(mult);
    }
    left as f64 / period as f64
}

fn check_every(every: f64) -> Result<()> {
    ensure!(every.is_finite() && every > 0.0, "Schedule: every must be above 0 epochs, got {every}");
    Ok(())
}

fn check_factor(factor: f64) -> Result<()> {
    ensure!(factor > 0.0 && factor <= 1.0, "Schedule: factor must be in (0, 1], got {factor}");
    Ok(())
}

fn check_min(min_lr: f64, lr: f64) -> Result<()> {
    ensure!(
        min_lr.is_finite() && (0.0..=lr).contains(&min_lr),
        "Schedule: min_lr must be between 0 and lr = {lr}, got {min_lr}"
    );
    Ok(())
}
