//! The learning-rate range test: a short run whose rate grows from step to step, and what its losses say.
//!
//! Source: Smith 2017, arXiv:1506.01186, section 3.3; smoothing, the end of the test and the suggestion at the steepest
//! descent as in fastai's `lr_find`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::Tensor;
use nn_core::{Ctx, ensure};

use crate::checkpoint::State;
use crate::data::{Dataset, Loader};
use crate::error::TrainError;
use crate::fit::gather;
use crate::metrics::Outcome;
use crate::trainer::Trainer;

/// Options of [`lr_find`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrRange {
    /// The rate of the first step.
    pub from: f64,
    /// The rate of the last step, if the test gets there.
    pub to: f64,
    /// Steps from one to the other, each in the same proportion to the one before.
    pub steps: u64,
    /// The share of the old in the running mean of the losses, in [0, 1).
    pub smoothing: f64,
    /// The test ends where the mean is so many times the lowest there was.
    pub diverged: f64,
}

impl Default for LrRange {
    /// A hundred steps from 1e-7 to 10.
    fn default() -> Self {
        Self { from: 1e-7, to: 10.0, steps: 100, smoothing: 0.9, diverged: 4.0 }
    }
}

impl LrRange {
    /// # Errors
    /// If a number is out of range; the message gives the range.
    pub fn check(&self) -> candle_core::Result<()> {
        let Self { from, to, steps, smoothing, diverged } = *self;
        ensure!(
            from > 0.0 && from < to && to.is_finite(),
            "LrRange: the rates must be above 0 and rise, got {from} to {to}"
        );
        ensure!((10..=1_000_000).contains(&steps), "LrRange: steps must be 10 to 1,000,000, got {steps}");
        ensure!((0.0..1.0).contains(&smoothing), "LrRange: smoothing must be in [0, 1), got {smoothing}");
        ensure!(diverged > 1.0, "LrRange: diverged must be above 1, got {diverged}");
        Ok(())
    }

    fn at(&self, step: u64) -> f64 {
        self.from * (self.to / self.from).powf(step as f64 / (self.steps - 1) as f64)
    }
}

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrPoint {
    /// Its rate.
    pub lr: f64,
    /// The loss before the step, of its batches alone.
    pub loss: f64,
    /// The running mean of the losses up to it.
    pub smooth: f64,
}

/// What a learning-rate range test found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LrCurve {
    /// Its steps, by rising rate.
    pub points: Vec<LrPoint>,
}

/// The rates at which a curve says something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSuggestion {
    /// Where the loss falls fastest: a rate to train with.
    pub steepest: f64,
    /// Where it is lowest: about the rate at which training becomes unstable, too large already.
    pub lowest: f64,
}

impl LrCurve {
    /// The rates to look at; `None` if the loss never fell.
    pub fn suggestion(&self) -> Option<LrSuggestion> {
        let points = &self.points;
        let lowest = (0..points.len()).min_by(|&a, &b| points[a].smooth.total_cmp(&points[b].smooth))?;
        // The mean of the first few is hardly one.
        let first = points.len() / 10 + 1;
        let slope = |&i: &usize| {
            let [before, after] = [points[i - 1], points[i + 1]];
            (after.smooth - before.smooth) / (after.lr / before.lr).ln()
        };
        let steepest = (first..lowest).min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
        let (steepest, lowest) = (Some(steepest).filter(|i| slope(i) < 0.0)?, points[lowest].lr);
        Some(LrSuggestion { steepest: points[steepest].lr, lowest })
    }
}

/// Tries rising learning rates on the batches of `train`, until the loss runs away or `progress`, which hears of every step,
/// answers [`ControlFlow::Break`]. Model and optimiser are then as they were before.
///
/// Accumulation and clipping are as the trainer's settings say.
///
/// ```
/// # use std::ops::ControlFlow::Continue;
/// # use candle_core::{DType, Device, Tensor};
/// # use candle_nn::{Module, linear};
/// # use nn_core::{ParamStore, Random};
/// use nn_train::data::{Loader, LoaderConfig, TensorSet};
/// use nn_train::{FitConfig, LrRange, Outcome, Trainer, lr_find};
///
/// let (inputs, targets) = (Tensor::rand(0f32, 1.0, (64, 4), &Device::Cpu)?, Tensor::zeros(64, DType::U32, &Device::Cpu)?);
/// let train = Loader::new(TensorSet::new(inputs, targets)?.into(), LoaderConfig::default(), Random::new(0))?;
/// let store = ParamStore::new(0);
/// let model = linear(4, 2, store.vb(DType::F32, &Device::Cpu))?;
/// let mut trainer = Trainer::new(&store, FitConfig::default())?;
/// let curve = lr_find(&mut trainer, &train, LrRange::default(), |_| Continue(()), |batch, _| {
///     Outcome::classification(&model.forward(&batch.inputs)?, &batch.targets)
/// })?;
/// let rate = curve.suggestion().map(|found| found.steepest);
/// assert!(rate.is_some());
/// # Ok::<(), nn_train::TrainError>(())
/// ```
///
/// # Errors
/// If the range is none, there is nothing to train on, or the trainer keeps its run in a folder; what `forward` and the data
/// say.
pub fn lr_find<D: Dataset>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    range: LrRange,
    mut progress: impl FnMut(&LrPoint) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<LrCurve, TrainError> {
    range.check()?;
    check(trainer, train)?;
    let before = Snapshot::of(trainer)?;
    (trainer.state.batches_per_epoch, trainer.state.batch) = (train.batches_per_epoch() as u64, 0);
    let found = climb(trainer, train, range, &mut progress, &mut forward);
    before.restore(trainer)?;
    found
}

