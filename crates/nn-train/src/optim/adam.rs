//! Adam and AdamW: steps scaled by running means of the gradient and of its square.
//!
//! Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, with the placement of `eps` of `torch.optim.Adam`; Reddi et al.
//! 2018, "On the convergence of Adam and beyond" (AMSGrad); Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW).

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::formula::{Formula, Quantity, Turn};

/// `m ← m + (1 − β₁)(g − m)`, `v ← β₂ v + (1 − β₂) g²`, `p ← p − lr · m̂ / (√v̂ + eps)`, where `m̂ = m / (1 − β₁ᵗ)` and
/// `v̂ = v / (1 − β₂ᵗ)` correct for the start from zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// What is added to the gradient per unit of the parameter (an L2 penalty).
    pub weight_decay: f64,
    /// Divides by the largest `v` so far, so that steps never grow again.
    pub amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, amsgrad: false }
    }
}

/// [`Adam`] with weight decay apart from the gradient: `p ← (1 − lr · weight_decay) · p` before the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// By what the parameter shrinks in an update, as a multiple of the learning rate.
    pub weight_decay: f64,
    /// Divides by the largest `v` so far, so that steps never grow again.
    pub amsgrad: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, amsgrad: false }
    }
}

impl Adam {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, amsgrad, .. } = *self;
        Moments { rule: "Adam", betas: [beta1, beta2], eps, decay: Decay::IntoGradient, amsgrad }
    }
}

impl AdamW {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, amsgrad, .. } = *self;
        Moments { rule: "AdamW", betas: [beta1, beta2], eps, decay: Decay::Apart, amsgrad }
    }
}

/// Where weight decay goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decay {
    /// Into the gradient, as an L2 penalty does.
    IntoGradient,
    /// Apart from it.
    Apart,
}

impl Decay {
    /// The parameter and the gradient an update starts from.
    #[inline(always)]
    pub(super) fn apply<X: Quantity>(self, turn: Turn, p: X, g: X) -> [X; 2] {
        match self {
            Self::IntoGradient => [p.clone(), g + p.times(turn.decay)],
            Self::Apart => [p.times(1.0 - turn.lr * turn.decay), g],
        }
    }
}

/// What the rules of this family share.
pub(super) struct Moments {
    pub(super) rule: &'static str,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    pub(super) decay: Decay,
    pub(super) amsgrad: bool,
}

pub(super) const MEANS: &[&str] = &["exp_avg", "exp_avg_sq"];

impl Moments {
    pub(super) fn check(&self) -> Result<()> {
        let (rule, [beta1, beta2], eps) = (self.rule, self.betas, self.eps);
        ensure!((0.0..1.0).contains(&beta1), "{rule}: beta1 must be in [0, 1), got {beta1}");
        ensure!((0.0..1.0).contains(&beta2), "{rule}: beta2 must be in [0, 1), got {beta2}");
        ensure!(eps.is_finite() && eps >= 0.0, "{rule}: eps must be 0 or more, got {eps}");
        Ok(())
    }

    pub(super) fn slots(&self) -> &'static [&'static str] {
        if self.amsgrad { &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { MEANS }
    }

    /// `1 − β₁ᵗ` and `1 − β₂ᵗ`
    pub(super) fn corrections(&self, turn: Turn) -> [f64; 2] {
        self.betas.map(|beta| 1.0 - beta.powf(turn.number as f64))
    }

    /// The running means of the gradient and of its square.
    #[inline(always)]
    pub(super) fn means<X: Quantity>(&self, g: X, [m, v]: [X; 2]) -> [X; 2] {
        let [beta1, beta2] = self.betas;
        let m = m.clone() + (g.clone() - m).times(1.0 - beta1);
        let v = v.times(beta2) + (g.clone() * g).times(1.0 - beta2);
        [m, v]
    }

    #[inline(always)]
    fn step<X: Quantity>(&self, s: Scales, p: X, m: X, v: X) -> X {
        p - m.times(s.step) / v.sqrt().times(s.root).plus(self.eps)
    }
}

/// What is the same for all elements.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    turn: Turn,
    /// `lr / (1 − β₁ᵗ)`
    step: f64,
    /// `1 / √(1 − β₂ᵗ)`
    root: f64,
}

impl Scales {
    fn new(moments: &Moments, turn: Turn) -> Self {
        let [first, second] = moments.corrections(turn);
        Self { turn, step: turn.lr / first, root: second.sqrt().recip() }
    }
}

impl Formula<2> for Moments {
    type Scales = Scales;

    fn scales(&self, turn: Turn) -> Scales {
        Scales::new(self, turn)
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, s: Scales, p: X, g: X, kept: [X; 2]) -> (X, [X; 2]) {
        let [p, g] = self.decay.apply(s.turn, p, g);
        let [m, v] = self.means(g, kept);
        (self.step(s, p, m.clone(), v.clone()), [m, v])
    }
}

/// AMSGrad.
impl Formula<3> for Moments {
    type Scales = Scales;

    fn scales(&self, turn: Turn) -> Scales {
        Scales::new(self, turn)
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, s: Scales, p: X, g: X, [m, v, top]: [X; 3]) -> (X, [X; 3]) {
        let [p, g] = self.decay.apply(s.turn, p, g);
        let [m, v] = self.means(g, [m, v]);
        let top = top.max(v.clone());
        (self.step(s, p, m.clone(), top.clone()), [m, v, top])
    }
}
