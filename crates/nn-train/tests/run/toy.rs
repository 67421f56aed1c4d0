//! A classifier so small that whole runs take milliseconds, with something random in its forward pass.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, linear};
use nn_core::ops::CrossEntropy;
use nn_core::{Ctx, Mode, ParamStore, Random};
use nn_train::data::{Batch, Dataset, Loader, LoaderConfig, Order};
use nn_train::event::Step;
use nn_train::run::{About, Begin};
use nn_train::{
    Cadence, Decay, Event, FitConfig, Outcome, Rule, Schedule, Sgd, Summary, TrainError, Trainer, fit,
};

pub(crate) const SEED: u64 = 5;
pub(crate) const EPOCHS: u64 = 3;
/// 18 examples in batches of four: the last has two.
pub(crate) const BATCHES: u64 = 5;

/// Points on a line, in three classes by where they are.
pub(crate) struct Points(pub(crate) usize);

impl Dataset for Points {
    type Batch = Batch;

    fn len(&self) -> usize {
        self.0
    }

    fn batch(&self, indices: &[usize], random: Random) -> Result<Batch> {
        let mut inputs = Vec::new();
        for &i in indices {
            let mut draws = random.nth(i as u64).draws();
            inputs.extend([i as f32 / 9.0 - 1.0, (i % 3) as f32, draws.unit() as f32 * 0.1]);
        }
        let targets: Vec<u32> = indices.iter().map(|&i| (i % 3) as u32).collect();
        Ok(Batch {
            inputs: Tensor::from_vec(inputs, (indices.len(), 3), &Device::Cpu)?,
            targets: Tensor::new(targets, &Device::Cpu)?,
        })
    }
}

pub(crate) fn loader(examples: usize, order: Order) -> Loader<Points> {
    batches_of(4, examples, order)
}

pub(crate) fn batches_of(batch_size: usize, examples: usize, order: Order) -> Loader<Points> {
    let config = LoaderConfig { batch_size, order, ..LoaderConfig::default() };
    Loader::new(Arc::new(Points(examples)), config, Random::new(SEED)).expect("a good configuration")
}

pub(crate) struct Model {
    first: Linear,
    second: Linear,
}

impl Model {
    pub(crate) fn new(store: &ParamStore) -> Result<Self> {
        let vb = store.vb(DType::F32, &Device::Cpu);
        Ok(Self { first: linear(3, 6, vb.pp("first"))?, second: linear(6, 3, vb.pp("second"))? })
    }

    pub(crate) fn call(&self, x: &Tensor, ctx: &Ctx<'_>) -> Result<Tensor> {
        let x = self.first.forward(x)?.tanh()?;
        let x = match ctx.mode() {
            Mode::Eval => x,
            Mode::Train => {
                let mut draws = ctx.random().draws();
                let noise: Vec<f32> = (0..6).map(|_| 1.0 + draws.normal() as f32 * 0.2).collect();
                x.broadcast_mul(&Tensor::new(noise, &Device::Cpu)?)?
            }
        };
        self.second.forward(&x)
    }

    /// The scores of a first layer that is passed by.
    pub(crate) fn second_of(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&Tensor::cat(&[x, x], 1)?)
    }
}

pub(crate) fn config() -> FitConfig {
    FitConfig {
        epochs: EPOCHS,
        seed: SEED,
        optimizer: Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }),
        schedule: Schedule { lr: 0.1, warmup: 0.6, decay: Decay::Cosine { min_lr: 0.0 } },
        clip_norm: Some(0.5),
        checkpoint: Cadence::EpochEnd,
        log_every: 2,
        ..FitConfig::default()
    }
}

/// A model and what trains it.
pub(crate) struct Toy {
    pub(crate) model: Model,
    pub(crate) trainer: Trainer,
}

pub(crate) fn toy(config: FitConfig) -> Toy {
    toy_in(ParamStore::new(SEED), config)
}

pub(crate) fn toy_in(store: ParamStore, config: FitConfig) -> Toy {
    let model = Model::new(&store).expect("a model");
    Toy { model, trainer: Trainer::new(&store, config).expect("good settings") }
}

impl Toy {
    pub(crate) fn create(mut self, path: &Path) -> std::result::Result<Self, TrainError> {
        let about = About { title: "toy".to_owned(), ..About::default() };
        self.trainer.create(path, Begin { recipe: "model = \"toy\"\n", known: "{}", about })?;
        Ok(self)
    }

    pub(crate) fn resume(mut self, path: &Path) -> std::result::Result<Self, TrainError> {
        self.trainer.resume(path)?;
        Ok(self)
    }

    pub(crate) fn resume_from(
        mut self,
        path: &Path,
        checkpoint: &Path,
    ) -> std::result::Result<Self, TrainError> {
        self.trainer.resume_from(path, checkpoint)?;
        Ok(self)
    }

    /// Trains with a forward pass of one's own choice.
    pub(crate) fn fit_with(
        &mut self,
        progress: impl FnMut(&Event) -> ControlFlow<()>,
        forward: impl Fn(&Model, &Batch, &Ctx<'_>) -> Result<Outcome>,
    ) -> std::result::Result<Summary, TrainError> {
        let Self { model, trainer } = self;
        let (train, eval) = (loader(18, Order::Shuffled), loader(7, Order::Sequential));
        fit(trainer, &train, &eval, progress, |batch, ctx| forward(model, batch, ctx))
    }

    pub(crate) fn fit(
        &mut self,
        progress: impl FnMut(&Event) -> ControlFlow<()>,
    ) -> std::result::Result<Summary, TrainError> {
        self.fit_with(progress, classify)
    }
}

pub(crate) fn classify(model: &Model, batch: &Batch, ctx: &Ctx<'_>) -> Result<Outcome> {
    Outcome::classification(&model.call(&batch.inputs, ctx)?, &batch.targets)
}

/// Without noise: what a batch is cut into, and which rank has it, must not matter.
pub(crate) fn quiet(model: &Model, batch: &Batch, _: &Ctx<'_>) -> Result<Outcome> {
    classify(model, batch, &Ctx::eval())
}

/// The mean over points that weigh as much as their class's number and one: what a batch weighs is another than its size.
pub(crate) fn weighed(model: &Model, batch: &Batch, _: &Ctx<'_>) -> Result<Outcome> {
    let weight = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu)?;
    let options = CrossEntropy { weight: Some(&weight), ..CrossEntropy::default() };
    Outcome::classification_with(&model.call(&batch.inputs, &Ctx::eval())?, &batch.targets, options)
}

/// A forward pass of the toy's model.
pub(crate) type Forward = fn(&Model, &Batch, &Ctx<'_>) -> Result<Outcome>;

/// The steps of a run.
pub(crate) fn steps_of(
    toy: &mut Toy,
    train: &Loader<Points>,
    eval: &Loader<Points>,
    forward: Forward,
) -> std::result::Result<Vec<Step>, TrainError> {
    let Toy { model, trainer } = toy;
    let mut steps = Vec::new();
    let hear = |event: &Event| {
        if let Event::Step(step) = event {
            steps.push(*step);
        }
        go_on(event)
    };
    fit(trainer, train, eval, hear, |batch, ctx| forward(model, batch, ctx))?;
    Ok(steps)
}

/// All weights, in the order of their names.
pub(crate) fn weights(toy: &Toy) -> Result<Vec<f32>> {
    let tensors = toy.trainer.store().tensors();
    let values = tensors.values().map(|t| t.flatten_all()?.to_vec1::<f32>());
    Ok(values.collect::<Result<Vec<_>>>()?.concat())
}

pub(crate) fn go_on(_: &Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
