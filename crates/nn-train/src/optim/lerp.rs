//! Tensors moved towards others.

use candle_core::{Result, Tensor, Var};

use super::apply::{Update, apply};
use super::formula::{Formula, Quantity, Turn};

/// `x ← x + share · (goal − x)`
struct Lerp;

impl Formula<0> for Lerp {
    type Scales = f64;

    fn scales(&self, turn: Turn) -> f64 {
        turn.lr
    }

    #[inline(always)]
    fn update<X: Quantity>(&self, share: f64, x: X, goal: X, kept: [X; 0]) -> (X, [X; 0]) {
        (x.clone() + (goal - x).times(share), kept)
    }
}

/// Moves each tensor by a share of the way towards its goal.
///
/// Source: `torch.lerp` with a weight below 0.5.
pub(crate) fn lerp<'a>(pairs: impl IntoIterator<Item = (&'a Var, &'a Tensor)>, share: f64) -> Result<()> {
    let turn = Turn { lr: share, decay: 0.0, number: 1, memo: 1.0 };
    let updates = pairs.into_iter().map(|(var, grad)| Update { turn, var, kept: &[], grad });
    apply(&Lerp, &updates.collect::<Vec<_>>())
}
