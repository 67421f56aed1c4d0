//! This workspace's side of `bench models`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use nn_core::{Ctx, Freeze, Layer, ParamStore, Random, ops};
use nn_train::{Optimizer, Rule, Sgd};
use nn_vision::{Network, total_loss};
use tempfile::NamedTempFile;

use super::rows::{Pass, Row};
use super::stock::Stock;

/// A model, and a batch of random images.
pub(super) struct Ours {
    row: Row,
    store: ParamStore,
    model: Network,
    /// For training alone: its state is as large as the model.
    sgd: Option<Optimizer>,
    images: Tensor,
    labels: Tensor,
    step: u64,
}

impl Ours {
    pub(super) fn new(row: Row) -> Result<Self> {
        Self::in_store(row, ParamStore::new(0))
    }

    /// With weights from a file.
    pub(super) fn load(row: Row, weights: &Path) -> Result<Self> {
        let ours = Self::in_store(row, ParamStore::blank())?;
        ours.store.load(weights)?;
        Ok(ours)
    }

    fn in_store(row: Row, store: ParamStore) -> Result<Self> {
        let Row { entry, pass, batch, .. } = row;
        if pass == Pass::Inference {
            // Else every layer's output would live as long as the answer, for a way back that nobody goes.
            store.freeze(Freeze::Everything);
        }
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let rule = Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
        let sgd = (pass == Pass::Training).then(|| Optimizer::new(rule, store.parameters())).transpose()?;
        let mut draws = Random::new(0).at("bench").draws();
        let ([c, h, w], batch) = (entry.input, batch as usize);
        let pixels: Vec<f32> = (0..batch * c * h * w).map(|_| draws.normal() as f32).collect();
        let labels: Vec<u32> = (0..batch).map(|_| draws.below(entry.num_classes as u32)).collect();
        let images = Tensor::from_vec(pixels, (batch, c, h, w), &Device::Cpu)?;
        let labels = Tensor::from_vec(labels, batch, &Device::Cpu)?;
        Ok(Self { row, store, model, sgd, images, labels, step: 0 })
    }

    /// A file of the weights, in whose names PyTorch reads them too.
    pub(super) fn weights(&self) -> Result<NamedTempFile> {
        let file = NamedTempFile::new()?;
        self.store.save(file.path())?;
        Ok(file)
    }

    /// The same model of stock Candle's layers, where they suffice, on the same images.
    pub(super) fn stock(&self) -> Result<Option<Stock>> {
        let weights = self.store.tensors().into_iter().collect();
        let logits = self.model.call(&self.images, &Ctx::eval())?;
        Stock::new(self.row.entry.name, weights, &self.images, &logits)
    }

    /// Seconds a call.
    pub(super) fn seconds(&mut self, calls: u32) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..calls {
            match self.row.pass {
                Pass::Inference => drop(std::hint::black_box(self.model.call(&self.images, &Ctx::eval())?)),
                Pass::Training => self.train()?,
            }
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    }

    fn train(&mut self) -> Result<()> {
        self.step += 1;
        let loss = self.row.activations.keep(|| {
            let logits = self.model.all_logits(&self.images, &Ctx::train(0).step(self.step))?;
            total_loss(&logits, |logits| ops::cross_entropy(logits, &self.labels, ops::Reduction::Mean))
        })?;
        let grads = nn_core::backward(&loss)?;
        Ok(self.sgd.iter_mut().try_for_each(|sgd| sgd.step(&grads, 0.01))?)
    }
}
