//! Adadelta: steps in the units of the parameter, from running means of squared gradients and squared steps.
//!
//! Source: Zeiler 2012, arXiv:1212.5701, algorithm 1; `torch.optim.Adadelta`, whose learning rate is 1 by default.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::adam::Decay;
use super::formula::{Formula, Quantity, Turn};

/// `v ← ρ v + (1 − ρ) g²`, `Δ = √(u + eps) / √(v + eps) · g`, `u ← ρ u + (1 − ρ) Δ²`, `p ← p − lr · Δ`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adadelta {
    /// The share of both means that is kept in an update, in [0, 1).
    pub rho: f64,
    /// Keeps the division finite, and gets it going.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self { rho: 0.9, eps: 1e-6, weight_decay: 0.0 }
    }
}

impl Adadelta {
    pub(super) fn check(&self) -> Result<()> {
        let Self { rho, eps, .. } = *self;
        ensure!((0.0..1.0).contains(&rho), "Adadelta: rho must be in [0, 1), got {rho}");
        ensure!(eps.is_finite() && eps >= 0.0, "Adadelta: eps must be 0 or more, got {eps}");
        Ok(())
    }

    #[inline(always)]
    fn mean<X: Quantity>(&self, x: X, mean: X) -> X {
        mean.times(self.rho) + (x.clone() * x).times(1.0 - self.rho)
    }
}

impl Formula<2> for Adadelta {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [v, u]: [X; 2]) -> (X, [X; 2]) {
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let v = self.mean(g.clone(), v);
        let root = v.clone().plus(self.eps).sqrt();
        let delta = u.clone().plus(self.eps).sqrt() / root * g;
        let u = self.mean(delta.clone(), u);
        (p - delta.times(turn.lr), [v, u])
    }
}
