//! The loop: schedule → forward → backward → clip → step → metrics → evaluation → checkpoint.
//!
//! Who needs another loop copies this one; every part of it can be called from outside but the run's own files.

use std::ops::ControlFlow;
use std::time::Instant;

use nn_core::{Ctx, ensure};

use crate::checkpoint::State;
use crate::clip::clip_grad_norm;
use crate::data::{Dataset, Loader};
use crate::error::TrainError;
use crate::event::{Epoch, Event, Setting, Step};
use crate::metrics::{Evaluation, Metrics, Outcome};
use crate::report;
use crate::run::{METRICS, MODEL};
use crate::schedule::Length;
use crate::trainer::{Ended, Score, Summary, Trainer};

/// Trains until all epochs are over, or `progress` answers [`ControlFlow::Break`].
///
/// `forward` makes an [`Outcome`] of a batch, in training and in evaluation; which of the two is in the context.
/// Layers whose parameters are frozen ([`nn_core::Freeze`]) stay in evaluation ([`Trainer::still_layers`]).
/// `progress` hears what happens. It is asked after every step and every batch of an evaluation whether to go on;
/// if not, the run is saved as it is. A run that is taken up again ends in the same weights, to the bit, as one that
/// was left alone.
///
/// # Errors
/// [`TrainError::Diverged`] if the loss is no longer finite; what `forward`, the data or the file system say.
pub fn fit<D: Dataset, E: Dataset<Batch = D::Batch>>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    eval: &Loader<E>,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Summary, TrainError> {
    let length = begin(trainer, train, eval)?;
    let config = trainer.config;
    let still = trainer.still_layers();
    while trainer.state.epoch < config.epochs {
        let State { epoch, batch, .. } = trainer.state;
        let _ = progress(&Event::EpochStarted {
            epoch: epoch + 1,
            batches_done: batch,
            batches: length.steps_per_epoch,
        });
        let mut clock = Clock::start();
        for batch in train.epoch_from(epoch, batch as usize) {
            let step = trainer.state.step;
            let lr = config.schedule.at(step, length);
            let outcome = forward(&batch?, &Ctx::train(config.seed).step(step).freezing(&still))?;
            trainer.state.step += 1;
            let loss = outcome.loss_value()?;
            if !loss.is_finite() {
                return Err(trainer.diverged(loss));
            }
            let mut grads = nn_core::backward(outcome.loss())?;
            let mut clip = |max| clip_grad_norm(&mut grads, trainer.optimizer.parameters(), max);
            let grad_norm = config.clip_norm.map(&mut clip).transpose()?;
            trainer.optimizer.step(&grads, lr)?;

            let event =
                Event::Step(Step { grad_norm, ..stepped(&mut trainer.state, &outcome, lr, &mut clock)? });
            if step == 0 || trainer.state.step.is_multiple_of(config.log_every) {
                trainer.log(&event)?;
            }
            if progress(&event).is_break() {
                return interrupt(trainer, progress);
            }
            if trainer.save_is_due() {
                save(trainer, &mut progress)?;
            }
        }
        clock.lap();
        let Some(evaluation) = evaluate(eval, &mut progress, &mut forward)? else {
            return interrupt(trainer, progress);
        };
        trainer.state.seconds += clock.lap();
        let event = end_epoch(trainer, &evaluation)?;
        let answer = progress(&event);
        save(trainer, &mut progress)?;
        if answer.is_break() && trainer.state.epoch < config.epochs {
            return Ok(trainer.summary(Ended::Interrupted));
        }
    }
    finish(trainer, progress)
}

/// A pass over a data set in evaluation mode; `None` if `progress` answered [`ControlFlow::Break`].
///
/// # Errors
/// What `forward` and the data say.
pub fn evaluate<D: Dataset>(
    data: &Loader<D>,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Option<Evaluation>, TrainError> {
    let batches = data.batches_per_epoch() as u64;
    let mut evaluation = Evaluation::default();
    for (done, batch) in (1..).zip(data.epoch_from(0, 0)) {
        evaluation.add(&forward(&batch?, &Ctx::eval())?)?;
        if progress(&Event::Evaluating { batch: done, batches }).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(evaluation))
}

/// Measures the time from lap to lap.
struct Clock {
    last: Instant,
    /// Since the start, in this epoch.
    examples: u64,
    seconds: f64,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), examples: 0, seconds: 0.0 }
    }

    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        seconds
    }
}

