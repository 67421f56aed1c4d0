//! Adagrad: steps scaled by the root of the sum of all squared gradients.
//!
//! Source: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods", JMLR 12; `torch.optim.Adagrad`.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::adam::Decay;
use super::formula::{Formula, Quantity, Turn};

/// `s ← s + g²`, `p ← p − lr / (1 + (t − 1) · lr_decay) · g / (√s + eps)`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adagrad {
    /// How fast the learning rate falls with the number of updates.
    pub lr_decay: f64,
    /// What the sum starts from.
    pub initial_accumulator_value: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { lr_decay: 0.0, initial_accumulator_value: 0.0, eps: 1e-10, weight_decay: 0.0 }
    }
}

impl Adagrad {
    pub(super) fn check(&self) -> Result<()> {
        let Self { lr_decay, initial_accumulator_value: start, eps, .. } = *self;
        ensure!(
            lr_decay.is_finite() && lr_decay >= 0.0,
            "Adagrad: lr_decay must be 0 or more, got {lr_decay}"
        );
        ensure!(
            start.is_finite() && start >= 0.0,
            "Adagrad: initial_accumulator_value must be 0 or more, got {start}"
        );
        ensure!(eps.is_finite() && eps >= 0.0, "Adagrad: eps must be 0 or more, got {eps}");
        Ok(())
    }
}

impl Formula<1> for Adagrad {
    /// The turn, with the learning rate of this update.
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        Turn { lr: turn.lr / (1.0 + (turn.number - 1) as f64 * self.lr_decay), ..turn }
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [sum]: [X; 1]) -> (X, [X; 1]) {
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let sum = sum + g.clone() * g.clone();
        (p - g.times(turn.lr) / sum.clone().sqrt().plus(self.eps), [sum])
    }
}
