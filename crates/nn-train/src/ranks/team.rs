//! How ranks stay together: whatever one of them does alone, it tells the others of before they go on.
//!
//! A rank that fails brings its error to the next meeting instead of what it should have brought; all end there, and none
//! waits for one that is gone. Between two meetings only sums are taken, which cannot fail on one rank alone.

use std::sync::Arc;

use candle_core::{DType, Error, Tensor, Var};
use nn_core::{Peers, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::statistics::{self, Failure, Statistics};
use super::{Alone, Ranks};
use crate::data::Shard;
use crate::error::{TrainError, bare};
use crate::fit::Gathered;
use crate::metrics::Metrics;

/// The ranks, and whether they still train together.
#[derive(Debug)]
pub(crate) struct Team {
    ranks: Arc<dyn Ranks>,
    /// An error was brought to a meeting: nobody comes to another.
    parted: bool,
    /// An error that was heard of in the middle of a step.
    failure: Failure,
}

/// What a rank tells of its batches of a step.
#[derive(Clone, Serialize, Deserialize)]
struct Told {
    metrics: Metrics,
    /// Places of the parameters that have no gradient.
    unused: Vec<usize>,
    /// What its buffers that count have counted.
    counts: Vec<i64>,
}

/// Numbers that are summed at a time: 32 MiB of them.
const BUCKET: usize = 1 << 23;

impl Default for Team {
    fn default() -> Self {
        Self::new(Arc::new(Alone))
    }
}

impl Team {
    pub(crate) fn new(ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks, parted: false, failure: Failure::default() }
    }

    /// The other ranks, for norms that go by the statistics of all their examples.
    pub(crate) fn peers(&self) -> Option<Arc<dyn Peers>> {
        let (ranks, failure) = (Arc::clone(&self.ranks), Arc::clone(&self.failure));
        (!self.is_alone()).then(|| Arc::new(Statistics { ranks, failure }) as Arc<dyn Peers>)
    }

    pub(crate) fn shard(&self) -> Shard {
        self.ranks.shard()
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.shard().of == 1
    }

    /// Whether this rank keeps the run's folder.
    pub(crate) fn leads(&self) -> bool {
        self.shard().index == 0
    }

    /// What every rank brings, in their order.
    ///
    /// # Errors
    /// Its own on a rank that brings one; [`TrainError::Elsewhere`] on the others.
    pub(crate) fn meet<T: Serialize + DeserializeOwned>(
        &mut self,
        own: Result<T, TrainError>,
    ) -> Result<Vec<T>, TrainError> {
        if self.is_alone() {
            return Ok(vec![own?]);
        }
        if self.parted {
            let message = "the ranks have parted over an error and cannot train on".to_owned();
            return Err(own.err().unwrap_or(Error::Msg(message).into()));
        }
        let own = self.part(own)?;
        let told = serde_json::to_vec(&Ok::<_, String>(own)).map_err(Error::wrap)?;
        let met = self.bring(&told).map_err(TrainError::from).and_then(understand);
        self.parted = met.is_err();
        met
    }

    /// Brings what is told to a meeting of all: as often as some are still in the middle of their step.
    fn bring(&self, own: &[u8]) -> candle_core::Result<Vec<Vec<u8>>> {
        loop {
            let told = self.ranks.gather(own)?;
            if !statistics::are_told_of(&told) {
                return Ok(told);
            }
        }
    }

    /// Lets the others know of an error that they have not heard of.
    pub(crate) fn part<T>(&mut self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        if result.is_ok() || self.is_alone() || self.parted {
            return result;
        }
        self.parted = true;
        if let Some((rank, why)) = self.failure.get().cloned() {
            return Err(TrainError::Elsewhere { rank, why });
        }
        let told = result.as_ref().map(drop).map_err(|error| match error {
            TrainError::Candle(error) => bare(error),
            error => error.to_string(),
        });
        // Whether they hear it or not: the error that matters is this.
        let _ = serde_json::to_vec(&told).map(|told| self.ranks.gather(&told));
        result
    }

    /// The bytes that rank 0 has.
    pub(crate) fn lead(&mut self, own: Vec<u8>) -> Result<Vec<u8>, TrainError> {
        self.meet(Ok(()))?;
        let own = if self.leads() { own } else { Vec::new() };
        Ok(self.ranks.gather(&own)?.swap_remove(0))
    }

    /// Makes the gradients of this rank's examples the mean over those of all, by what each rank's loss is the mean of, and
    /// `buffers`, which its forward pass changed, the mean by examples; the figures become those of all examples.
    pub(crate) fn pool(
        &mut self,
        own: Result<Gathered, TrainError>,
        parameters: &[(String, Var)],
        buffers: &[Var],
    ) -> Result<Gathered, TrainError> {
        let Gathered { mut grads, metrics } = self.part(own)?;
        let (counters, buffers): (Vec<&Var>, Vec<&Var>) =
            buffers.iter().partition(|var| var.dtype() == DType::I64 && var.elem_count() == 1);
        let counts = counters.iter().map(|var| var.flatten_all()?.to_vec1::<i64>().map(|one| one[0]));
        let counts = self.part(counts.collect::<candle_core::Result<_>>().map_err(TrainError::from))?;
        let is_unused = |place: &usize| grads.get(&parameters[*place].1).is_none();
        let told = Told { metrics, unused: (0..parameters.len()).filter(is_unused).collect(), counts };
        let all = self.meet(Ok(told))?;
        // A parameter that no rank used has no gradient; one that some used has a gradient of 0 on the others.
        let is_used = |place: &usize| all.iter().any(|told| !told.unused.contains(place));
        let used = (0..parameters.len()).filter(is_used).map(|place| &parameters[place].1);
        let grads_of: Vec<(&Var, Option<Tensor>)> = used.map(|var| (var, grads.remove(var))).collect();
        let values_of = buffers.into_iter().map(|var| (var, Some(var.as_tensor().clone()))).collect();
        // A rank without an example of a batch has not counted it.
        for (i, var) in counters.into_iter().enumerate() {
            let most = all.iter().filter_map(|told| told.counts.get(i)).max().copied().unwrap_or(0);
            var.set(&Tensor::full(most, var.shape(), var.device())?)?;
        }
        let mut pooled = Metrics::default();
        all.iter().for_each(|told| pooled += told.metrics);
        let share = |own: f64, all: f64| if all > 0.0 { own / all } else { 0.0 };
        for (var, mean) in self.means(grads_of, share(metrics.weight(), pooled.weight()))? {
            grads.insert(var, mean);
        }
        let share = share(metrics.examples() as f64, pooled.examples() as f64);
        self.means(values_of, share)?.into_iter().try_for_each(|(var, mean)| var.set(&mean))?;
        Ok(Gathered { grads, metrics: pooled })
    }

    /// `Σ share · tensor` over the ranks, in the shape of each variable; a tensor that is missing is 0.
    fn means<'a>(
        &self,
        own: Vec<(&'a Var, Option<Tensor>)>,
        share: f64,
    ) -> candle_core::Result<Vec<(&'a Var, Tensor)>> {
        let mut means = Vec::with_capacity(own.len());
        let mut rest = &own[..];
        while !rest.is_empty() {
            let (bucket, others) = rest.split_at(fitting(rest));
            let mut flat = Vec::new();
            for (var, own) in bucket {
                ensure!(
                    var.dtype() == DType::F32,
                    "Ranks: what is summed must be f32, got {:?}",
                    var.dtype()
                );
                match own {
                    Some(own) => flat.extend((own * share)?.flatten_all()?.to_vec1::<f32>()?),
                    None => flat.resize(flat.len() + var.elem_count(), 0.0),
                }
            }
            self.ranks.sum(&mut flat)?;
            let mut sums = &flat[..];
            for (var, _) in bucket {
                let (sum, others) = sums.split_at(var.elem_count());
                means.push((*var, Tensor::from_slice(sum, var.shape(), var.device())?));
                sums = others;
            }
            rest = others;
        }
        Ok(means)
    }
}

/// How many of the tensors make a bucket: one, and as many more as there is room for.
fn fitting(tensors: &[(&Var, Option<Tensor>)]) -> usize {
    let mut numbers = 0;
    let over = tensors.iter().position(|(var, _)| {
        numbers += var.elem_count();
        numbers > BUCKET
    });
    over.map_or(tensors.len(), |over| over.max(1))
}

/// What the ranks told, or the first error that one of them told of.
fn understand<T: DeserializeOwned>(told: Vec<Vec<u8>>) -> Result<Vec<T>, TrainError> {
    if let Some((rank, why)) = statistics::failed(&told) {
        return Err(TrainError::Elsewhere { rank, why });
    }
    let one = |(rank, told): (usize, Vec<u8>)| {
        let told: Result<T, String> = serde_json::from_slice(&told)
            .map_err(|e| Error::Msg(format!("Ranks: cannot understand rank {rank}: {e}")))?;
        told.map_err(|why| TrainError::Elsewhere { rank, why })
    };
    told.into_iter().enumerate().map(one).collect()
}
