//! The oldest check of a training loop: a model that cannot learn one batch by heart will not learn anything else.

use std::ops::ControlFlow;

use nn_core::{Ctx, ensure};

use crate::data::{Dataset, Loader};
use crate::error::TrainError;
use crate::metrics::{Figures, Metrics, Outcome};
use crate::trainer::Trainer;

/// What became of training on one batch again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overfit {
    /// Steps taken.
    pub steps: u64,
    /// Before the first.
    pub first: Figures,
    /// The best there was.
    pub best: Figures,
}

/// A loss below this share of the first is one that was learnt by heart.
const LEARNT: f64 = 0.05;

impl Overfit {
    /// Whether the batch was learnt by heart: every decision is right, or the loss is a twentieth of the first.
    pub fn learnt(&self) -> bool {
        by_heart(&self.first, &self.best)
    }
}

fn by_heart(first: &Figures, now: &Figures) -> bool {
    now.get(crate::Measure::Accuracy) == Some(1.0) || now.loss < LEARNT * first.loss
}

/// Takes up to `steps` steps on the first batch of `train`, at the schedule's rate after warm-up, until it is learnt by
/// heart or `progress`, which hears of every step, answers [`ControlFlow::Break`].
///
/// Augmentation and dropout are as in training: a model with much of them takes longer.
///
/// # Errors
/// If there is nothing to train on, or the trainer keeps its run in a folder; [`TrainError::Unused`] if parameters have no
/// gradient; [`TrainError::Diverged`] if the loss is no longer finite; what `forward` and the data say.
pub fn overfit<D: Dataset>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    steps: u64,
    mut progress: impl FnMut(u64, &Figures) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Overfit, TrainError> {
    let batch = first(trainer, train)?;
    let still = trainer.still_layers();
    let mut found: Option<Overfit> = None;
    for step in 0..steps {
        let ctx = Ctx::train(trainer.config.seed).step(step).freezing(&still);
        let outcome = trainer.config.activations.keep(|| forward(&batch, &ctx))?;
        let mut metrics = Metrics::default();
        metrics.add(&outcome)?;
        let figures = metrics.figures();
        trainer.state.step = step + 1;
        if !figures.loss.is_finite() {
            return Err(trainer.diverged(figures.loss, None));
        }
        let so_far = found.get_or_insert(Overfit { steps: 0, first: figures, best: figures });
        if figures.loss < so_far.best.loss {
            so_far.best = figures;
        }
        let known = by_heart(&so_far.first, &figures);
        so_far.best = if known { figures } else { so_far.best };
        if progress(step, &figures).is_break() || known {
            break;
        }
        so_far.steps += 1;
        let mut grads = nn_core::backward(outcome.loss())?;
        if step == 0 {
            trainer.audit(&grads)?;
        }
        trainer.clip(&mut grads)?;
        trainer.optimizer.step(&grads, trainer.config.schedule.lr)?;
    }
    found.ok_or_else(|| candle_core::Error::Msg("overfit: there must be a step, got 0".to_owned()).into())
}

fn first<D: Dataset>(trainer: &Trainer, train: &Loader<D>) -> candle_core::Result<D::Batch> {
    ensure!(trainer.path().is_none(), "overfit: a run in a folder is no place to overfit in");
    let Some(batch) = train.epoch(0).next() else {
        candle_core::bail!("overfit: there must be an example to train on, got 0")
    };
    batch
}
