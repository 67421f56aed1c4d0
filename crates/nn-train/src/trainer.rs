//! Everything a run consists of: model, optimiser, settings, where it is, and the folder it is kept in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Tensor, Var};
use nn_core::{ParamStore, ensure};

use crate::anomaly::{Anomaly, is_finite};
use crate::checkpoint::{self, State};
use crate::config::{Cadence, FitConfig, Norms, Viewer};
use crate::ema::Ema;
use crate::error::{TrainError, bare};
use crate::event::Event;
use crate::kept;
use crate::metrics::Figures;
use crate::optim::{Optimizer, Pace, Scale};
use crate::ranks::Team;
use crate::report;
use crate::run::{self, Begin, Run};
use crate::schedule::Length;
use crate::summary::{Ended, Summary};

/// A model in training. Made by [`Trainer::new`], kept in a folder after [`Trainer::create`] or
/// [`Trainer::resume`], trained by [`fit()`](fn@crate::fit).
#[derive(Debug)]
pub struct Trainer {
    pub(crate) store: ParamStore,
    pub(crate) optimizer: Optimizer,
    pub(crate) config: FitConfig,
    pub(crate) ema: Option<Ema>,
    pub(crate) state: State,
    /// Parameters that may be without a gradient.
    pub(crate) unused: BTreeSet<String>,
    pub(crate) run: Option<Run>,
    pub(crate) team: Team,
    /// Of the best weights and their best running mean, once they are known.
    pub(crate) tested: [Option<Figures>; 2],
    saved: Saved,
}

/// When the run was last saved in this process, and how long that took.
#[derive(Debug)]
struct Saved {
    at: Instant,
    took: Duration,
    /// The step of the newest checkpoint, if that is worth keeping.
    step: Option<u64>,
}

const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";
const EMA: &str = "ema.";

impl Trainer {
    /// Will train the parameters of `store`; the model must have been built in it before. Nothing is written.
    ///
    /// # Errors
    /// If a setting is out of range; the message gives the range.
    pub fn new(store: &ParamStore, config: FitConfig) -> candle_core::Result<Self> {
        config.check()?;
        let optimizer = Optimizer::new(config.optimizer, store.parameters())?;
        ensure!(!optimizer.parameters().is_empty(), "Trainer: the store holds no parameters to train");
        let state = State { seed: config.seed, ..State::default() };
        let saved = Saved { at: Instant::now(), took: Duration::ZERO, step: None };
        let ema = config.ema.map(|decay| Ema::new(store, decay)).transpose()?;
        let store = store.clone();
        let (unused, team) = (BTreeSet::new(), Team::default());
        Ok(Self { store, optimizer, config, ema, state, unused, run: None, team, tested: [None; 2], saved })
    }

    /// Lets a group of parameters differ in learning rate and weight decay; see [`Optimizer::scale`]. A run that is
    /// resumed needs the same again.
    ///
    /// # Errors
    /// If a factor is negative or not finite.
    pub fn scale(&mut self, scale: Scale, belongs: impl Fn(&str, &Var) -> bool) -> candle_core::Result<()> {
        self.optimizer.scale(scale, belongs)
    }

    /// Keeps the run in a new folder from now on; of several ranks, rank 0 does.
    ///
    /// # Errors
    /// If there is something at `path`, which is then left alone, or the folder cannot be written.
    pub fn create(&mut self, path: &Path, begin: Begin<'_>) -> Result<(), TrainError> {
        let made = if self.team.leads() { self.make(path, begin) } else { Ok(()) };
        self.team.part(made)?;
        self.follow()
    }

    fn make(&mut self, path: &Path, begin: Begin<'_>) -> Result<(), TrainError> {
        let tensors = self.tensors()?;
        let state = &mut self.state;
        let mut run = Run::create(path, begin, |path, log_bytes| {
            state.log_bytes = log_bytes;
            checkpoint::write(path, &tensors, state)
        })?;
        if self.config.viewer == Viewer::Tensorboard {
            run.show_on_board()?;
        }
        self.saved.step = Some(0);
        self.run = Some(run);
        Ok(())
    }

