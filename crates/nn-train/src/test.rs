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
    mut progress: impl FnMut(&Event) -> ControlFlow<()>,
    mut forward: impl FnMut(&D::Batch, &Ctx<'_>) -> candle_core::Result<Outcome>,
) -> Result<Option<Evaluation>, TrainError> {
    let mut ema = None;
    if let Some(means) = &trainer.ema {
        match &trainer.run {
            Some(run) => drop(trainer.store.load(run.file(EMA))?),
            None => means.swap()?,
        }
        let evaluation = evaluate(data, &mut progress, &mut forward);
        if trainer.run.is_none() {
            means.swap()?;
        }
        let Some(evaluation) = evaluation? else { return Ok(None) };
        ema = Some(evaluation.figures());
    }
    if let Some(run) = &trainer.run {
        trainer.store.load(run.file(MODEL))?;
    }
    let Some(evaluation) = evaluate(data, &mut progress, &mut forward)? else { return Ok(None) };
    trainer.tested = [Some(evaluation.figures()), ema];
    let event = Event::Tested { test: evaluation.figures(), ema };
    trainer.log(&event)?;
    trainer.conclude()?;
    let _ = progress(&event);
    Ok(Some(evaluation))
}
