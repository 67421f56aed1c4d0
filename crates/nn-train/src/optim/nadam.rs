//! NAdam: Adam that looks one update ahead, as Nesterov's momentum does.
//!
//! Source: Dozat 2016, "Incorporating Nesterov momentum into Adam", with the momentum schedule of `torch.optim.NAdam`.

use serde::{Deserialize, Serialize};

use super::adam::{Decay, Moments};
use super::formula::{Formula, Quantity, Turn};

/// With `μₜ = β₁ (1 − ½ · 0.96^(t · momentum_decay))`:
/// `p ← p − lr · ((1 − μₜ) g / (1 − Πμ) + μₜ₊₁ m / (1 − μₜ₊₁ Πμ)) / (√v̂ + eps)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NAdam {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
    /// How fast the momentum grows to `beta1`.
    pub momentum_decay: f64,
}

impl Default for NAdam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, momentum_decay: 4e-3 }
    }
}

impl NAdam {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, .. } = *self;
        Moments { rule: "NAdam", betas: [beta1, beta2], eps, decay: Decay::IntoGradient, amsgrad: false }
    }

    /// The momentum of update `t`.
    pub(super) fn momentum(&self, t: u64) -> f64 {
        self.beta1 * (1.0 - 0.5 * 0.96f64.powf(t as f64 * self.momentum_decay))
    }
}

/// What is the same for all elements: the turn, the shares of gradient and mean, and `1 / (1 − β₂ᵗ)`.
type Scales = (Turn, f64, f64, f64);

impl Formula<2> for NAdam {
    type Scales = Scales;

    /// The turn's memo is the product of all momenta up to this update's.
    fn scales(&self, turn: Turn) -> Scales {
        let (now, next) = (self.momentum(turn.number), self.momentum(turn.number + 1));
        let [_, correction] = self.moments().corrections(turn);
        let of_gradient = turn.lr * (1.0 - now) / (1.0 - turn.memo);
        let of_mean = turn.lr * next / (1.0 - turn.memo * next);
        (turn, of_gradient, of_mean, correction.recip())
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, s: Scales, p: X, g: X, kept: [X; 2]) -> (X, [X; 2]) {
        let (turn, of_gradient, of_mean, correction) = s;
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let [m, v] = self.moments().means(g.clone(), kept);
        let scale = v.clone().times(correction).sqrt().plus(self.eps);
        (p - (g.times(of_gradient) + m.clone().times(of_mean)) / scale, [m, v])
    }
}
