//! The loop: schedule → forward → backward → clip → step → metrics → evaluation → checkpoint.
//!
//! Who needs another loop copies this one; every part of it can be called from outside but the run's own files.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::Var;
use candle_core::backprop::GradStore;
use nn_core::{Ctx, ensure, no_grad, ops};

use crate::anomaly::Anomaly;
use crate::checkpoint::State;
use crate::data::{self, Dataset, Loader, Shard};
use crate::error::TrainError;
use crate::event::{Event, Setting, Step};
use crate::gradients::Gradients;
use crate::judge::Findings;
use crate::metrics::{Evaluation, Metrics, Outcome};
use crate::optim::Pace;
use crate::summary::{Ended, Summary};
use crate::trainer::Trainer;

/// Trains until all epochs are over, [`Stop`](crate::Stop) says so, or `progress` answers [`ControlFlow::Break`].
///
/// `forward` makes an [`Outcome`] of a batch, in training and in evaluation; which of the two is in the context. In evaluation it
/// is called without gradients ([`no_grad`]).
/// Layers whose parameters are frozen ([`nn_core::Freeze`]) stay in evaluation ([`Trainer::still_layers`]).
/// The best weights are those with the best figures on `eval`: what they are worth is for [`test`](crate::test()) to say.
/// `progress` hears what happens. It is asked after every step and every batch of an evaluation whether to go on;
/// if not, the run is saved as it is. A run that is taken up again ends in the same weights, to the bit, as one that
/// was left alone.
///
/// With several ranks ([`Trainer::join`]) each calls this with its own shard of the same data; all return the same. A
/// process that leaves before the others do so ends them with an error, which names it.
///
/// # Errors
/// [`TrainError::Unused`] if parameters have no gradient in the first step; [`TrainError::Diverged`] if the loss is no
/// longer finite; what `forward`, the data or the file system say; [`TrainError::Elsewhere`] if another rank fails.
pub fn fit<D: Dataset, E: Dataset<Batch = D::Batch>>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    eval: &Loader<E>,
    progress: impl FnMut(&Event) -> ControlFlow<()>,
    forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Summary, TrainError> {
    let fitted = run(trainer, train, eval, progress, forward);
    // None leaves before all are done: rank 0 has files to write, and may fail in that.
    Ok(trainer.team.meet(fitted)?.swap_remove(0))
}

fn run<D: Dataset, E: Dataset<Batch = D::Batch>>(
    trainer: &mut Trainer,
    train: &Loader<D>,
    eval: &Loader<E>,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Summary, TrainError> {
    begin(trainer, train, eval)?;
    let still = trainer.still_layers();
    while trainer.ended().is_none() {
        let State { epoch, batch, .. } = trainer.state;
        let batches = train.batches_per_epoch() as u64;
        let _ = progress(&Event::EpochStarted { epoch: epoch + 1, batches_done: batch, batches });
        let mut batches = train.epoch_from(epoch, batch as usize);
        let mut clock = Clock::start();
        while trainer.state.epoch == epoch && trainer.ended().is_none() {
            if trainer.evaluation_is_due() {
                clock.lap();
                let Some(found) = evaluate_all(trainer, eval, &mut progress, &mut forward)? else {
                    return interrupt(trainer, progress);
                };
                trainer.state.seconds += clock.lap();
                let event = trainer.judge(&found)?;
                let answer = trainer.agree(progress(&event))?;
                save(trainer, &mut progress)?;
                if answer.is_break() && trainer.ended().is_none() {
                    return Ok(trainer.summary(Ended::Interrupted));
                }
                continue;
            }
            let pace = trainer.pace();
            let gathered = gather(trainer, &mut batches, &still, &mut forward);
            let mut gathered = trainer.pool(gathered, &still)?;
            if trainer.state.step == 1 {
                trainer.audit(&gathered.grads)?;
            }
            let grad_norm = trainer.clip(&mut gathered.grads)?;
            trainer.optimizer.step(&gathered.grads, pace)?;
            trainer.ema.as_mut().map_or(Ok(()), crate::Ema::update)?;

            let event =
                Event::Step(Step { grad_norm, ..stepped(&mut trainer.state, &gathered, pace, &mut clock) });
            if trainer.state.step == 1 || trainer.state.step.is_multiple_of(trainer.config.log_every) {
                trainer.log(&event)?;
            }
            if trainer.agree(progress(&event))?.is_break() {
                return interrupt(trainer, progress);
            }
            if trainer.save_is_due() {
                save(trainer, &mut progress)?;
            }
        }
    }
    finish(trainer, progress)
}

/// The gradients of a step, and what its batches came to.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) grads: GradStore,
    pub(crate) metrics: Metrics,
}

