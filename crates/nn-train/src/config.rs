//! What a run is told that is neither the model's nor the data's.

use candle_core::Result;
use nn_core::{Activations, ensure};
use serde::{Deserialize, Serialize};

use crate::optim::Rule;
use crate::schedule::{Decay, OneCycle, Schedule};

/// Settings of a run that are neither the model's nor the data's.
///
/// ```
/// use nn_train::{AdamW, Decay, FitConfig, OneCycle, Rule, Schedule, Stop, Viewer};
///
/// let config = FitConfig {
///     epochs: 30,
///     optimizer: Rule::AdamW(AdamW { weight_decay: 0.05, ..AdamW::default() }),
///     schedule: Schedule { lr: 1e-3, warmup: 0.0, decay: Decay::OneCycle(OneCycle::default()) },
///     accumulate: 4,                         // a step after every fourth batch
///     clip_norm: Some(1.0),                  // of all gradients together
///     ema: Some(0.999),                      // a running mean of the weights beside them
///     stop: Stop { patience: Some(5), ..Stop::default() },
///     viewer: Viewer::Tensorboard,           // an event file in the run's folder
///     ..FitConfig::default()
/// };
/// config.check()?;
/// # candle_core::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Passes over the training set.
    pub epochs: u64,
    /// What everything random in the model is drawn from; loaders have a seed of their own.
    pub seed: u64,
    /// How gradients change parameters.
    pub optimizer: Rule,
    /// The learning rate.
    pub schedule: Schedule,
    /// Batches a step is taken after, with the mean of their gradients by what each batch's loss is the mean of
    /// ([`Outcome::weight`](crate::Outcome::weight)): as if they had been one. Batch norms still see each by itself. What is
    /// left at the end of an epoch makes a smaller step.
    pub accumulate: u64,
    /// The largest norm of all gradients together; see [`clip_grad_norm`](crate::clip::clip_grad_norm).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The largest size of a gradient's element; see [`clip_grad_value`](crate::clip::clip_grad_value). Instead of
    /// `clip_norm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// The share of the old in a running mean of the weights, in [0, 1): it is evaluated and saved beside the weights
    /// themselves; see [`Ema`](crate::Ema).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// What batch norms go by in training.
    pub norms: Norms,
    /// How activations are kept for the backward pass; [`Activations::Bf16`] takes about half the memory.
    pub activations: Activations,
    /// Steps from one evaluation to the next; there always is one at the end of an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// What ends the run before its last epoch.
    pub stop: Stop,
    /// How often the run is saved within an epoch; it always is after an evaluation and when it is stopped.
    pub checkpoint: Cadence,
    /// How many checkpoints there are: the newest, and those before it.
    pub keep: usize,
    /// Steps from one logged step to the next.
    pub log_every: u64,
    /// For what program the log is written a second time.
    pub viewer: Viewer,
}

impl Default for FitConfig {
    /// Ten epochs of plain SGD at 0.001.
    fn default() -> Self {
        Self {
            epochs: 10,
            seed: 0,
            optimizer: Rule::default(),
            schedule: Schedule::default(),
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            ema: None,
            norms: Norms::Batch,
            activations: Activations::Whole,
            evaluate_every: None,
            stop: Stop::default(),
            checkpoint: Cadence::Auto,
            keep: 2,
            log_every: 50,
            viewer: Viewer::None,
        }
    }
}

impl FitConfig {
    /// # Errors
    /// If a setting is out of range; the message gives the range.
    pub fn check(&self) -> Result<()> {
        self.schedule.check()?;
        self.optimizer.check()?;
        self.check_momentum()?;
        self.stop.check()?;
        for (what, clip) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            let clip = clip.unwrap_or(1.0);
            ensure!(
                clip.is_finite() && clip > 0.0,
                "FitConfig: {what} must be above 0 and finite, got {clip}"
            );
        }
        ensure!(
            self.clip_norm.is_none() || self.clip_value.is_none(),
            "FitConfig: gradients are clipped by clip_norm or by clip_value, got both"
        );
        let ema = self.ema.unwrap_or(0.0);
        ensure!((0.0..1.0).contains(&ema), "FitConfig: ema must be in [0, 1), got {ema}");
        let within_epoch = match self.checkpoint {
            Cadence::Steps(n) => n,
            Cadence::Auto | Cadence::EpochEnd => 1,
        };
        for (what, least, got) in [
            ("accumulate", "1 batch", self.accumulate),
            ("evaluate_every", "1 step", self.evaluate_every.unwrap_or(1)),
            ("checkpoint", "1 step", within_epoch),
            ("keep", "1 checkpoint", self.keep as u64),
            ("log_every", "1 step", self.log_every),
        ] {
            ensure!(got > 0, "FitConfig: {what} must be {least} or more, got 0");
        }
        Ok(())
    }

    fn check_momentum(&self) -> Result<()> {
        let Decay::OneCycle(OneCycle { cycle_momentum: true, max_momentum, .. }) = self.schedule.decay else {
            return Ok(());
        };
        ensure!(
            self.optimizer.with_momentum(max_momentum).is_ok(),
            "FitConfig: one_cycle moves the optimizer's momentum, and it has none; give it one above 0, or set \
             cycle_momentum = false, got {:?}",
            self.optimizer
        );
        Ok(())
    }
}

