//! The learning rate as a function of the step, so a resumed run needs no memory of it; of a [`Plateau`] the run keeps
//! a [`Watched`] in its checkpoint.
//!
//! Source: `torch.optim.lr_scheduler`: `LinearLR` with `start_factor = 1 / (w + 1)` over `w` warm-up steps, then the
//! scheduler that a [`Decay`] names, joined by `SequentialLR`, all stepped after each batch.

mod decay;
mod milestones;
mod one_cycle;
mod plateau;

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

pub use decay::Decay;
pub use milestones::Milestones;
pub use one_cycle::{Anneal, OneCycle, Phases};
pub use plateau::{Plateau, Threshold, Watch, Watched};

/// A learning rate that rises linearly to `lr`, then follows `decay`. Times are in epochs, so that another batch
/// size does not change the plan.
///
/// ```
/// use nn_train::{Decay, Schedule, schedule::Length};
///
/// let schedule = Schedule { lr: 0.1, warmup: 1.0, decay: Decay::Cosine { min_lr: 0.0 } };
/// let length = Length { steps_per_epoch: 9, epochs: 5 };
/// let rates: Vec<f64> = (0..length.total()).map(|step| schedule.at(step, length)).collect();
/// assert!(rates[0] < 0.02 && rates[9] == 0.1 && rates[44] < 1e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The learning rate after warm-up; the highest there is.
    pub lr: f64,
    /// How long the rate rises, in epochs; rounded to whole steps.
    #[serde(default)]
    pub warmup: f64,
    /// What happens after warm-up.
    #[serde(default)]
    pub decay: Decay,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Epochs in the run.
    pub epochs: u64,
}

impl Length {
    /// Steps in so many epochs, rounded.
    fn steps(self, epochs: f64) -> u64 {
        (epochs * self.steps_per_epoch as f64).round() as u64
    }

    /// Steps in the run.
    pub fn total(self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs)
    }
}

impl Default for Schedule {
    /// A constant 0.001, the rate PyTorch's `SGD` and `Adam` start from.
    fn default() -> Self {
        Self { lr: 1e-3, warmup: 0.0, decay: Decay::Constant }
    }
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0, in a run of `length`; of a [`Plateau`] the one before any
    /// evaluation, see [`Schedule::after`].
    pub fn at(&self, step: u64, length: Length) -> f64 {
        let warmup = length.steps(self.warmup);
        if step < warmup {
            return self.lr * ((step + 1) as f64 / (warmup as f64 + 1.0));
        }
        let total = length.total().saturating_sub(warmup).max(1);
        self.decay.rate(self.lr, decay::Moment { step: step - warmup, warmup, total, length })
    }

    /// The same after the evaluations that `watched` has seen: what a [`Plateau`] has made of it.
    pub fn after(&self, watched: &Watched, step: u64, length: Length) -> f64 {
        let rate = self.at(step, length);
        match self.decay {
            Decay::Plateau(_) => watched.cap(rate),
            _ => rate,
        }
    }

    /// The momentum of step `step`; `None` where a schedule leaves it to the optimiser, as all but [`OneCycle`] do.
    pub fn momentum(&self, step: u64, length: Length) -> Option<f64> {
        match self.decay {
            Decay::OneCycle(cycle) => cycle.momentum(step, length.total().max(1)),
            _ => None,
        }
    }

    /// Lets `watched` take in an evaluation after `steps` steps. Only a [`Plateau`] whose warm-up is over looks at it.
    pub fn watch(&self, watched: &mut Watched, figures: &crate::Figures, steps: u64, length: Length) {
        if let Decay::Plateau(plateau) = self.decay
            && steps > length.steps(self.warmup)
        {
            plateau.watch(watched, figures, self.lr);
        }
    }

    /// # Errors
    /// If a rate, a time or a factor is out of its range, or a one-cycle schedule, which rises by itself, is to be
    /// warmed up; the message names it.
    pub fn check(&self) -> Result<()> {
        let Self { lr, warmup, decay } = *self;
        ensure!(lr.is_finite() && lr >= 0.0, "Schedule: lr must be 0 or more, got {lr}");
        ensure!(
            warmup.is_finite() && warmup >= 0.0,
            "Schedule: warmup must be 0 epochs or more, got {warmup}"
        );
        ensure!(
            warmup == 0.0 || !matches!(decay, Decay::OneCycle(_)),
            "Schedule: one_cycle rises by itself, so warmup must be 0, got {warmup}; decay.rise says for how long"
        );
        decay.check(lr)
    }
}

#[cfg(test)]
mod tests;
