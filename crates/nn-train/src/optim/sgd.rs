//! Stochastic gradient descent with momentum.
//!
//! Source: `torch.optim.SGD`; Nesterov's variant after Sutskever et al. 2013, "On the importance of initialization
//! and momentum in deep learning".

use candle_core::{Result, Tensor};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use super::{Turn, Update};

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
        let Self { momentum, dampening, weight_decay, nesterov } = *self;
        ensure!((0.0..1.0).contains(&momentum), "Sgd: momentum must be in [0, 1), got {momentum}");
        ensure!((0.0..=1.0).contains(&dampening), "Sgd: dampening must be in [0, 1], got {dampening}");
        ensure!(
            weight_decay.is_finite() && weight_decay >= 0.0,
            "Sgd: weight_decay must be 0 or more, got {weight_decay}"
        );
        ensure!(
            !nesterov || (momentum > 0.0 && dampening == 0.0),
            "Sgd: nesterov needs momentum above 0 and dampening 0, got momentum {momentum}, dampening {dampening}"
        );
        Ok(())
    }

    pub(super) fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }

    /// What multiplies `b` and `d` in this update of `b`.
    fn shares(&self, turn: Turn) -> (f64, f64) {
        if turn.number == 1 { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) }
    }
}

impl Update for Sgd {
    fn stretch(&self, turn: Turn, state: &mut [&mut [f32]], grad: &[f32]) {
        let (lr, decay) = (turn.lr as f32, self.weight_decay as f32);
        match state {
            [p] => {
                for (p, &g) in p.iter_mut().zip(grad) {
                    *p -= (g + *p * decay) * lr;
                }
            }
            [p, b] => {
                let (of_b, of_d) = self.shares(turn);
                let (of_b, of_d) = (of_b as f32, of_d as f32);
                // How `b` and `d` enter the step.
                let momentum = self.momentum as f32;
                for ((p, b), &g) in p.iter_mut().zip(b.iter_mut()).zip(grad) {
                    let d = g + *p * decay;
                    *b = *b * of_b + d * of_d;
                    let step = if self.nesterov { d + *b * momentum } else { *b };
                    *p -= step * lr;
                }
            }
            _ => unreachable!("a parameter and at most one buffer, see slots"),
        }
    }

    fn tensors(&self, turn: Turn, state: &[&Tensor], grad: &Tensor) -> Result<Vec<Tensor>> {
        let p = state[0];
        let d = (grad + (p * self.weight_decay)?)?;
        let Some(&b) = state.get(1) else { return Ok(vec![(p - (d * turn.lr)?)?]) };
        let (of_b, of_d) = self.shares(turn);
        let b = ((b * of_b)? + (&d * of_d)?)?;
        let step = if self.nesterov { (d + (&b * self.momentum)?)? } else { b.clone() };
        Ok(vec![(p - (step * turn.lr)?)?, b])
    }
}