/// Checks that data and run fit each other, and writes the log's first words at step 0.
fn begin<D: Dataset, E: Dataset>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    eval: &Loader<E>,
) -> Result<Length, TrainError> {
    let (examples, batches) = (train.data().len() as u64, train.batches_per_epoch() as u64);
    check_sizes(examples, eval.data().len() as u64)?;
    let state = &mut trainer.state;
    if state.step == 0 {
        (state.examples_per_epoch, state.batches_per_epoch) = (examples, batches);
        let setting = Setting {
            parameters: trainer.store.parameter_count() as u64,
            epochs: trainer.config.epochs,
            batches,
            train_examples: examples,
            eval_examples: eval.data().len() as u64,
            seed: trainer.config.seed,
        };
        trainer.log(&Event::Started(setting))?;
    } else if (state.examples_per_epoch, state.batches_per_epoch) != (examples, batches) {
        let (old_examples, old_batches) = (state.examples_per_epoch, state.batches_per_epoch);
        return Err(candle_core::Error::Msg(format!(
            "fit: the run was trained on {old_examples} examples in {old_batches} batches, got {examples} in {batches}"
        ))
        .into());
    }
    Ok(Length { steps_per_epoch: batches, epochs: trainer.config.epochs })
}

fn check_sizes(train: u64, eval: u64) -> candle_core::Result<()> {
    ensure!(train > 0, "fit: there must be an example to train on, got 0");
    ensure!(eval > 0, "fit: there must be an example to evaluate on, got 0");
    Ok(())
}

/// Counts a step that was taken.
fn stepped(state: &mut State, outcome: &Outcome, lr: f64, clock: &mut Clock) -> candle_core::Result<Step> {
    state.train.add(outcome)?;
    state.batch += 1;
    state.lr = lr;
    state.examples += outcome.examples() as u64;
    let seconds = clock.lap();
    state.seconds += seconds;
    state.train_seconds += seconds;
    clock.seconds += seconds;
    clock.examples += outcome.examples() as u64;
    Ok(Step {
        step: state.step,
        epoch: state.epoch + 1,
        batch: state.batch,
        loss: outcome.loss_value()?,
        lr,
        grad_norm: None,
        so_far: state.train.figures(),
        examples_per_second: clock.examples as f64 / clock.seconds.max(1e-9),
    })
}

/// Closes an epoch: keeps the weights if they are the best, and moves on to the next.
fn end_epoch(trainer: &mut Trainer, evaluation: &Evaluation) -> Result<Event, TrainError> {
    let (train, eval) = (trainer.state.train.figures(), evaluation.figures());
    if !eval.loss.is_finite() {
        return Err(trainer.diverged(eval.loss));
    }
    let state = &mut trainer.state;
    let score = Score { epoch: state.epoch + 1, train, eval };
    let best = state.best.is_none_or(|best| eval.better_than(&best.eval));
    if best {
        state.best = Some(score);
        if let Some(run) = &trainer.run {
            trainer.store.save(run.file(MODEL))?;
        }
    }
    state.last = Some(score);
    state.epoch += 1;
    state.batch = 0;
    state.train = Metrics::default();
    let event = Event::Epoch(Epoch {
        epoch: score.epoch,
        step: state.step,
        lr: state.lr,
        train,
        eval,
        best,
        seconds: state.seconds,
        examples_per_second: state.examples as f64 / state.train_seconds.max(1e-9),
        confusion: evaluation.confusion().filter(|_| best).cloned(),
    });
    trainer.log(&event)?;
    Ok(event)
}

fn save(
    trainer: &mut Trainer,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    trainer.save()?;
    let _ = progress(&Event::Checkpointed { step: trainer.state.step });
    Ok(())
}

fn interrupt(
    trainer: &mut Trainer,
    progress: impl FnMut(&Event) -> ControlFlow<()>,
) -> Result<Summary, TrainError> {
    save(trainer, progress)?;
    Ok(trainer.summary(Ended::Interrupted))
}

/// Writes what is written once.
fn finish(
    trainer: &mut Trainer,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
) -> Result<Summary, TrainError> {
    let event = Event::Finished { steps: trainer.state.step, seconds: trainer.state.seconds };
    trainer.log(&event)?;
    let summary = trainer.summary(Ended::Finished);
    if let Some(run) = &trainer.run {
        let Ok(json) = serde_json::to_string_pretty(&summary) else { unreachable!("a struct of numbers") };
        report::write(run.path(), &report::Illustrations::default())?;
        // The last file: where it is, nothing is left to do.
        run.write(METRICS, &(json + "\n"))?;
    }
    let _ = progress(&event);
    Ok(summary)
}
