//! Heads that read the middle of a network in training, so that gradients reach its beginning.
//!
//! Source: Szegedy et al. 2015, arXiv:1409.4842, section 5.

use candle_core::{Result, Tensor};
use nn_core::ops;

/// Whether a network has auxiliary heads. Evaluation never runs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auxiliary {
    /// As published checkpoints have them.
    #[default]
    Heads,
    /// Without their parameters.
    None,
}

/// What a head makes of a batch, and how many times its loss enters that of training.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// `[B, classes, …]`
    pub logits: Tensor,
    /// 1 for a main head.
    pub weight: f64,
}

impl Weighted {
    /// Those of a main head.
    pub(crate) fn main(logits: Tensor) -> Self {
        Self { logits, weight: 1.0 }
    }
}

/// `Σ weight · loss(logits)` over the heads, of which there must be one.
///
/// # Errors
/// What `loss` says.
pub fn total_loss(heads: &[Weighted], mut loss: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let mut term = |head: &Weighted| {
        let loss = loss(&head.logits)?;
        if head.weight == 1.0 { Ok(loss) } else { ops::scale(&loss, head.weight) }
    };
    let Some((main, others)) = heads.split_first() else { candle_core::bail!("total_loss: no head") };
    let first = term(main)?;
    others.iter().try_fold(first, |sum, head| ops::add(&sum, &term(head)?))
}
