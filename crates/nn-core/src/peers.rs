//! Processes that train one model together, as an op sees them.

use std::fmt::Debug;

use candle_core::Result;

/// What joins the processes of a training run whose norms go by the statistics of the whole batch
/// ([`Ctx::synchronised`](crate::Ctx::synchronised)), each of which has a part of it.
pub trait Peers: Debug + Send + Sync {
    /// What every process that has a part of this batch calls this with, in an order that is the same for all of them. Each
    /// calls it as often as the others, with as many numbers, and waits for them.
    ///
    /// # Errors
    /// If the processes cannot reach each other, or one of them has failed.
    fn gather(&self, own: &[f64]) -> Result<Vec<Vec<f64>>>;
}
