//! `train`: a recipe becomes a run, or a run goes on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nn_train::data::{Dataset, Shard};
use nn_train::report::{self, Illustrations};
use nn_train::run::{self, About, Begin};
use nn_train::{Ended, Figures, Ranks, Summary, TrainError, fit};
use serde_json::json;

use crate::dashboard::{self, Board};
use crate::failure::{Advise, failed};
use crate::options::Options;
use crate::output::{self, Align, Table, duration, note, thousands};
use crate::progress::{Display, Progress, Scope};
use crate::recipe::{self, Recipe};
use crate::session::{self, Session};
use crate::task::{Parts, Task};
use crate::{figures, overfit, provenance, ranks, subject};

const EXAMPLES: &str = "Examples:
  cargo xtask train lenet5
  cargo xtask train lenet5 --data mnist --data-dir data/mnist --epochs 5
  cargo xtask train cnn --lr 0.01 --set optimizer.nesterov=true
  cargo xtask train sentiment-lstm --data-dir data
  cargo xtask train mobilenet_v2-hymenoptera --data-dir data --weights \"$(cargo xtask fetch mobilenet_v2)\"
  cargo xtask train --resume runs/lenet5-mnist

Every key of a recipe is explained in the files of xtask/recipes.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Go on with a run; its settings are those it was started with
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "data", "encoding", "epochs", "batch_size", "lr", "seed", "device", "weights", "freeze", "out", "settings"])]
    resume: Option<PathBuf>,
    /// Go on from this checkpoint, one of those in the run's folder `last`, instead of the newest
    #[arg(long, value_name = "FILE", requires = "resume")]
    from: Option<PathBuf>,
    /// Folder to make for the run [default: runs/RECIPE-DATA, with a number if that is taken]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Make no run: see whether the model can learn the first batch by heart
    #[arg(long, conflicts_with_all = ["resume", "out", "json"])]
    overfit_one_batch: bool,
    /// What to show while it trains
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    display: Display,
    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

/// What a run begins with: a recipe's text and what messages call it.
pub(crate) enum Start {
    /// A new run.
    Create { name: String, text: String },
    /// The run in the folder.
    Resume { path: PathBuf, text: String },
}

/// A run that is ready to go, in its folder.
struct Training<T: Task> {
    session: Session<T>,
    path: PathBuf,
    display: Display,
}

/// How the shell knows a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let ranks = ranks::start()?;
    begin(args, &ranks).map_err(|error| ranks::fail(&*ranks, error))
}

fn begin(args: &Args, ranks: &Arc<dyn Ranks>) -> Result<ExitCode> {
    let start = match (&args.resume, &args.recipe) {
        (Some(path), _) => {
            let advice = "a run's folder is what `cargo xtask train` makes, for example runs/lenet5-digits";
            Start::Resume { path: path.clone(), text: run::recipe(path).advise(advice)? }
        }
        (None, Some(name)) => {
            let (name, text) = recipe::find(name)?;
            Start::Create { name, text }
        }
        (None, None) => unreachable!("clap demands one of them"),
    };
    let (Start::Create { text, .. } | Start::Resume { text, .. }) = &start;
    (recipe::task_of(text, &start.origin())?.train)(args, start, ranks)
}

pub(crate) fn run_task<T: Task>(args: &Args, start: Start, ranks: &Arc<dyn Ranks>) -> Result<ExitCode> {
    let origin = start.origin();
    let training = match start {
        Start::Create { name, text } if args.overfit_one_batch => {
            return overfit::run(Session::<T>::start(session::resolve(&name, &text, &args.options)?, ranks)?);
        }
        Start::Create { name, text } => Training::<T>::create(&name, &text, args, ranks)?,
        Start::Resume { path, text } => {
            Training::resume(Recipe::<T>::read(&text, &origin)?, path, args, ranks)?
        }
    };
    training.run(args, &**ranks)
}

impl Start {
    fn origin(&self) -> String {
        match self {
            Self::Create { name, .. } => name.clone(),
            Self::Resume { path, .. } => path.join(run::RECIPE).display().to_string(),
        }
    }
}

impl<T: Task> Training<T> {
    fn create(name: &str, text: &str, args: &Args, ranks: &Arc<dyn Ranks>) -> Result<Self> {
        let recipe = session::resolve(name, text, &args.options)?;
        let [_, data] = T::title(&recipe);
        let path = ranks::lead(&**ranks, out(args.out.as_deref(), name, &data)?)?;
        let mut session = Session::<T>::start(recipe, ranks)?;
        let (recipe, about) = (session.recipe.to_toml()?, about(&session)?);
        let known =
            serde_json::to_string(&session.known).context("cannot write what is known of the data")?;
        let begin = Begin { recipe: &recipe, known: &known, about };
        let made = session.trainer.create(&path, begin);
        made.with_context(|| format!("cannot make the run's folder {}", path.display()))
            .advise("choose a folder that can be written with --out")?;
        Ok(Self { session, path, display: args.display })
    }