fn check<D: Dataset>(trainer: &Trainer, train: &Loader<D>) -> candle_core::Result<()> {
    ensure!(trainer.path().is_none(), "lr_find: a run in a folder is no place to try rates in");
    ensure!(trainer.shard().of == 1, "lr_find: rates are tried by one process, got {:?}", trainer.shard());
    ensure!(!train.data().is_empty(), "lr_find: there must be an example to train on, got 0");
    Ok(())
}

fn climb<D: Dataset>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    range: LrRange,
    progress: &mut impl FnMut(&LrPoint) -> ControlFlow<()>,
    forward: &mut impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<LrCurve, TrainError> {
    let still = trainer.still_layers();
    let (mut curve, mut mean, mut lowest) = (LrCurve::default(), 0.0, f64::INFINITY);
    let mut batches = train.epoch(trainer.state.epoch);
    for step in 0..range.steps {
        if trainer.state.batch == trainer.state.batches_per_epoch {
            trainer.state.epoch += 1;
            trainer.state.batch = 0;
            batches = train.epoch(trainer.state.epoch);
        }
        let lr = range.at(step);
        let mut gathered = match gather(trainer, &mut batches, &still, forward) {
            Err(TrainError::Diverged { .. }) => break,
            gathered => gathered?,
        };
        let loss = gathered.metrics.figures().loss;
        mean = range.smoothing * mean + (1.0 - range.smoothing) * loss;
        let smooth = mean / (1.0 - range.smoothing.powf((step + 1) as f64));
        let point = LrPoint { lr, loss, smooth };
        curve.points.push(point);
        lowest = smooth.min(lowest);
        if progress(&point).is_break() || smooth > range.diverged * lowest {
            break;
        }
        trainer.clip(&mut gathered.grads)?;
        trainer.optimizer.step(&gathered.grads, lr)?;
    }
    Ok(curve)
}

/// Copies of all that a step changes.
struct Snapshot {
    model: BTreeMap<String, Tensor>,
    optimizer: BTreeMap<String, Tensor>,
    state: State,
}

impl Snapshot {
    fn of(trainer: &Trainer) -> candle_core::Result<Self> {
        let copy = |(name, t): (String, Tensor)| Ok((name, t.copy()?));
        let copies = |tensors: BTreeMap<String, Tensor>| -> candle_core::Result<_> {
            tensors.into_iter().map(copy).collect()
        };
        Ok(Self {
            model: copies(trainer.store.tensors())?,
            optimizer: copies(trainer.optimizer.state()?)?,
            state: trainer.state,
        })
    }

    fn restore(self, trainer: &mut Trainer) -> candle_core::Result<()> {
        trainer.store.set(&self.model)?;
        trainer.optimizer.set_state(&self.optimizer)?;
        trainer.state = self.state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(smooth: &[f64]) -> LrCurve {
        let point =
            |(i, &smooth): (usize, &f64)| LrPoint { lr: 10f64.powi(i as i32 - 4), loss: smooth, smooth };
        LrCurve { points: smooth.iter().enumerate().map(point).collect() }
    }

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest() {
        let found = curve(&[2.3, 2.3, 2.2, 1.6, 0.9, 0.7, 5.0]).suggestion().expect("it fell");
        assert!((found.steepest - 0.1).abs() < 1e-12 && (found.lowest - 10.0).abs() < 1e-9, "{found:?}");
        assert_eq!(curve(&[1.0, 1.1, 1.2, 1.3]).suggestion(), None);
        assert_eq!(curve(&[]).suggestion(), None);
        assert_eq!(curve(&[1.0]).suggestion(), None);
    }

    #[test]
    fn rates_rise_in_proportion() {
        let range = LrRange { from: 1e-4, to: 1.0, steps: 10, ..LrRange::default() };
        let rates: Vec<f64> = (0..10).map(|step| range.at(step)).collect();
        assert!((rates[9] - 1.0).abs() < 1e-12 && (rates[0] - 1e-4).abs() < 1e-18);
        assert!(rates.windows(2).all(|pair| (pair[1] / pair[0] - 10f64.powf(4.0 / 9.0)).abs() < 1e-9));
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        let good = LrRange::default();
        for (range, says) in [
            (LrRange { from: 0.0, ..good }, "above 0 and rise, got 0 to 10"),
            (LrRange { to: 1e-8, ..good }, "above 0 and rise"),
            (LrRange { to: f64::INFINITY, ..good }, "above 0 and rise"),
            (LrRange { steps: 9, ..good }, "10 to 1,000,000, got 9"),
            (LrRange { smoothing: 1.0, ..good }, "smoothing must be in [0, 1), got 1"),
            (LrRange { diverged: 1.0, ..good }, "diverged must be above 1"),
        ] {
            let error = range.check().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
