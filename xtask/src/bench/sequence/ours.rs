//! This workspace's side of `bench sequence`.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use nn_core::{Ctx, Freeze, ParamStore, ops};
use nn_train::{Optimizer, Rule, Sgd};
use tempfile::NamedTempFile;

use super::batch::Batch;
use super::model::Model;
use super::rows::{Pass, Row};

/// A model, and a batch.
pub(super) struct Ours {
    row: Row,
    store: ParamStore,
    model: Model,
    batch: Batch,
    /// For training alone.
    sgd: Option<Optimizer>,
    step: u64,
}

impl Ours {
    pub(super) fn new(row: Row) -> Result<Self> {
        let store = ParamStore::new(0);
        if row.pass == Pass::Decoding {
            store.freeze(Freeze::Everything);
        }
        let model = Model::new(row.network, store.vb(DType::F32, &Device::Cpu))?;
        let rule = Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
        let training = row.pass == Pass::Training;
        let sgd = training.then(|| Optimizer::new(rule, store.parameters())).transpose()?;
        Ok(Self { row, store, model, batch: Batch::new(row)?, sgd, step: 0 })
    }

    /// A file of the weights, in whose names PyTorch reads them too, of the batch, and of the answer: logits, or tokens.
    pub(super) fn file(&self) -> Result<NamedTempFile> {
        let (file, batch) = (NamedTempFile::new()?, &self.batch);
        let lengths: Vec<u32> = batch.lengths.iter().map(|&length| length as u32).collect();
        let answer = match self.row.pass {
            Pass::Training => self.model.logits(batch, &Ctx::eval())?,
            Pass::Decoding => Tensor::new(self.decode()?, &Device::Cpu)?,
        };
        let mut tensors: HashMap<String, Tensor> = self.store.tensors().into_iter().collect();
        tensors.extend([
            ("batch.source".to_owned(), batch.source.clone()),
            ("batch.lengths".to_owned(), Tensor::new(lengths, &Device::Cpu)?),
            ("batch.given".to_owned(), batch.given.clone()),
            ("batch.labels".to_owned(), batch.labels.clone()),
            ("batch.answer".to_owned(), answer),
        ]);
        candle_core::safetensors::save(&tensors, file.path())?;
        Ok(file)
    }

    /// Seconds a call.
    pub(super) fn seconds(&mut self, calls: u32) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..calls {
            match self.row.pass {
                Pass::Training => self.train()?,
                Pass::Decoding => drop(std::hint::black_box(self.decode()?)),
            }
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    }

    fn train(&mut self) -> Result<()> {
        self.step += 1;
        let logits = self.model.logits(&self.batch, &Ctx::train(0).step(self.step))?;
        let grads =
            nn_core::backward(&ops::cross_entropy(&logits, &self.batch.labels, ops::Reduction::Mean)?)?;
        Ok(self.sgd.iter_mut().try_for_each(|sgd| sgd.step(&grads, 0.01))?)
    }

    fn decode(&self) -> candle_core::Result<Vec<Vec<u32>>> {
        self.model.decode(&self.batch, self.row.steps[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sequence::rows::{self, Network};

    /// On two sequences of the smaller rows.
    #[test]
    fn both_passes_run_and_the_file_holds_what_pytorch_needs() -> Result<()> {
        let small = |row: &Row| !matches!(row.network, Network::Encoder { .. });
        for row in rows::chosen(&[], &[Pass::Training, Pass::Decoding])?.into_iter().filter(small) {
            let mut ours = Ours::new(Row { batch: 2, steps: [4, row.steps[1].min(4)], ..row })?;
            let tensors = candle_core::safetensors::load(ours.file()?.path(), &Device::Cpu)?;
            let rows = if row.pass == Pass::Decoding { 2 } else { tensors["batch.labels"].elem_count() };
            assert_eq!(tensors["batch.answer"].dim(0)?, rows, "{}", row.name);
            assert!(ours.seconds(1)? > 0.0);
        }
        Ok(())
    }
}
