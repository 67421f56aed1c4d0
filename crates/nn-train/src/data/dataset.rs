//! What a data set has to offer to be trained on.

use candle_core::{Result, Tensor};
use nn_core::Random;

/// Examples by index, given out in batches.
///
/// A batch is assembled on a loader's thread while the previous one trains.
pub trait Dataset: Send + Sync + 'static {
    /// What the loss is computed from.
    type Batch: Send + 'static;

    /// How many examples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples at `indices`, in that order. Augmentation draws from `random.nth(index)`, so what happens to
    /// an example does not depend on its neighbours; a batch that has it again may draw anew.
    ///
    /// # Errors
    /// If an example cannot be read; the message names it.
    fn batch(&self, indices: &[usize], random: Random) -> Result<Self::Batch>;

    /// The shuffled `order` of an epoch as it is cut into batches of `batch_size`: as it is, unless it matters who comes
    /// together. It must hold the same indices.
    fn arrange(&self, order: Vec<usize>, _batch_size: usize, _random: Random) -> Vec<usize> {
        order
    }
}

/// Inputs and what the model should make of them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, …]`
    pub inputs: Tensor,
    /// `[B]` class indices as `u32`, or `[B, …]` values.
    pub targets: Tensor,
}
