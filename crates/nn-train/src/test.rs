//! The last word on a run: its best weights on data that had no say in choosing them.

use std::ops::ControlFlow;

use nn_core::Ctx;

use crate::data::{Dataset, Loader};
use crate::error::TrainError;
use crate::event::Event;
use crate::fit::evaluate;
use crate::metrics::{Evaluation, Outcome};
use crate::run::{EMA, MODEL};
use crate::trainer::Trainer;

/// Evaluates the best weights of a run that is over, once, on its test set, and their best running mean if there is
/// one; `None` if `progress` answered [`ControlFlow::Break`].
///
/// [`fit`](crate::fit()) chooses the best weights by its evaluation set, so their figures there flatter. Where data
/// have a third part, it belongs here: the figures go into [`Summary::test`](crate::Summary::test), log and report. The
/// model has the best weights afterwards; that of a run without a folder, whose best weights nobody kept, its last.
///
/// # Errors
/// What `forward`, the data and the file system say.
pub fn test<D: Dataset>(
    trainer: &mut Trainer,
    data: &Loader<D>,
    progress: impl FnMut(&Event) -> ControlFlow<()>,
    forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Option<Evaluation>, TrainError> {
    match run(trainer, data, progress, forward) {
        Ok(tested) => trainer.team.meet(Ok(())).map(|_| tested),
        Err(error) => trainer.team.part(Err(error)),
    }
}

fn run<D: Dataset>(
    trainer: &mut Trainer,
    data: &Loader<D>,
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Option<Evaluation>, TrainError> {
    let mut ema = None;
    if trainer.ema.is_some() {
        recall(trainer, EMA)?;
        let evaluation = evaluate(data, &mut progress, &mut forward);
        let evaluation = trainer.evaluated_together(evaluation);
        // The first error is what went wrong.
        let put = put_back(trainer);
        let evaluation = evaluation?;
        put?;
        let Some(evaluation) = evaluation else { return Ok(None) };
        ema = Some(evaluation.figures());
    }
    recall(trainer, MODEL)?;
    let evaluation = evaluate(data, &mut progress, &mut forward);
    let Some(evaluation) = trainer.evaluated_together(evaluation)? else { return Ok(None) };
    trainer.tested = [Some(evaluation.figures()), ema];
    let event = Event::Tested { test: evaluation.figures(), ema };
    trainer.log(&event)?;
    trainer.conclude()?;
    let _ = progress(&event);
    Ok(Some(evaluation))
}

/// Puts the best weights, or their best running mean, where the weights are; a run without a folder has but the last.
fn recall(trainer: &mut Trainer, name: &str) -> Result<(), TrainError> {
    match (&trainer.run, &trainer.ema) {
        _ if !trainer.team.leads() => {}
        (Some(run), _) => drop(trainer.store.load(run.file(name))?),
        (None, Some(means)) if name == EMA => means.swap()?,
        (None, _) => {}
    }
    trainer.follow()
}

/// Undoes [`recall`] of a running mean that no file holds.
fn put_back(trainer: &mut Trainer) -> Result<(), TrainError> {
    if let (None, Some(means)) = (&trainer.run, trainer.ema.as_ref().filter(|_| trainer.team.leads())) {
        means.swap()?;
    }
    trainer.follow()
}
