//! One rise and one fall over the run, and of momentum one fall and one rise.
//!
//! Source: Smith & Topin 2018, arXiv:1708.07120; `torch.optim.lr_scheduler.OneCycleLR` with its names.
//! Differs: an optimiser that keeps no momentum is refused, where PyTorch gives SGD one.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::decay::half_wave;

/// From `lr / div` up to `lr`, and down to `lr / div / final_div` at the run's last step; momentum meanwhile from
/// `max_momentum` down to `base_momentum`, and up again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycle {
    /// The share of the run in which the rate rises: `pct_start`.
    pub rise: f64,
    /// How many times lower than `lr` it begins: `div_factor`.
    pub div: f64,
    /// How many times lower than where it began it ends: `final_div_factor`.
    pub final_div: f64,
    /// The shape of rise and fall: `anneal_strategy`.
    pub anneal: Anneal,
    /// How it falls: `three_phase`.
    pub phases: Phases,
    /// Whether momentum moves too, of Adam and its like `beta1`; else it is the optimiser's.
    pub cycle_momentum: bool,
    /// Momentum where the rate is highest.
    pub base_momentum: f64,
    /// Momentum where the rate begins and ends.
    pub max_momentum: f64,
}

/// The shape of a rise or a fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a wave.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

/// Of what a cycle consists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phases {
    /// A rise, and a fall to the end.
    #[default]
    Two,
    /// A rise, a fall as long to where it began, and one further down to the end.
    Three,
}

impl Default for OneCycle {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            rise: 0.3,
            div: 25.0,
            final_div: 1e4,
            anneal: Anneal::Cosine,
            phases: Phases::Two,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
        }
    }
}

impl OneCycle {
    pub(super) fn rate(self, lr: f64, step: u64, total: u64) -> f64 {
        let begin = lr / self.div;
        self.moving([begin, lr, begin / self.final_div], step, total)
    }

    /// `None` where it does not move.
    pub(super) fn momentum(self, step: u64, total: u64) -> Option<f64> {
        let Self { base_momentum, max_momentum, .. } = self;
        self.cycle_momentum.then(|| self.moving([max_momentum, base_momentum, max_momentum], step, total))
    }

    /// What goes from `begin` to `turn`, and from there, in three phases by way of `begin`, to `end`.
    fn moving(self, [begin, turn, end]: [f64; 3], step: u64, total: u64) -> f64 {
        let (step, last) = (step.min(total - 1) as f64, (total - 1) as f64);
        let top = self.rise * total as f64 - 1.0;
        if step <= top {
            return self.between([0.0, top], [begin, turn], step);
        }
        match self.phases {
            Phases::Two => self.between([top, last], [turn, end], step),
            Phases::Three if step <= 2.0 * top => self.between([top, 2.0 * top], [turn, begin], step),
            Phases::Three => self.between([2.0 * top, last], [begin, end], step),
        }
    }

    /// What is at `step` on the way between two values.
    fn between(self, [first, last]: [f64; 2], [from, to]: [f64; 2], step: f64) -> f64 {
        let t = if last > first { (step - first) / (last - first) } else { 1.0 };
        match self.anneal {
            Anneal::Cosine => half_wave(from, to, t),
            Anneal::Linear => from + (to - from) * t,
        }
    }

    pub(super) fn check(self) -> Result<()> {
        let Self { rise, div, final_div, phases, base_momentum, max_momentum, .. } = self;
        ensure!(rise > 0.0 && rise < 1.0, "Schedule: rise must be in (0, 1), got {rise}");
        ensure!(
            phases == Phases::Two || rise <= 0.5,
            "Schedule: rise must be at most 0.5 in three phases, of which the second is as long, got {rise}"
        );
        for (what, factor) in [("div", div), ("final_div", final_div)] {
            ensure!(factor.is_finite() && factor >= 1.0, "Schedule: {what} must be 1 or more, got {factor}");
        }
        ensure!(
            (0.0..1.0).contains(&max_momentum),
            "Schedule: max_momentum must be in [0, 1), got {max_momentum}"
        );
        ensure!(
            (0.0..=max_momentum).contains(&base_momentum),
            "Schedule: base_momentum must be between 0 and max_momentum = {max_momentum}, got {base_momentum}"
        );
        Ok(())
    }
}
