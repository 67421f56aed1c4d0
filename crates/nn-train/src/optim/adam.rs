//! Adam: steps scaled by running means of the gradient and of its square.
//!
//! Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, with the placement of `eps` of `torch.optim.Adam`.

use candle_core::{Result, Tensor};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::{Turn, Update};

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
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The numbers of one update that are the same for all elements.
struct Scale {
    /// `lr / (1 − β₁ᵗ)`
    step: f64,
    /// `√(1 − β₂ᵗ)`
    root: f64,
}

impl Adam {
    pub(super) fn check(&self) -> Result<()> {
        let Self { beta1, beta2, eps, weight_decay } = *self;
        ensure!((0.0..1.0).contains(&beta1), "Adam: beta1 must be in [0, 1), got {beta1}");
        ensure!((0.0..1.0).contains(&beta2), "Adam: beta2 must be in [0, 1), got {beta2}");
        ensure!(eps.is_finite() && eps >= 0.0, "Adam: eps must be 0 or more, got {eps}");
        ensure!(
            weight_decay.is_finite() && weight_decay >= 0.0,
            "Adam: weight_decay must be 0 or more, got {weight_decay}"
        );
        Ok(())
    }

    pub(super) fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn scale(&self, turn: Turn) -> Scale {
        let t = turn.number as f64;
        Scale { step: turn.lr / (1.0 - self.beta1.powf(t)), root: (1.0 - self.beta2.powf(t)).sqrt() }
    }
}

impl Update for Adam {
    fn stretch(&self, turn: Turn, state: &mut [&mut [f32]], grad: &[f32]) {
        let [p, m, v] = state else { unreachable!("a parameter and two means, see slots") };
        let Scale { step, root } = self.scale(turn);
        let (step, root) = (step as f32, root as f32);
        let (decay, eps, beta2) = (self.weight_decay as f32, self.eps as f32, self.beta2 as f32);
        let (to_m, to_v) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        for (((p, m), v), &g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(grad) {
            let g = g + *p * decay;
            *m += (g - *m) * to_m;
            *v = *v * beta2 + g * g * to_v;
            *p -= *m * step / (v.sqrt() / root + eps);
        }
    }

    fn tensors(&self, turn: Turn, state: &[&Tensor], grad: &Tensor) -> Result<Vec<Tensor>> {
        let &[p, m, v] = state else { unreachable!("a parameter and two means, see slots") };
        let Scale { step, root } = self.scale(turn);
        let g = (grad + (p * self.weight_decay)?)?;
        let m = (m + ((&g - m)? * (1.0 - self.beta1))?)?;
        let v = ((v * self.beta2)? + (g.sqr()? * (1.0 - self.beta2))?)?;
        let root = Tensor::new(root, v.device())?.to_dtype(v.dtype())?;
        let scale = (v.sqrt()?.broadcast_div(&root)? + self.eps)?;
        Ok(vec![(p - ((&m * step)? / scale)?)?, m, v])
    }
}
