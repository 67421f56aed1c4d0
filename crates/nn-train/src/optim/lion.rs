//! Lion: steps by the sign of an interpolation between the mean gradient and the gradient.
//!
//! Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::adam::Decay;
use super::formula::{Formula, Quantity, Turn};

/// `p ← (1 − lr · weight_decay) · p − lr · sign(β₁ m + (1 − β₁) g)`, `m ← β₂ m + (1 − β₂) g`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lion {
    /// The share of the mean in the step, in [0, 1).
    pub beta1: f64,
    /// The share of the mean that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// By what the parameter shrinks in an update, as a multiple of the learning rate.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

impl Lion {
    pub(super) fn check(&self) -> Result<()> {
        let Self { beta1, beta2, .. } = *self;
        ensure!((0.0..1.0).contains(&beta1), "Lion: beta1 must be in [0, 1), got {beta1}");
        ensure!((0.0..1.0).contains(&beta2), "Lion: beta2 must be in [0, 1), got {beta2}");
        Ok(())
    }
}

impl Formula<1> for Lion {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [m]: [X; 1]) -> (X, [X; 1]) {
        let [p, g] = Decay::Apart.apply(turn, p, g);
        let step = (m.clone().times(self.beta1) + g.clone().times(1.0 - self.beta1)).sign();
        let m = m.times(self.beta2) + g.times(1.0 - self.beta2);
        (p - step.times(turn.lr), [m])
    }
}
