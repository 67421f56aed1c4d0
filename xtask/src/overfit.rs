//! `train --overfit-one-batch`: whether a model can learn one batch by heart.

use std::process::ExitCode;

use anyhow::Result;
use nn_train::{Figures, overfit};

use crate::figures;
use crate::output::{self, note};
use crate::session::Session;
use crate::task::Task;
use crate::train::{go_on, stop_on_interrupt};

/// After so many steps a sound model knows a batch.
const STEPS: u64 = 500;

/// Between two lines.
const EVERY: u64 = 50;

pub(crate) fn run<T: Task>(mut session: Session<T>) -> Result<ExitCode> {
    let (rate, batch) = (session.recipe.schedule.lr, session.recipe.train.batch_size);
    note(format_args!("{}, one batch of {batch}, learning rate {rate}\n", session.title()));
    let Session { trainer, parts, model, .. } = &mut session;
    let stop = stop_on_interrupt()?;
    let hear = |step: u64, now: &Figures| {
        if step.is_multiple_of(EVERY) {
            note(format_args!("  step {step:>4}  {}", words(now)));
        }
        go_on(stop)
    };
    let found = overfit(trainer, &parts.train, STEPS, hear, |batch, ctx| model.outcome(batch, ctx))?;
    let (first, best, steps) = (words(&found.first), words(&found.best), found.steps);
    if found.learnt() {
        output::line(format_args!("learnt by heart in {steps} steps: {first} became {best}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!("not learnt in {steps} steps: {first} became {best}"))?;
    note(
        "help: a model that cannot learn one batch will learn nothing else; look at the learning rate (cargo xtask \
         lr-find), at the loss, at what the batch holds, and turn dropout and augmentation off",
    );
    Ok(ExitCode::FAILURE)
}

fn words(now: &Figures) -> String {
    let rows = figures::rows(now).into_iter().map(|(name, value)| format!("{name} {value}"));
    rows.collect::<Vec<_>>().join(", ")
}
