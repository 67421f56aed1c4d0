//! Everything a run consists of: model, optimiser, settings, where it is, and the folder it is kept in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor, Var};
use nn_core::{ParamStore, ensure};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, State};
use crate::error::{TrainError, bare};
use crate::event::Event;
use crate::metrics::Figures;
use crate::optim::{Optimizer, Rule, Scale};
use crate::run::{self, Begin, Run};
use crate::schedule::Schedule;

/// Settings of a run that are neither the model's nor the data's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Passes over the training set.
    pub epochs: u64,
    /// What everything random in the model is drawn from; loaders have a seed of their own.
    pub seed: u64,
    /// How gradients change parameters.
    pub optimizer: Rule,
    /// The learning rate.
    pub schedule: Schedule,
    /// The largest norm of all gradients together; see [`clip_grad_norm`](crate::clip::clip_grad_norm).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// What batch norms go by in training.
    pub norms: Norms,
    /// How often the run is saved within an epoch; it always is at the end of one and when it is stopped.
    pub checkpoint: Cadence,
    /// Steps from one logged step to the next.
    pub log_every: u64,
}

impl Default for FitConfig {
    /// Ten epochs of plain SGD at 0.001.
    fn default() -> Self {
        Self {
            epochs: 10,
            seed: 0,
            optimizer: Rule::default(),
            schedule: Schedule::default(),
            clip_norm: None,
            norms: Norms::Batch,
            checkpoint: Cadence::Auto,
            log_every: 50,
        }
    }
}

/// What batch norms go by in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// Mean and variance of the batch, which the running ones take in.
    #[default]
    Batch,
    /// The running mean and variance they came with, as in evaluation: for pretrained networks and small batches.
    Running,
}

/// How often a run is saved within an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// Every ten seconds, or less often where saving would take more than a hundredth of the time.
    #[default]
    Auto,
    /// Every so many steps.
    Steps(u64),
    /// Not at all.
    EpochEnd,
}

/// Why the loop returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All epochs are over.
    Finished,
    /// It was told to stop, and saved where it is.
    Interrupted,
}

/// Figures of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Which epoch, counted from 1.
    pub epoch: u64,
    /// Over the training set, while it was trained on.
    pub train: Figures,
    /// Over the evaluation set, after the epoch.
    pub eval: Figures,
}

/// What a run came to; `metrics.json` of a finished one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Why the loop returned.
    pub ended: Ended,
    /// Epochs that are over.
    pub epochs: u64,
    /// Steps taken.
    pub steps: u64,
    /// The epoch whose weights are in `model.safetensors`.
    pub best: Option<Score>,
    /// The last epoch that is over.
    pub last: Option<Score>,
    /// Trainable numbers.
    pub parameters: u64,
    /// What everything random was drawn from.
    pub seed: u64,
    /// Time the loop ran, over all resumptions.
    pub seconds: f64,
    /// Training speed, without evaluation; in examples per second.
    pub examples_per_second: f64,
}

/// A model in training. Made by [`Trainer::new`], kept in a folder after [`Trainer::create`] or
/// [`Trainer::resume`], trained by [`fit()`](fn@crate::fit).
#[derive(Debug)]
pub struct Trainer {
    pub(crate) store: ParamStore,
    pub(crate) optimizer: Optimizer,
    pub(crate) config: FitConfig,
    pub(crate) state: State,
    pub(crate) run: Option<Run>,
    saved: Saved,
}

/// When the run was last saved in this process, and how long that took.
#[derive(Debug)]
struct Saved {
    at: Instant,
    took: Duration,
}

const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

impl Trainer {
    /// Will train the parameters of `store`; the model must have been built in it before. Nothing is written.
    ///
    /// # Errors
    /// If a setting is out of range; the message gives the range.
    pub fn new(store: &ParamStore, config: FitConfig) -> candle_core::Result<Self> {
        config.schedule.check()?;
        let clip = config.clip_norm.unwrap_or(1.0);
        ensure!(clip > 0.0, "FitConfig: clip_norm must be above 0, got {clip}");
        ensure!(config.log_every > 0, "FitConfig: log_every must be 1 step or more, got 0");
        ensure!(
            config.checkpoint != Cadence::Steps(0),
            "FitConfig: checkpoint must be 1 step or more, got 0"
        );
        let optimizer = Optimizer::new(config.optimizer, store.parameters())?;
        ensure!(!optimizer.parameters().is_empty(), "Trainer: the store holds no parameters to train");
        let state = State { seed: config.seed, ..State::default() };
        let saved = Saved { at: Instant::now(), took: Duration::ZERO };
        Ok(Self { store: store.clone(), optimizer, config, state, run: None, saved })
    }

    /// Lets a group of parameters differ in learning rate and weight decay; see [`Optimizer::scale`]. A run that is
    /// resumed needs the same again.
    ///
    /// # Errors
    /// If a factor is negative or not finite.
    pub fn scale(&mut self, scale: Scale, belongs: impl Fn(&str, &Var) -> bool) -> candle_core::Result<()> {
        self.optimizer.scale(scale, belongs)
    }

