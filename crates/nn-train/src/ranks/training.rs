//! What a trainer does where it trains with other ranks; each is nothing where it is alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::Var;
use nn_core::Peers;

use super::{Ranks, Team};
use crate::checkpoint;
use crate::config::Norms;
use crate::data::Shard;
use crate::error::TrainError;
use crate::fit::Gathered;
use crate::metrics::Evaluation;
use crate::trainer::Trainer;

impl Trainer {
    /// Trains together with the other ranks from now on: each builds the same trainer, with loaders of its own
    /// [`Ranks::shard`]. They start from rank 0's weights and take the same steps: that of one process whose batches are as
    /// large as all of theirs together. Rank 0 keeps the run's folder.
    ///
    /// What a layer makes of a whole batch it makes of its rank's part: batch norms go by the statistics of that, and their
    /// running statistics are the mean over the ranks; [`Norms::Synchronised`](crate::Norms) makes them go by those of all parts
    /// together. Dropout draws for each rank something else.
    pub fn join(&mut self, ranks: Arc<dyn Ranks>) {
        self.team = Team::new(ranks);
    }

    /// Which part of every batch is trained on here.
    pub fn shard(&self) -> Shard {
        self.team.shard()
    }

    /// Those whose parts of a batch its norms take in, if they are to.
    pub(crate) fn peers(&self) -> Option<Arc<dyn Peers>> {
        (self.config.norms == Norms::Synchronised).then(|| self.team.peers()).flatten()
    }

    /// Takes over rank 0's weights, and where it is.
    ///
    /// # Errors
    /// If the model here is another.
    pub(crate) fn follow(&mut self) -> Result<(), TrainError> {
        if self.team.is_alone() {
            return Ok(());
        }
        let own =
            if self.team.leads() { self.tensors().map_err(TrainError::from) } else { Ok(Default::default()) };
        let own = own.and_then(|tensors| checkpoint::encode(&tensors, &self.state));
        let own = self.team.part(own)?;
        let lead = self.team.lead(own)?;
        if self.team.leads() {
            return Ok(());
        }
        let taken = checkpoint::parse(&lead).and_then(|(tensors, state)| self.take(&tensors, state));
        let taken = taken.map_err(|why| {
            candle_core::Error::Msg(format!("cannot take over the model of rank 0: {why}")).into()
        });
        self.team.part(taken)
    }

    /// Makes this rank's gradients and figures of a step those of all.
    pub(crate) fn pool(
        &mut self,
        own: Result<Gathered, TrainError>,
        still: &BTreeSet<String>,
    ) -> Result<Gathered, TrainError> {
        if self.team.is_alone() {
            return own;
        }
        let moves =
            |(name, _): &(String, Var)| name.rsplit_once('.').is_none_or(|(layer, _)| !still.contains(layer));
        let buffers: Vec<Var> = self.store.buffers().into_iter().filter(moves).map(|(_, var)| var).collect();
        self.team.pool(own, self.optimizer.parameters(), &buffers)
    }

    /// Whether all are to go on, with the clock of rank 0: limits of time must be reached by all at the same step.
    pub(crate) fn agree(&mut self, own: ControlFlow<()>) -> Result<ControlFlow<()>, TrainError> {
        let all = self.team.meet(Ok((own.is_break(), self.state.seconds)))?;
        self.state.seconds = all.first().map_or(self.state.seconds, |&(_, seconds)| seconds);
        Ok(if all.iter().any(|&(stop, _)| stop) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// What all ranks saw in an evaluation; `None` if one of them was stopped.
    pub(crate) fn evaluated_together(
        &mut self,
        own: Result<Option<Evaluation>, TrainError>,
    ) -> Result<Option<Evaluation>, TrainError> {
        if self.team.is_alone() {
            return own;
        }
        let loss = |found: &Option<Evaluation>| found.as_ref().map_or(0.0, |found| found.figures().loss);
        let own = match own {
            // No number to tell the others.
            Ok(found) if !loss(&found).is_finite() => Err(self.diverged(loss(&found), None)),
            own => own,
        };
        let all: Option<Vec<Evaluation>> = self.team.meet(own)?.into_iter().collect();
        Ok(all.map(|all| all.into_iter().fold(Evaluation::default(), Evaluation::join)))
    }

    /// The number of a batch for what is drawn in it: of its place in the run, whatever number of batches a step has, and of
    /// the rank.
    pub(crate) fn draw(&self) -> u64 {
        let (state, Shard { index, of }) = (&self.state, self.shard());
        (state.epoch * state.batches_per_epoch + state.batch) * of as u64 + index as u64
    }
}
