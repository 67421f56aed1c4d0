//! RAdam: Adam that steps by the mean gradient alone until its mean square can be trusted.
//!
//! Source: Liu et al. 2020, arXiv:1908.03265, algorithm 2, with the placement of `eps` of `torch.optim.RAdam`.

use serde::{Deserialize, Serialize};

use super::adam::{Decay, Moments};
use super::formula::{Formula, Quantity, Turn};

/// With `ρ = 2 / (1 − β₂) − 1` and `ρₜ = ρ − 2t β₂ᵗ / (1 − β₂ᵗ)`: `p ← p − lr · m̂` while `ρₜ ≤ 5`, then
/// `p ← p − lr · r · m̂ / (√v̂ + eps)` with `r² = (ρₜ − 4)(ρₜ − 2) ρ / ((ρ − 4)(ρ − 2) ρₜ)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RAdam {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
}

impl Default for RAdam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl RAdam {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, .. } = *self;
        Moments { rule: "RAdam", betas: [beta1, beta2], eps, decay: Decay::IntoGradient, amsgrad: false }
    }
}

/// What is the same for all elements.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    turn: Turn,
    /// `lr / (1 − β₁ᵗ)`
    step: f64,
    /// `r · √(1 − β₂ᵗ)`, once the mean square can be trusted.
    rectified: Option<f64>,
}

impl Formula<2> for RAdam {
    type Scales = Scales;

    fn scales(&self, turn: Turn) -> Scales {
        let [first, second] = self.moments().corrections(turn);
        let t = turn.number as f64;
        let limit = 2.0 / (1.0 - self.beta2) - 1.0;
        let length = limit - 2.0 * t * (1.0 - second) / second;
        let rectified = (length > 5.0).then(|| {
            let square = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
            (square * second).sqrt()
        });
        Scales { turn, step: turn.lr / first, rectified }
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, s: Scales, p: X, g: X, kept: [X; 2]) -> (X, [X; 2]) {
        let [p, g] = Decay::IntoGradient.apply(s.turn, p, g);
        let [m, v] = self.moments().means(g, kept);
        let step = m.clone().times(s.step);
        let step = match s.rectified {
            Some(rectified) => step.times(rectified) / v.clone().sqrt().plus(self.eps),
            None => step,
        };
        (p - step, [m, v])
    }
}
