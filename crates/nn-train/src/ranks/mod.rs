//! Several processes that train one model together, each on its part of every batch.
//!
//! A process is a *rank*. All hold the same weights; each goes forward and back through its [`Shard`] of a batch, the mean of
//! their gradients is taken, and each takes the same step. Rank 0 keeps the run's folder.
//!
//! ```
//! # use std::sync::Arc;
//! # use candle_core::{DType, Device, Tensor};
//! # use nn_core::{ParamStore, Random};
//! use nn_train::data::{Loader, LoaderConfig, TensorSet};
//! use nn_train::{Alone, FitConfig, Ranks, Trainer};
//!
//! // With the feature `mpi`, of a program that `mpirun` started: `Arc::new(nn_train::Mpi::start()?)`.
//! let ranks: Arc<dyn Ranks> = Arc::new(Alone);
//! # let (inputs, targets) = (Tensor::rand(0f32, 1.0, (64, 4), &Device::Cpu)?, Tensor::zeros(64, DType::U32, &Device::Cpu)?);
//! # let (set, store) = (TensorSet::new(inputs, targets)?, ParamStore::new(0));
//! # let model = candle_nn::linear(4, 2, store.vb(DType::F32, &Device::Cpu))?;
//! let config = LoaderConfig { batch_size: 32, shard: ranks.shard(), ..LoaderConfig::default() };
//! let train = Loader::new(set.into(), config, Random::new(0))?; // this rank's part of every batch
//! let mut trainer = Trainer::new(&store, FitConfig::default())?;
//! trainer.join(Arc::clone(&ranks));
//! assert_eq!(trainer.shard(), train.config().shard);
//! # candle_core::Result::Ok(())
//! ```

#[cfg(feature = "mpi")]
mod mpi;
mod statistics;
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
