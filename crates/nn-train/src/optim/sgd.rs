//! Stochastic gradient descent with momentum.
//!
//! Source: `torch.optim.SGD`; Nesterov's variant after Sutskever et al. 2013, "On the importance of initialization
//! and momentum in deep learning".

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::formula::{Formula, Quantity, Turn};

/// `d = g + weight_decay · p`, `b ← momentum · b + (1 − dampening) · d`, `p ← p − lr · b`.
///
/// The first update sets `b = d`, undamped. Without momentum nothing is kept and `p ← p − lr · d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// The share of the last update that goes into the next, in [0, 1).
    pub momentum: f64,
    /// The share of the gradient that does not enter `b`.
    pub dampening: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
    /// Looks one update ahead: `p ← p − lr · (d + momentum · b)`. Needs momentum and no dampening.
    pub nesterov: bool,
}

impl Sgd {
    pub(super) fn check(&self) -> Result<()> {
        let Self { momentum, dampening, nesterov, .. } = *self;
        ensure!((0.0..1.0).contains(&momentum), "Sgd: momentum must be in [0, 1), got {momentum}");
        ensure!((0.0..=1.0).contains(&dampening), "Sgd: dampening must be in [0, 1], got {dampening}");
        ensure!(
            !nesterov || (momentum > 0.0 && dampening == 0.0),
            "Sgd: nesterov needs momentum above 0 and dampening 0, got momentum {momentum}, dampening {dampening}"
        );
        Ok(())
    }

    pub(super) fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }
}

impl Formula<0> for Sgd {
    type Scales = Turn;

    fn scales(&self, turn: Turn) -> Turn {
        turn
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, turn: Turn, p: X, g: X, kept: [X; 0]) -> (X, [X; 0]) {
        let d = g + p.clone().times(turn.decay);
        (p - d.times(turn.lr), kept)
    }
}

impl Formula<1> for Sgd {
    /// What multiplies `b` and `d` in the update of `b`.
    type Scales = (Turn, f64, f64);

    fn scales(&self, turn: Turn) -> Self::Scales {
        match turn.number {
            1 => (turn, 0.0, 1.0),
            _ => (turn, self.momentum, 1.0 - self.dampening),
        }
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, scales: Self::Scales, p: X, g: X, [b]: [X; 1]) -> (X, [X; 1]) {
        let (turn, of_b, of_d) = scales;
        let d = g + p.clone().times(turn.decay);
        let b = b.times(of_b) + d.clone().times(of_d);
        let step = if self.nesterov { d + b.clone().times(self.momentum) } else { b.clone() };
        (p - step.times(turn.lr), [b])
    }
}