/// Forward and backward through the batches of the next step. Of an epoch's last batch a rank may have no example; its
/// gradients are then none.
pub(crate) fn gather<B: Send + 'static>(
    trainer: &mut Trainer,
    batches: &mut data::Epoch<B>,
    still: &BTreeSet<String>,
    forward: &mut impl FnMut(&B, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Gathered, TrainError> {
    trainer.state.step += 1;
    let (mut gradients, mut metrics) = (Gradients::default(), Metrics::default());
    let peers = trainer.peers();
    let left = trainer.state.batches_per_epoch - trainer.state.batch;
    for _ in 0..trainer.config.accumulate.min(left) {
        let draw = trainer.draw();
        trainer.state.batch += 1;
        let Some(batch) = batches.next().transpose()? else { continue };
        let ctx = Ctx::train(trainer.config.seed).step(draw).freezing(still);
        let together = peers.as_ref().map_or(ctx, |peers| ctx.synchronised(peers));
        let outcome = trainer.config.activations.keep(|| forward(&batch, &together))?;
        let value = outcome.loss_value()?;
        if !value.is_finite() {
            let anomaly = Anomaly::find(&trainer.store, &ctx, |ctx| forward(&batch, ctx).map(drop));
            let anomaly = match peers {
                // Alone, norms have other statistics, if they have any: what comes of that may be no culprit.
                Some(_) => anomaly.ok().filter(|anomaly| *anomaly != Anomaly::Loss),
                None => Some(anomaly?),
            };
            return Err(trainer.diverged(value, anomaly));
        }
        metrics.add(&outcome)?;
        let parameters = trainer.optimizer.parameters();
        let grads = match peers {
            Some(_) => of_all(&outcome, parameters)?,
            None => nn_core::backward(outcome.loss())?,
        };
        gradients.add(grads, outcome.weight(), parameters)?;
    }
    Ok(Gathered { grads: gradients.mean().unwrap_or_default(), metrics })
}

/// The gradients of the losses of all ranks, where norms join them, by way of this rank's examples: of each loss by its weight,
/// and then over this one's, by which they will be multiplied.
fn of_all(outcome: &Outcome, parameters: &[(String, Var)]) -> candle_core::Result<GradStore> {
    let weight = outcome.weight();
    let mut grads = nn_core::backward(&ops::scale(outcome.loss(), weight)?)?;
    if weight > 0.0 {
        for (_, var) in parameters {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, ops::scale(&grad, 1.0 / weight)?);
            }
        }
    }
    Ok(grads)
}

/// A pass with the weights and, if there is one, with their running mean.
fn evaluate_all<D: Dataset>(
    trainer: &mut Trainer,
    data: &Loader<D>,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Option<Findings>, TrainError> {
    let weights = evaluate(data, &mut progress, &mut forward);
    let Some(weights) = trainer.evaluated_together(weights)? else { return Ok(None) };
    let Some(ema) = &trainer.ema else { return Ok(Some(Findings { weights, ema: None })) };
    ema.swap()?;
    let means = evaluate(data, progress, forward);
    ema.swap()?;
    let means = trainer.evaluated_together(means)?;
    Ok(means.map(|means| Findings { weights, ema: Some(means) }))
}

/// A pass over a data set in evaluation mode, without gradients ([`no_grad`]), the loader's shard of it; `None` if `progress`
/// answered [`ControlFlow::Break`].
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
    for (n, batch) in data.epoch(0).enumerate() {
        evaluation.add_from(data.places(n).start, &no_grad(|| forward(&batch?, &Ctx::eval()))?)?;
        if progress(&Event::Evaluating { batch: n as u64 + 1, batches }).is_break() {
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
) -> Result<(), TrainError> {
    let (examples, batches) = (train.data().len() as u64, train.batches_per_epoch() as u64);
    check_sizes(examples, eval.data().len() as u64)?;
    check_shards(trainer.shard(), [train.config().shard, eval.config().shard])?;
    trainer.follow()?;
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
    Ok(())
}

fn check_sizes(train: u64, eval: u64) -> candle_core::Result<()> {
    ensure!(train > 0, "fit: there must be an example to train on, got 0");
    ensure!(eval > 0, "fit: there must be an example to evaluate on, got 0");
    Ok(())
}

fn check_shards(own: Shard, loaders: [Shard; 2]) -> candle_core::Result<()> {
    let other = loaders.into_iter().find(|shard| *shard != own);
    ensure!(
        other.is_none(),
        "fit: loaders must give out the trainer's shard, {own:?}, got {:?}",
        other.unwrap_or(own)
    );
    Ok(())
}

/// Counts a step that was taken.
fn stepped(state: &mut State, gathered: &Gathered, pace: Pace, clock: &mut Clock) -> Step {
    let Pace { lr, momentum } = pace;
    let examples = gathered.metrics.examples();
    state.lr = lr;
    state.train += gathered.metrics;
    state.examples += examples;
    let seconds = clock.lap();
    state.seconds += seconds;
    state.train_seconds += seconds;
    clock.seconds += seconds;
    clock.examples += examples;
    Step {
        step: state.step,
        epoch: state.epoch + 1,
        batch: state.batch,
        loss: gathered.metrics.figures().loss,
        lr,
        momentum,
        grad_norm: None,
        so_far: state.train.figures(),
        examples_per_second: clock.examples as f64 / clock.seconds.max(1e-9),
    }
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
    let State { step, seconds, .. } = trainer.state;
    let Some(ended) = trainer.ended() else { unreachable!("the loop goes on until it has ended") };
    let event = Event::Finished { steps: step, seconds, ended };
    trainer.log(&event)?;
    let summary = trainer.conclude()?;
    let _ = progress(&event);
    Ok(summary)
}
