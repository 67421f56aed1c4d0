//! LAMB: Adam whose step for each parameter is as long as a fixed share of the parameter itself.
//!
//! Source: You et al. 2020, arXiv:1904.00962, algorithm 2, with φ the identity; without the clipping of all gradients
//! together that some implementations put before it, which is a matter of the loop.

use serde::{Deserialize, Serialize};

use super::adam::{Decay, Moments};
use super::formula::{Formula, Quantity, Turn};

/// `u = m̂ / (√v̂ + eps) + weight_decay · p`, `p ← p − lr · ‖p‖ / ‖u‖ · u`; the ratio is 1 where a norm is 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lamb {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// The share of the parameter in the direction of the step.
    pub weight_decay: f64,
}

impl Default for Lamb {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-6, weight_decay: 0.01 }
    }
}

impl Lamb {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, .. } = *self;
        Moments { rule: "Lamb", betas: [beta1, beta2], eps, decay: Decay::Apart, amsgrad: false }
    }
}

/// The turn, `1 / (1 − β₁ᵗ)` and `1 / √(1 − β₂ᵗ)`.
type Scales = (Turn, f64, f64);

/// Leaves the parameter as it is and puts the direction `u` into the third tensor, which is not kept: how far to go
/// depends on the norms of both.
impl Formula<3> for Lamb {
    type Scales = Scales;

    fn scales(&self, turn: Turn) -> Scales {
        let [first, second] = self.moments().corrections(turn);
        (turn, first.recip(), second.sqrt().recip())
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, s: Scales, p: X, g: X, [m, v, _]: [X; 3]) -> (X, [X; 3]) {
        let (turn, first, second) = s;
        let [m, v] = self.moments().means(g, [m, v]);
        let step = m.clone().times(first) / v.clone().sqrt().times(second).plus(self.eps);
        let direction = step + p.clone().times(turn.decay);
        (p, [m, v, direction])
    }
}

/// The step along the direction: `turn.memo` is `‖p‖ / ‖u‖`.
pub(super) struct Trust;

impl Formula<0> for Trust {
    type Scales = f64;

    fn scales(&self, turn: Turn) -> f64 {
        turn.lr * turn.memo
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, scale: f64, p: X, direction: X, kept: [X; 0]) -> (X, [X; 0]) {
        (p - direction.times(scale), kept)
    }
}