    /// Goes on with the run in the folder at `path`, from its last checkpoint.
    ///
    /// ```
    /// # use std::ops::ControlFlow::{Break, Continue};
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::{Module, linear};
    /// # use nn_core::{Ctx, ParamStore, Random};
    /// # use nn_train::data::{Batch, Loader, LoaderConfig, TensorSet};
    /// # use nn_train::{FitConfig, Outcome, TrainError, Trainer, fit, run::Begin};
    /// # let (inputs, targets) = (Tensor::rand(0f32, 1.0, (64, 4), &Device::Cpu)?, Tensor::zeros(64, DType::U32, &Device::Cpu)?);
    /// # let config = LoaderConfig { batch_size: 64, ..LoaderConfig::default() };
    /// # let data = Loader::new(TensorSet::new(inputs, targets)?.into(), config, Random::new(0))?;
    /// # let folder = tempfile::tempdir().map_err(candle_core::Error::wrap)?;
    /// # let path = folder.path().join("run");
    /// let train = |go_on: bool| -> Result<u64, TrainError> {
    ///     let store = ParamStore::new(0);
    ///     let model = linear(4, 2, store.vb(DType::F32, &Device::Cpu))?;
    ///     let mut trainer = Trainer::new(&store, FitConfig::default())?;
    ///     // The same program begins a run and goes on with one.
    ///     if path.exists() { trainer.resume(&path)? } else { trainer.create(&path, Begin::default())? }
    ///     let forward = |batch: &Batch, _: &Ctx<'_>| Outcome::classification(&model.forward(&batch.inputs)?, &batch.targets);
    ///     fit(&mut trainer, &data, &data, |_| if go_on { Continue(()) } else { Break(()) }, forward)?;
    ///     Ok(trainer.steps())
    /// };
    /// assert_eq!((train(false)?, train(true)?), (1, 10)); // interrupted after its first step; finished
    /// # Ok::<(), TrainError>(())
    /// ```
    ///
    /// # Errors
    /// If the folder holds no run, another process trains in it, or its checkpoint is damaged or belongs to another
    /// model, optimiser or seed. The error names the checkpoint before a damaged one, if that is whole.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        self.resume_from(path, &path.join(run::CHECKPOINT))?;
        self.saved.step = Some(self.state.step);
        Ok(())
    }

    /// The same from a checkpoint before the last, one of those that [`FitConfig::keep`] keeps: what came after it is
    /// trained anew, and ends in the same bytes.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_from(&mut self, path: &Path, checkpoint: &Path) -> Result<(), TrainError> {
        let taken = if self.team.leads() { self.take_up(path, checkpoint) } else { Ok(()) };
        self.team.part(taken)?;
        self.follow()
    }

    fn take_up(&mut self, path: &Path, checkpoint: &Path) -> Result<(), TrainError> {
        let mut run = Run::open(path)?;
        let file = checkpoint.to_owned();
        let (tensors, state) = checkpoint::read(&file).map_err(|error| match error {
            TrainError::Checkpoint { path: file, why, .. } => {
                TrainError::Checkpoint { before: kept::before(path, &file), path: file, why }
            }
            other => other,
        })?;
        let lengths = [state.log_bytes, state.board_bytes];
        let refuse = |why| TrainError::Checkpoint { path: file, why, before: None };
        self.take(&tensors, state).map_err(refuse)?;
        if self.config.viewer == Viewer::Tensorboard {
            run.show_on_board()?;
        }
        run.trust(lengths);
        self.run = Some(run);
        Ok(())
    }

    /// Goes on from a checkpoint's contents, or says why that cannot be.
    pub(crate) fn take(&mut self, tensors: &BTreeMap<String, Tensor>, state: State) -> Result<(), String> {
        if state.seed != self.config.seed {
            return Err(format!("it was started with seed {}, not {}", state.seed, self.config.seed));
        }
        let of = |prefix: &str| -> BTreeMap<String, Tensor> {
            tensors
                .iter()
                .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())))
                .collect()
        };
        let (model, optimizer, means) = (of(MODEL), of(OPTIMIZER), of(EMA));
        let report = self.store.compare(&model);
        if !report.is_exact() {
            return Err(format!("it is of another model: {report}"));
        }
        if self.ema.is_none() && !means.is_empty() {
            return Err("it was started with a running mean of the weights".to_owned());
        }
        if let Some(ema) = &mut self.ema {
            ema.set(&means, state.step)
                .map_err(|e| format!("its running mean of the weights does not fit: {}", bare(&e)))?;
        }
        let taken = self.optimizer.set_state(&optimizer);
        taken.map_err(|e| format!("it is of another optimiser: {}", bare(&e)))?;
        self.store.set(&model).map_err(|e| bare(&e))?;
        self.state = state;
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

    /// The running mean of the weights, if there is one.
    pub fn ema(&self) -> Option<&Ema> {
        self.ema.as_ref()
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

    /// Learning rate and momentum of the next step.
    pub(crate) fn pace(&self) -> Pace {
        let (schedule, step, length) = (&self.config.schedule, self.state.step, self.length());
        Pace {
            lr: schedule.after(&self.state.watched, step, length),
            momentum: schedule.momentum(step, length),
        }
    }

    /// How long the run is, once the loop has begun.
    pub(crate) fn length(&self) -> Length {
        let steps_per_epoch = self.state.batches_per_epoch.div_ceil(self.config.accumulate);
        Length { steps_per_epoch, epochs: self.config.epochs }
    }

    /// What the run came to so far.
    pub fn summary(&self, ended: Ended) -> Summary {
        let state = &self.state;
        Summary {
            ended,
            epochs: state.epoch,
            steps: state.step,
            best: state.best,
            best_ema: state.best_ema,
            last: state.last,
            test: self.tested[0],
            test_ema: self.tested[1],
            parameters: self.store.parameter_count() as u64,
            seed: state.seed,
            seconds: state.seconds,
            examples_per_second: state.examples as f64 / state.train_seconds.max(1e-9),
        }
    }

    /// Writes report and final figures, and returns these.
    pub(crate) fn conclude(&self) -> Result<Summary, TrainError> {
        let summary = self.summary(self.ended().unwrap_or(Ended::Interrupted));
        if let Some(run) = &self.run {
            let Ok(json) = serde_json::to_string_pretty(&summary) else {
                unreachable!("a struct of numbers")
            };
            report::write(run.path(), &report::Illustrations::default())?;
            // The last file: where it is, nothing is left to do but to test.
            run.write(run::METRICS, &(json + "\n"))?;
        }
        Ok(summary)
    }

    /// Model, optimiser and running means by the names they have in a checkpoint.
    pub(crate) fn tensors(&self) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let model = self.store.tensors().into_iter().map(|(name, t)| (format!("{MODEL}{name}"), t));
        let optimizer =
            self.optimizer.state()?.into_iter().map(|(name, t)| (format!("{OPTIMIZER}{name}"), t));
        let means = self.ema.iter().flat_map(Ema::means).map(|(name, t)| (format!("{EMA}{name}"), t));
        Ok(model.chain(optimizer).chain(means).collect())
    }

    /// Writes the checkpoint, unless what it would save is broken.
    pub(crate) fn save(&mut self) -> Result<(), TrainError> {
        let start = Instant::now();
        let tensors = self.tensors()?;
        for (name, t) in &tensors {
            if !is_finite(t)? {
                let name = name.strip_prefix(MODEL).unwrap_or(name).to_owned();
                return Err(self.diverged(f64::NAN, Some(Anomaly::Parameter(name))));
            }
        }
        let step = self.state.step;
        if let Some(run) = &mut self.run {
            [self.state.log_bytes, self.state.board_bytes] = run.synced()?;
            let older = self.config.keep - 1;
            if let Some(last) = self.saved.step.filter(|&last| last < step && older > 0) {
                kept::keep(run.path(), last)?;
            }
            checkpoint::write(&run.file(run::CHECKPOINT), &tensors, &self.state)?;
            kept::prune(run.path(), step, older)?;
        }
        self.saved = Saved { at: Instant::now(), took: start.elapsed(), step: Some(step) };
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
    pub(crate) fn diverged(&mut self, loss: f64, anomaly: Option<Anomaly>) -> TrainError {
        let step = self.state.step;
        let told = anomaly.as_ref().map(Anomaly::to_string);
        match self.log(&Event::Diverged { step, loss: loss.to_string(), anomaly: told }) {
            Ok(()) => TrainError::Diverged { step, loss, anomaly },
            Err(e) => e,
        }
    }
}
