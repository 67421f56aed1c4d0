//! RMSprop: steps scaled by a running mean of the gradient's square.
//!
//! Source: Tieleman & Hinton 2012, "Lecture 6.5", with `torch.optim.RMSprop`'s options; the centred form is Graves 2013,
//! arXiv:1308.0850, equations 38–45.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::adam::Decay;
use super::formula::{Formula, Quantity, Turn};

/// `v ← α v + (1 − α) g²`, `p ← p − lr · g / (√v + eps)`; centred: `√(v − m²)` with `m` the running mean of `g`.
///
/// With momentum `b ← momentum · b + g / (√v + eps)`, `p ← p − lr · b`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub alpha: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
    /// The share of the last update that goes into the next, in [0, 1).
    pub momentum: f64,
    /// Divides by the deviation from the mean instead of the root of the mean square.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0, centered: false }
    }
}

impl RmsProp {
    pub(super) fn check(&self) -> Result<()> {
        let Self { alpha, eps, momentum, .. } = *self;
        ensure!((0.0..1.0).contains(&alpha), "RmsProp: alpha must be in [0, 1), got {alpha}");
        ensure!((0.0..1.0).contains(&momentum), "RmsProp: momentum must be in [0, 1), got {momentum}");
        ensure!(eps.is_finite() && eps >= 0.0, "RmsProp: eps must be 0 or more, got {eps}");
        Ok(())
    }

    pub(super) fn slots(&self) -> &'static [&'static str] {
        match (self.momentum > 0.0, self.centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
        }
    }

    #[inline(always)]
    fn square<X: Quantity>(&self, g: X, v: X) -> X {
        v.times(self.alpha) + (g.clone() * g).times(1.0 - self.alpha)
    }

    #[inline(always)]
    fn mean<X: Quantity>(&self, g: X, m: X) -> X {
        m.clone() + (g - m).times(1.0 - self.alpha)
    }

    /// `g / (√(v − m²) + eps)`
    #[inline(always)]
    fn centred<X: Quantity>(&self, g: X, v: X, m: X) -> X {
        g / (v - m.clone() * m).sqrt().plus(self.eps)
    }
}

impl Formula<1> for RmsProp {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [v]: [X; 1]) -> (X, [X; 1]) {
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let v = self.square(g.clone(), v);
        (p - g.times(turn.lr) / v.clone().sqrt().plus(self.eps), [v])
    }
}

/// With momentum or centred.
impl Formula<2> for RmsProp {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [v, other]: [X; 2]) -> (X, [X; 2]) {
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let v = self.square(g.clone(), v);
        if self.centered {
            let m = self.mean(g.clone(), other);
            return (p - self.centred(g, v.clone(), m.clone()).times(turn.lr), [v, m]);
        }
        let b = other.times(self.momentum) + g / v.clone().sqrt().plus(self.eps);
        (p - b.clone().times(turn.lr), [v, b])
    }
}

/// With momentum and centred.
impl Formula<3> for RmsProp {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, [v, m, b]: [X; 3]) -> (X, [X; 3]) {
        let [p, g] = Decay::IntoGradient.apply(turn, p, g);
        let (v, m) = (self.square(g.clone(), v), self.mean(g.clone(), m));
        let b = b.times(self.momentum) + self.centred(g, v.clone(), m.clone());
        (p - b.clone().times(turn.lr), [v, m, b])
    }
}