/// What ends a run before its last epoch. The schedule stays that of all epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// Evaluations one after the other without an improvement, of the weights or of their running mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// By how much a figure must be better to be an improvement, in the unit of the measure that decides: 0.01 is
    /// one in a hundred of an accuracy.
    pub min_delta: f64,
    /// Steps taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Time the loop ran, over all resumptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Stop {
    fn check(&self) -> Result<()> {
        let Self { patience, min_delta, steps, seconds } = *self;
        ensure!(
            min_delta.is_finite() && min_delta >= 0.0,
            "Stop: min_delta must be 0 or more, got {min_delta}"
        );
        ensure!(patience != Some(0), "Stop: patience must be 1 evaluation or more, got 0");
        ensure!(steps != Some(0), "Stop: steps must be 1 or more, got 0");
        let seconds = seconds.unwrap_or(1.0);
        ensure!(seconds > 0.0, "Stop: seconds must be above 0, got {seconds}");
        Ok(())
    }
}

/// What batch norms go by in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// Mean and variance of the batch, which the running ones take in.
    #[default]
    Batch,
    /// Mean and variance of the batches of all ranks together: where the part of each is small. On the CPU.
    Synchronised,
    /// The running mean and variance they came with, as in evaluation: for pretrained networks and small batches.
    Running,
}

/// For what program the figures in the log of a run are written a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Viewer {
    /// For none.
    #[default]
    None,
    /// TensorBoard: an event file of scalars, `events.out.tfevents`.
    Tensorboard,
}

/// How often a run is saved within an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// Every ten seconds, or less often where saving would take more than a hundredth of the time.
    #[default]
    Auto,
    /// Every so many steps.
    Steps(u64),
    /// Not at all.
    EpochEnd,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Adagrad, AdamW, RmsProp, Sgd};

    #[test]
    fn values_out_of_range_are_named() {
        let good = FitConfig::default();
        let stop = |stop| FitConfig { stop, ..good };
        for (config, says) in [
            (FitConfig { clip_norm: Some(0.0), ..good }, "clip_norm must be above 0 and finite, got 0"),
            (
                FitConfig { clip_norm: Some(f64::INFINITY), ..good },
                "clip_norm must be above 0 and finite, got inf",
            ),
            (FitConfig { clip_value: Some(-1.0), ..good }, "clip_value must be above 0 and finite, got -1"),
            (FitConfig { clip_norm: Some(1.0), clip_value: Some(1.0), ..good }, "got both"),
            (FitConfig { ema: Some(1.0), ..good }, "ema must be in [0, 1), got 1"),
            (FitConfig { ema: Some(f64::NAN), ..good }, "ema must be in [0, 1), got NaN"),
            (FitConfig { accumulate: 0, ..good }, "accumulate must be 1 batch or more"),
            (FitConfig { evaluate_every: Some(0), ..good }, "evaluate_every must be 1 step or more"),
            (FitConfig { checkpoint: Cadence::Steps(0), ..good }, "checkpoint must be 1 step or more"),
            (FitConfig { keep: 0, ..good }, "keep must be 1 checkpoint or more"),
            (FitConfig { log_every: 0, ..good }, "log_every must be 1 step or more"),
            (stop(Stop { patience: Some(0), ..Stop::default() }), "patience must be 1 evaluation or more"),
            (stop(Stop { min_delta: -0.1, ..Stop::default() }), "min_delta must be 0 or more, got -0.1"),
            (stop(Stop { steps: Some(0), ..Stop::default() }), "steps must be 1 or more"),
            (stop(Stop { seconds: Some(f64::NAN), ..Stop::default() }), "seconds must be above 0, got NaN"),
        ] {
            let error = config.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        assert!(good.check().is_ok());
    }

    #[test]
    fn momentum_moves_only_where_there_is_one() {
        let cycle = |cycle| Schedule { decay: Decay::OneCycle(cycle), ..Schedule::default() };
        let still = cycle(OneCycle { cycle_momentum: false, ..OneCycle::default() });
        let moving = cycle(OneCycle::default());
        let none = [Rule::default(), Rule::Adagrad(Adagrad::default()), Rule::RmsProp(RmsProp::default())];
        let some = [
            Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }),
            Rule::RmsProp(RmsProp { momentum: 0.9, ..RmsProp::default() }),
            Rule::AdamW(AdamW::default()),
        ];
        let check = |optimizer, schedule| FitConfig { optimizer, schedule, ..FitConfig::default() }.check();
        for rule in none {
            assert!(check(rule, still).is_ok());
            let error = check(rule, moving).expect_err("nothing to move").to_string();
            assert!(error.contains("one_cycle moves the optimizer's momentum, and it has none"), "{error}");
        }
        assert!(some.into_iter().all(|rule| check(rule, moving).is_ok()));
    }

    #[test]
    fn recipes_hold_settings() {
        let text = "accumulate = 4\nema = 0.99\nevaluate_every = 10\nkeep = 3\n[stop]\npatience = 2\nmin_delta = 0.5\n";
        let config: FitConfig = toml::from_str(text).expect("settings");
        assert_eq!((config.accumulate, config.ema, config.keep), (4, Some(0.99), 3));
        assert_eq!(config.stop, Stop { patience: Some(2), min_delta: 0.5, ..Stop::default() });
        let again: FitConfig = toml::from_str(&toml::to_string(&config).expect("text")).expect("settings");
        assert_eq!(again, config);
    }
}