    /// Keeps the run in a new folder from now on.
    ///
    /// # Errors
    /// If there is something at `path`, which is then left alone, or the folder cannot be written.
    pub fn create(&mut self, path: &Path, begin: Begin<'_>) -> Result<(), TrainError> {
        let tensors = self.tensors()?;
        let state = &mut self.state;
        let run = Run::create(path, begin, |path, log_bytes| {
            state.log_bytes = log_bytes;
            checkpoint::write(path, &tensors, state)
        })?;
        self.run = Some(run);
        Ok(())
    }

    /// Goes on with the run in the folder at `path`, from its last checkpoint.
    ///
    /// # Errors
    /// If the folder holds no run, another process trains in it, or its checkpoint is damaged or belongs to another
    /// model, optimiser or seed.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        let mut run = Run::open(path)?;
        let file = run.file(run::CHECKPOINT);
        let (tensors, state) = checkpoint::read(&file)?;
        let refuse = |why: String| TrainError::Checkpoint { path: file.clone(), why };
        if state.seed != self.config.seed {
            return Err(refuse(format!("it was started with seed {}, not {}", state.seed, self.config.seed)));
        }
        let of = |prefix: &str| -> BTreeMap<String, Tensor> {
            tensors
                .iter()
                .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())))
                .collect()
        };
        let (model, optimizer) = (of(MODEL), of(OPTIMIZER));
        let report = self.store.compare(&model);
        if !report.is_exact() {
            return Err(refuse(format!("it is of another model: {report}")));
        }
        self.optimizer
            .set_state(&optimizer)
            .map_err(|e| refuse(format!("it is of another optimiser: {}", bare(&e))))?;
        self.store.set(&model)?;
        run.trust_log(state.log_bytes);
        self.state = state;
        self.run = Some(run);
        Ok(())
    }

    /// The model's tensors.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The settings.
    pub fn config(&self) -> &FitConfig {
        &self.config
    }

    /// The run's folder, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.run.as_ref().map(Run::path)
    }

    /// The paths of layers that are in evaluation while the rest is trained, for [`Ctx::freezing`](nn_core::Ctx::freezing):
    /// those that are frozen and, if they go by their running statistics, batch norms.
    pub fn still_layers(&self) -> BTreeSet<String> {
        let mut layers = self.store.frozen_layers();
        if self.config.norms == Norms::Running {
            let buffers = self.store.buffers().into_iter();
            layers.extend(
                buffers.filter_map(|(name, _)| name.strip_suffix(".running_mean").map(str::to_owned)),
            );
        }
        layers
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.state.step
    }

    /// What the run came to so far.
    pub fn summary(&self, ended: Ended) -> Summary {
        let state = &self.state;
        Summary {
            ended,
            epochs: state.epoch,
            steps: state.step,
            best: state.best,
            last: state.last,
            parameters: self.store.parameter_count() as u64,
            seed: state.seed,
            seconds: state.seconds,
            examples_per_second: state.examples as f64 / state.train_seconds.max(1e-9),
        }
    }

    /// Model and optimiser by the names they have in a checkpoint.
    fn tensors(&self) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let model = self.store.tensors().into_iter().map(|(name, t)| (format!("{MODEL}{name}"), t));
        let optimizer =
            self.optimizer.state()?.into_iter().map(|(name, t)| (format!("{OPTIMIZER}{name}"), t));
        Ok(model.chain(optimizer).collect())
    }

    /// Writes the checkpoint, unless what it would save is broken.
    pub(crate) fn save(&mut self) -> Result<(), TrainError> {
        let start = Instant::now();
        let tensors = self.tensors()?;
        for t in tensors.values() {
            if !is_finite(t)? {
                return Err(self.diverged(f64::NAN));
            }
        }
        if let Some(run) = &mut self.run {
            self.state.log_bytes = run.synced_log_bytes()?;
            checkpoint::write(&run.file(run::CHECKPOINT), &tensors, &self.state)?;
        }
        self.saved = Saved { at: Instant::now(), took: start.elapsed() };
        Ok(())
    }

    /// Whether it is time to save within an epoch.
    pub(crate) fn save_is_due(&self) -> bool {
        match self.config.checkpoint {
            Cadence::Auto => self.saved.at.elapsed() >= (self.saved.took * 100).max(Duration::from_secs(10)),
            Cadence::Steps(n) => self.state.step.is_multiple_of(n),
            Cadence::EpochEnd => false,
        }
    }

    pub(crate) fn log(&mut self, event: &Event) -> Result<(), TrainError> {
        self.run.as_mut().map_or(Ok(()), |run| run.append(event))
    }

    /// The error for a loss that is no number at the step being taken.
    pub(crate) fn diverged(&mut self, loss: f64) -> TrainError {
        let step = self.state.step;
        match self.log(&Event::Diverged { step, loss: loss.to_string() }) {
            Ok(()) => TrainError::Diverged { step, loss },
            Err(e) => e,
        }
    }
}

/// Integers always are.
fn is_finite(t: &Tensor) -> candle_core::Result<bool> {
    let t = t.flatten_all()?;
    Ok(match t.dtype() {
        dtype if dtype.is_int() => true,
        DType::F32 => t.to_vec1::<f32>()?.iter().all(|v| v.is_finite()),
        _ => t.to_dtype(DType::F64)?.to_vec1::<f64>()?.iter().all(|v| v.is_finite()),
    })
}
