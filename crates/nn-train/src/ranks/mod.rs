//! Several processes that train one model together, each on its part of every batch.
//!
//! A process is a *rank*. All hold the same weights; each goes forward and back through its [`Shard`] of a batch, the mean of
//! their gradients is taken, and each takes the same step. Rank 0 keeps the run's folder.

#[cfg(feature = "mpi")]
mod mpi;
mod team;
mod training;

use std::fmt::Debug;

use candle_core::Result;

use crate::data::Shard;

#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub(crate) use team::Team;

/// What joins the ranks. Every call is made by all of them, in the same order, and waits for the slowest.
pub trait Ranks: Debug + Send + Sync {
    /// Which rank this is, and of how many: its loaders' part of every batch.
    fn shard(&self) -> Shard;

    /// What every rank calls this with, in their order.
    ///
    /// # Errors
    /// If the ranks cannot reach each other.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Puts the sums over all ranks in the place of numbers, of which each has as many: the same bits everywhere.
    ///
    /// # Errors
    /// If the ranks cannot reach each other.
    fn sum(&self, values: &mut [f32]) -> Result<()>;

    /// Ends all processes at once, where there are others that would wait for this one. For errors that one rank alone knows
    /// of, outside [`fit()`](fn@crate::fit) and [`test()`](fn@crate::test), which tell the others themselves.
    fn abort(&self) {}
}

/// The one process there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn shard(&self) -> Shard {
        Shard::WHOLE
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }

    fn sum(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}
