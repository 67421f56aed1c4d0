//! Ranks that the system's MPI joins: the processes that `mpirun` started, on one machine or many.
//!
//! Source: Message Passing Interface Forum 2021, "MPI: A Message-Passing Interface Standard", version 4.0, chapter 6.

use std::fmt;
use std::sync::Mutex;

use candle_core::{Error, Result};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use nn_core::ensure;

use super::Ranks;
use crate::data::Shard;

/// Bytes of a message of all ranks together, and numbers of a sum: MPI counts in 32 bits.
const LONGEST: usize = 1 << 28;

/// All processes of an MPI job. A process that ends in a panic ends the job.
pub struct Mpi {
    /// Calls come one at a time, from whatever thread.
    universe: Mutex<Universe>,
    shard: Shard,
}

impl Mpi {
    /// Begins to speak MPI; once in a process. Without `mpirun` it is alone.
    ///
    /// # Errors
    /// If the process did so before, or its MPI wants all calls from one thread.
    pub fn start() -> Result<Self> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
            candle_core::bail!("Mpi: a process can start MPI once, and has done so")
        };
        ensure!(
            threading >= Threading::Serialized,
            "Mpi: calls must be allowed from any thread, got {threading:?}"
        );
        let world = universe.world();
        // Neither is negative.
        let shard = Shard { index: world.rank() as usize, of: world.size() as usize };
        Ok(Self { universe: Mutex::new(universe), shard })
    }
}

impl Ranks for Mpi {
    fn shard(&self) -> Shard {
        self.shard
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let universe = self.universe.lock().map_err(|_| poisoned())?;
        let (world, of) = (universe.world(), self.shard.of);
        let mut lengths = vec![0u64; of];
        world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let mut all: Vec<Vec<u8>> = vec![Vec::new(); of];
        let (longest, round) = (lengths.iter().max().copied().unwrap_or(0) as usize, LONGEST / of);
        for begin in (0..longest).step_by(round.max(1)) {
            let part = |length: usize| begin.min(length)..(begin + round).min(length);
            let counts: Vec<i32> = lengths.iter().map(|&length| part(length as usize).len() as i32).collect();
            let places: Vec<i32> =
                counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
            let mut received = vec![0u8; counts.iter().sum::<i32>() as usize];
            let mut partition = PartitionMut::new(&mut received[..], &counts[..], &places[..]);
            world.all_gather_varcount_into(&own[part(own.len())], &mut partition);
            let mut rest = &received[..];
            for (whole, &count) in all.iter_mut().zip(&counts) {
                let (own, others) = rest.split_at(count as usize);
                whole.extend_from_slice(own);
                rest = others;
            }
        }
        Ok(all)
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let universe = self.universe.lock().map_err(|_| poisoned())?;
        let world = universe.world();
        for values in values.chunks_mut(LONGEST) {
            let own = values.to_vec();
            world.all_reduce_into(&own[..], values, SystemOperation::sum());
        }
        Ok(())
    }

    fn abort(&self) {
        SimpleCommunicator::world().abort(1)
    }
}

fn poisoned() -> Error {
    Error::Msg("Mpi: a call before this one panicked".to_owned())
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort();
        }
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi").field("shard", &self.shard).finish_non_exhaustive()
    }
}
