//! The learning rate as a function of the step alone, so a resumed run needs no memory of it.
//!
//! Source: `torch.optim.lr_scheduler`: `LinearLR` with `start_factor = 1 / (w + 1)` over `w` warm-up steps, then
//! `StepLR` or `CosineAnnealingLR`, joined by `SequentialLR`, all stepped after each batch.

use std::f64::consts::PI;

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

/// A learning rate that rises linearly to `lr`, then follows `decay`. Times are in epochs, so that another batch
/// size does not change the plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The learning rate after warm-up.
    pub lr: f64,
    /// How long the rate rises, in epochs; rounded to whole steps.
    #[serde(default)]
    pub warmup: f64,
    /// What happens after warm-up.
    #[serde(default)]
    pub decay: Decay,
}

/// How the learning rate falls; counted from the end of warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// `lr · factorⁿ` after `n` periods.
    Step {
        /// Length of a period, in epochs; rounded to whole steps.
        every: f64,
        /// What the rate is multiplied with after each period.
        factor: f64,
    },
    /// `min_lr + (lr − min_lr) · (1 + cos πt) / 2`, where `t` goes from 0 to 1 at the run's end.
    Cosine {
        /// Where it ends.
        #[serde(default)]
        min_lr: f64,
    },
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Epochs in the run.
    pub epochs: u64,
}

impl Default for Schedule {
    /// A constant 0.001, the rate PyTorch's `SGD` and `Adam` start from.
    fn default() -> Self {
        Self { lr: 1e-3, warmup: 0.0, decay: Decay::Constant }
    }
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0, in a run of `length`.
    pub fn at(&self, step: u64, length: Length) -> f64 {
        let warmup = steps(self.warmup, length);
        if step < warmup {
            return self.lr * ((step + 1) as f64 / (warmup + 1) as f64);
        }
        let t = step - warmup;
        match self.decay {
            Decay::Constant => self.lr,
            Decay::Step { every, factor } => {
                let periods = t / steps(every, length).max(1);
                self.lr * factor.powf(periods as f64)
            }
            Decay::Cosine { min_lr } => {
                let total = (length.steps_per_epoch * length.epochs).saturating_sub(warmup).max(1);
                let t = t.min(total) as f64 / total as f64;
                min_lr + (self.lr - min_lr) * (1.0 + (PI * t).cos()) / 2.0
            }
        }
    }

    /// # Errors
    /// If a rate is negative, a factor is not in (0, 1], or a time is negative, or any of them is not finite.
    pub fn check(&self) -> Result<()> {
        let Self { lr, warmup, decay } = *self;
        ensure!(lr.is_finite() && lr >= 0.0, "Schedule: lr must be 0 or more, got {lr}");
        ensure!(
            warmup.is_finite() && warmup >= 0.0,
            "Schedule: warmup must be 0 epochs or more, got {warmup}"
        );
        match decay {
            Decay::Constant => {}
            Decay::Step { every, factor } => {
                ensure!(
                    every.is_finite() && every > 0.0,
                    "Schedule: every must be above 0 epochs, got {every}"
                );
                ensure!(factor > 0.0 && factor <= 1.0, "Schedule: factor must be in (0, 1], got {factor}");
            }
            Decay::Cosine { min_lr } => ensure!(
                min_lr.is_finite() && (0.0..=lr).contains(&min_lr),
                "Schedule: min_lr must be between 0 and lr = {lr}, got {min_lr}"
            ),
        }
        Ok(())
    }
}

fn steps(epochs: f64, length: Length) -> u64 {
    (epochs * length.steps_per_epoch as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_hold_schedules_and_refuse_what_they_do_not_know() {
        let parse = |text: &str| toml::from_str::<Schedule>(text).map_err(|e| e.message().to_owned());
        let step = Schedule { lr: 0.1, warmup: 0.0, decay: Decay::Step { every: 2.0, factor: 0.5 } };
        assert_eq!(parse("lr = 0.1\ndecay = { kind = 'step', every = 2, factor = 0.5 }"), Ok(step));
        let cosine = Schedule { lr: 0.1, warmup: 1.5, decay: Decay::Cosine { min_lr: 0.0 } };
        assert_eq!(parse("lr = 0.1\nwarmup = 1.5\ndecay = { kind = 'cosine' }"), Ok(cosine));
        assert_eq!(parse("lr = 0.1"), Ok(Schedule { lr: 0.1, ..Schedule::default() }));
        for schedule in [step, cosine] {
            assert_eq!(parse(&toml::to_string(&schedule).expect("text")), Ok(schedule));
        }
        for (text, says) in [
            ("lr = 0.1\nwarm_up = 2", "unknown field `warm_up`"),
            ("lr = 0.1\ndecay = { kind = 'cosine', max_lr = 1 }", "unknown field `max_lr`"),
            ("lr = 0.1\ndecay = { kind = 'linear' }", "unknown variant `linear`"),
            ("warmup = 1", "missing field `lr`"),
        ] {
            let error = parse(text).expect_err(says);
            assert!(error.contains(says), "{says:?} not in {error:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let good = Schedule::default();
        let step = |every, factor| Schedule { decay: Decay::Step { every, factor }, ..good };
        for (schedule, says) in [
            (Schedule { lr: f64::NAN, ..good }, "lr must be 0 or more, got NaN"),
            (Schedule { warmup: -1.0, ..good }, "warmup must be 0 epochs or more, got -1"),
            (step(0.0, 0.5), "every must be above 0 epochs, got 0"),
            (step(1.0, 1.5), "factor must be in (0, 1], got 1.5"),
            (
                Schedule { decay: Decay::Cosine { min_lr: 1.0 }, ..good },
                "min_lr must be between 0 and lr = 0.001, got 1",
            ),
        ] {
            let error = schedule.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        assert!(good.check().is_ok() && step(1.0, 0.5).check().is_ok());
    }

    #[test]
    fn a_run_made_longer_than_its_schedule_stays_at_the_end() {
        let schedule = Schedule { lr: 1.0, warmup: 0.0, decay: Decay::Cosine { min_lr: 0.25 } };
        let length = Length { steps_per_epoch: 4, epochs: 2 };
        assert_eq!(schedule.at(0, length), 1.0);
        assert_eq!(schedule.at(8, length), 0.25);
        assert_eq!(schedule.at(1000, length), 0.25);
        // A warm-up longer than the run never ends, and nothing is divided by zero.
        let endless = Schedule { warmup: 3.0, ..schedule };
        assert!((0..20).all(|step| endless.at(step, length).is_finite()));
    }
}