    fn resume(mut recipe: Recipe<T>, path: PathBuf, args: &Args, ranks: &Arc<dyn Ranks>) -> Result<Self> {
        T::locate(&mut recipe.data, args.options.data_dir.as_deref());
        // As the run has kept it: weights mean what the data were when it began.
        let known = subject::known(Some(&path), &recipe)?;
        let mut session = Session::prepare(recipe, known, ranks)?;
        let trainer = &mut session.trainer;
        let resumed = match &args.from {
            Some(checkpoint) => trainer.resume_from(&path, checkpoint),
            None => trainer.resume(&path),
        };
        match resumed {
            Err(TrainError::Checkpoint { before: Some(ref before), .. }) => {
                let (run, before) = (path.display(), before.display());
                let advice = format!("go on from that one: cargo xtask train --resume {run} --from {before}");
                resumed.advise(advice)?;
            }
            resumed => resumed?,
        }
        Ok(Self { session, path, display: args.display })
    }

    fn run(mut self, args: &Args, ranks: &dyn Ranks) -> Result<ExitCode> {
        let epochs = self.session.recipe.train.epochs;
        if let Some(summary) = self.finished(ranks)? {
            note(format_args!("{} is finished: {}", self.path.display(), ending(&summary, epochs)));
            return self.show(&summary, args).map(|()| ExitCode::SUCCESS);
        }
        note(self.header());
        let stop = stop_on_interrupt()?;
        let summary = self.fit(stop)?;
        let finished = summary.ended != Ended::Interrupted && self.test(stop)?;
        if !finished {
            let (step, path) = (thousands(summary.steps), self.path.display());
            note(format_args!(
                "stopped after step {step}, {} of {epochs} epochs over; saved",
                summary.epochs
            ));
            note(format_args!("to go on: cargo xtask train --resume {path}"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        note(format_args!("finished: {}", ending(&summary, epochs)));
        self.show(&self.session.trainer.summary(summary.ended), args)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the run came to, if nothing of it is left to do.
    fn finished(&self, ranks: &dyn Ranks) -> Result<Option<Summary>> {
        let Some(ended) = self.session.trainer.ended() else { return Ok(None) };
        let summary = run::summary(&self.path)?.filter(|summary| summary.test.is_some());
        // Rank 0 decides: others may look a moment later, or not see its folder.
        let lead = ranks.gather(&[u8::from(summary.is_some())])?.swap_remove(0);
        let summary = summary.unwrap_or_else(|| self.session.trainer.summary(ended));
        Ok((lead == [1]).then_some(summary))
    }

    fn fit(&mut self, stop: &AtomicBool) -> Result<Summary> {
        let title = self.session.title();
        let Session { trainer, parts, model, .. } = &mut self.session;
        let (epochs, judge) = (trainer.config().epochs, parts.judge.name());
        let batches = parts.train.batches_per_epoch() as u64;
        let examples = parts.train.data().len() as u64;
        let scope = Scope { epochs, examples, batches, noun: T::EXAMPLES, part: judge };
        let display = match (trainer.shard(), self.display) {
            (Shard { of: 1, .. }, display) => display,
            // Several processes share a terminal: one of them speaks, in lines.
            (Shard { index: 0, .. }, Display::Auto | Display::Dashboard) => Display::Plain,
            (Shard { index: 0, .. }, display) => display,
            _ => Display::None,
        };
        let board = || Board::of(scope, title, &self.path);
        let mut progress = Progress::new(scope, display, board);
        let hear = |event: &nn_train::Event| {
            progress.hear(event);
            go_on(stop)
        };
        let Parts { train, eval, .. } = parts;
        let fitted = fit(trainer, train, eval, hear, |batch, ctx| model.outcome(batch, ctx));
        progress.end();
        let go_on = format!("cargo xtask train --resume {}", self.path.display());
        match fitted {
            Err(e @ TrainError::Diverged { .. }) => {
                Err(e).advise("try a lower --lr, --set schedule.warmup=2, or --set train.clip_norm=1")
            }
            Err(e @ TrainError::Unused { .. }) => {
                Err(e).advise("where that is meant, name them with --set 'train.unused=[\"NAME*\"]'")
            }
            fitted => fitted.advise(format!("the run can go on from its last checkpoint: {go_on}")),
        }
    }

    /// Measures the best weights on the test part, and puts into the report what there is to see of them; whether it was
    /// let finish.
    fn test(&mut self, stop: &AtomicBool) -> Result<bool> {
        let Session { trainer, parts, model, .. } = &mut self.session;
        let hear = |_: &nn_train::Event| go_on(stop);
        let tested = nn_train::test(trainer, &parts.test, hear, |batch, ctx| model.outcome(batch, ctx));
        let Some(evaluation) = tested.context("the run is finished, but could not be tested")? else {
            return Ok(false);
        };
        if trainer.shard().index > 0 {
            return Ok(true);
        }
        let illustrations = model.illustrate(parts.test.data(), &evaluation);
        let written = illustrations.and_then(|shown| {
            let shown = Illustrations { confusion: evaluation.confusion().cloned(), ..shown };
            Ok(report::write(&self.path, &shown)?)
        });
        written.context("the run is finished, but its report could not be completed")?;
        Ok(true)
    }

    fn header(&self) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
        self.session.facts().into_iter().for_each(|(name, value)| table.row([name, value]));
        let path = self.path.display();
        let (epochs, steps) = (self.session.recipe.train.epochs, self.session.trainer.steps());
        let epochs = format!("{epochs} epoch{}", if epochs == 1 { "" } else { "s" });
        let place = if steps == 0 {
            format!("{path}, new, {epochs}")
        } else {
            format!("{path}, goes on after step {}, {epochs} in all", thousands(steps))
        };
        table.row(["run".to_owned(), place]);
        format!("{}\n{table}", self.session.title())
    }

    /// The result, on standard output.
    fn show(&self, summary: &Summary, args: &Args) -> Result<()> {
        let file = |name: &str| self.path.join(name).display().to_string();
        if args.json {
            let document = json!({
                "run": self.path, "model": file(run::MODEL), "report": file(run::REPORT), "summary": summary,
            });
            return output::json(&document);
        }
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        let mut figures = |of: &str, figures: &Figures| {
            let rows = figures::rows(figures).into_iter();
            rows.for_each(|(name, value)| row(&format!("{of} {name}"), value));
        };
        summary.test.iter().for_each(|test| figures("test", test));
        summary.test_ema.iter().for_each(|test| figures("running mean, test", test));
        if let Some(best) = &summary.best {
            let part = self.session.parts.judge.name();
            row(
                "best epoch",
                format!("{} of {}, by the {part} part", best.epoch, summary.epochs.max(best.epoch)),
            );
        }
        let speed = thousands(summary.examples_per_second as u64);
        row("time", format!("{}, {speed} {}/s", duration(summary.seconds), T::EXAMPLES));
        row("model", file(run::MODEL));
        row("report", file(run::REPORT));
        output::line(format_args!("\n{table}"))
    }
}

/// What the run is about, for its report.
fn about<T: Task>(session: &Session<T>) -> Result<About> {
    let words = std::env::args().skip(1).map(|word| {
        let plain = word.chars().all(|c| c.is_alphanumeric() || "-_./=,:+@%".contains(c));
        if plain && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    let launcher = match session.trainer.shard() {
        Shard { of: 1, .. } => String::new(),
        Shard { of, .. } => format!("mpirun -n {of} "),
    };
    let start = session.recipe.train.weights.as_deref();
    Ok(About {
        title: session.title(),
        command: format!("{launcher}cargo xtask {}", words.collect::<Vec<_>>().join(" ")),
        classes: T::classes(&session.known),
        facts: session.facts(),
        provenance: start.map(provenance::of_start).transpose()?.unwrap_or_default(),
        ..About::default()
    })
}

/// Why a run is over.
fn ending(summary: &Summary, epochs: u64) -> String {
    let over = format!("{} of {epochs} epochs are over", summary.epochs);
    match summary.ended {
        Ended::Finished => format!("all {epochs} epochs are over"),
        Ended::Patience => format!("it no longer got better, {over}"),
        Ended::Steps => format!("{} steps are taken, {over}", thousands(summary.steps)),
        Ended::Seconds => format!("its time is over, {over}"),
        Ended::Interrupted => format!("interrupted, {over}"),
    }
}

pub(crate) fn go_on(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The folder asked for, or the first free one.
fn out(asked: Option<&Path>, name: &str, data: &str) -> Result<PathBuf> {
    if let Some(path) = asked {
        if path.symlink_metadata().is_ok() {
            let path = path.display();
            return Err(failed(format!("{path} exists and is not written over")))
                .advise(format!("go on with it by --resume {path}, or give --out another name"));
        }
        return Ok(path.to_owned());
    }
    let stem = if name.ends_with(&format!("-{data}")) { name.to_owned() } else { format!("{name}-{data}") };
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    let mut free = std::iter::once(stem.clone())
        .chain(numbered)
        .map(|name| Path::new("runs").join(name))
        .filter(|path| path.symlink_metadata().is_err());
    let Some(path) = free.next() else { unreachable!("numbers do not end") };
    Ok(path)
}

/// From now on Ctrl-C sets the flag this returns; a second one ends the program at once, which no file minds.
pub(crate) fn stop_on_interrupt() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(interrupt).context("cannot listen for Ctrl-C")?;
    Ok(&STOP)
}

static STOP: AtomicBool = AtomicBool::new(false);

/// What Ctrl-C does.
pub(crate) fn interrupt() {
    if STOP.swap(true, Ordering::Relaxed) {
        dashboard::restore();
        exit(i32::from(INTERRUPTED));
    }
    note("\nfinishing the step; Ctrl-C again stops at once");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_folders_are_refused_when_asked_for() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let error = crate::failure::report(&out(Some(dir.path()), "cnn", "digits").expect_err("it exists"));
        assert!(error.contains("not written over") && error.contains("--resume"), "{error}");
        let free = dir.path().join("a");
        assert_eq!(out(Some(&free), "cnn", "digits")?, free);
        Ok(())
    }
}
