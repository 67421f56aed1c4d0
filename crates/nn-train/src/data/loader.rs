//! Batches in order.

use std::sync::Arc;

use candle_core::Result;
use nn_core::Random;

use super::Dataset;

/// In which order the examples of an epoch come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the data set has them.
    #[default]
    Sequential,
    /// Permuted anew in every epoch.
    Shuffled,
}

/// Options of [`Loader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Examples in a batch.
    pub batch_size: usize,
    /// In which order the examples come.
    pub order: Order,
    /// How many batches may wait.
    pub prefetch: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { batch_size: 1, order: Order::Sequential, prefetch: 2 }
    }
}

/// Gives out a data set in batches, epoch by epoch.
#[derive(Debug)]
pub struct Loader<D> {
    data: Arc<D>,
    config: LoaderConfig,
    random: Random,
}

impl<D: Dataset> Loader<D> {
    /// # Errors
    /// Never.
    pub fn new(data: Arc<D>, config: LoaderConfig, random: Random) -> Result<Self> {
        Ok(Self { data, config, random })
    }

    /// The data set behind it.
    pub fn data(&self) -> &Arc<D> {
        &self.data
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.data.len().div_ceil(self.config.batch_size)
    }

    /// The batches of epoch `n` but for its first `first_batch`.
    pub fn epoch_from(&self, n: u64, first_batch: usize) -> impl Iterator<Item = Result<D::Batch>> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if self.config.order == Order::Shuffled {
            self.random.at("order").nth(n).draws().shuffle(&mut order);
        }
        let random = self.random.at("examples").nth(n);
        let batches: Vec<Vec<usize>> =
            order.chunks(self.config.batch_size).skip(first_batch).map(<[usize]>::to_vec).collect();
        batches.into_iter().map(move |indices| self.data.batch(&indices, random))
    }
}
