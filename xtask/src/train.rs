//! `train`: a recipe becomes a run, or a run goes on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nn_core::{ParamStore, Random};
use nn_train::data::{Dataset, Loader, LoaderConfig, Order, Part};
use nn_train::run::{self, About, Begin};
use nn_train::{Ended, Scale, Summary, TrainError, Trainer, fit, report};
use serde_json::json;

use crate::data::DataName;
use crate::device::DeviceName;
use crate::failure::{Advise, failed};
use crate::figures;
use crate::output::{self, Align, Table, duration, note, thousands};
use crate::progress::{self, Progress};
use crate::recipe::{self, Decay, Recipe, Setting, Train};
use crate::task::{self, Task};
use crate::transfer::Frozen;

const EXAMPLES: &str = "Examples:
  cargo xtask train lenet5
  cargo xtask train lenet5 --data mnist --data-dir data/mnist --epochs 5
  cargo xtask train cnn --lr 0.01 --set optimizer.nesterov=true
  cargo xtask train sentiment-lstm --data-dir data
  cargo xtask train mobilenet_v2-hymenoptera --data-dir data --weights mobilenet_v2.safetensors
  cargo xtask train --resume runs/lenet5-mnist

Every key of a recipe is explained in the files of xtask/recipes.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    /// Data set of pictures [default: the recipe's]
    #[arg(long, value_enum, value_name = "NAME")]
    data: Option<DataName>,
    /// Folder of the data set's files [default: the recipe's, or NN_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Encoding of text files: utf-8, windows-1252, … [default: the recipe's]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Passes over the training examples
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Examples a step
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate after warm-up
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// What everything random is drawn from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where to compute
    #[arg(long, value_enum, value_name = "NAME")]
    device: Option<DeviceName>,
    /// Start from these weights (safetensors or PyTorch's); a head for other classes is left out
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What stays as the weights have it: none, head-only (all but a new head), until=LAYER (all before a layer)
    #[arg(long, value_name = "WAY")]
    freeze: Option<Frozen>,
    /// Go on with a run; its settings are those it was started with
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "data", "encoding", "epochs", "batch_size", "lr", "seed", "device", "weights", "freeze", "out", "settings"])]
    resume: Option<PathBuf>,
    /// Folder to make for the run [default: runs/RECIPE-DATA, with a number if that is taken]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Change any key of the recipe, for example --set optimizer.momentum=0.5
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Setting::parse)]
    settings: Vec<Setting>,
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

/// A run that is ready to go.
struct Session<T: Task> {
    recipe: Recipe<T>,
    known: T::Known,
    store: ParamStore,
    model: T,
    trainer: Trainer,
    train: Loader<T::Set>,
    test: Loader<T::Set>,
    path: PathBuf,
}

/// How the shell knows a program that was interrupted.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
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
    (recipe::task_of(text, &start.origin())?.train)(args, start)
}

pub(crate) fn run_task<T: Task>(args: &Args, start: Start) -> Result<ExitCode> {
    let origin = start.origin();
    let session = match start {
        Start::Create { name, text } => Session::<T>::create(&name, &text, args)?,
        Start::Resume { path, text } => {
            let recipe: Recipe<T> = recipe::parse(&text, &origin)?;
            Session::resume(recipe, path, args.data_dir.as_deref())?
        }
    };
    session.run(args)
}

impl Start {
    fn origin(&self) -> String {
        match self {
            Self::Create { name, .. } => name.clone(),
            Self::Resume { path, .. } => path.join(run::RECIPE).display().to_string(),
        }
    }
}

impl<T: Task> Session<T> {
    fn create(name: &str, text: &str, args: &Args) -> Result<Self> {
        let mut recipe = Recipe::<T>::resolve(text, name, &settings(args))?;
        T::locate(&mut recipe.data, args.data_dir.as_deref());
        recipe.check()?;
        let weights = recipe.train.weights.clone();
        T::follow_weights(&mut recipe, weights.as_deref()).context("cannot start from these weights")?;
        let freeze = &recipe.train.freeze;
        if *freeze != Frozen::None && recipe.train.weights.is_none() {
            return Err(failed(format!(
                "train.freeze = \"{freeze}\" keeps what weights have, and there are none"
            )))
            .advise("give them with --weights FILE, or let all learn with --freeze none");
        }
        let [_, data] = T::title(&recipe);
        let path = out(args.out.as_deref(), name, &data)?;
        let mut session = Self::prepare(recipe, path)?;
        if let Some(weights) = &session.recipe.train.weights {
            let started = session.model.start(&session.store, weights);
            started.context("cannot start from these weights")?;
        }
        let (recipe, about) = (session.recipe.to_toml()?, session.about());
        let known =
            serde_json::to_string(&session.known).context("cannot write what is known of the data")?;
        let begin = Begin { recipe: &recipe, known: &known, about };
        let made = session.trainer.create(&session.path, begin);
        made.with_context(|| format!("cannot make the run's folder {}", session.path.display()))
            .advise("choose a folder that can be written with --out")?;
        Ok(session)
    }

    fn resume(mut recipe: Recipe<T>, path: PathBuf, data_dir: Option<&Path>) -> Result<Self> {
        T::locate(&mut recipe.data, data_dir);
        recipe.check()?;
        let mut session = Self::prepare(recipe, path)?;
        session.trainer.resume(&session.path)?;
        Ok(session)
    }

    /// Everything that can go wrong before a folder is made.
    fn prepare(recipe: Recipe<T>, path: PathBuf) -> Result<Self> {
        let Train { batch_size, seed, decay, device, .. } = recipe.train;
        let device = device.open()?;
        let known = T::learn(&recipe)?;
        let train = Arc::new(T::open(&recipe, &known, Part::Train)?);
        let test = Arc::new(T::open(&recipe, &known, Part::Test)?);
        let store = ParamStore::new(seed);
        let model = T::build(&recipe, &known, &store, &device)?;
        let mut trainer = Trainer::new(&store, recipe.fit_config())?;
        model.group(&recipe, &mut trainer)?;
        if decay == Decay::Weights {
            trainer.scale(Scale { weight_decay: 0.0, ..Scale::default() }, |_, var| var.rank() < 2)?;
        }
        let config = LoaderConfig { batch_size, workers: T::workers(&recipe), ..LoaderConfig::default() };
        let random = Random::new(seed).at("data");
        let train = Loader::new(train, LoaderConfig { order: Order::Shuffled, ..config }, random)?;
        let test = Loader::new(test, config, random)?;
        Ok(Self { recipe, known, store, model, trainer, train, test, path })
    }

    fn run(mut self, args: &Args) -> Result<ExitCode> {
        let summary = self.trainer.summary(Ended::Finished);
        let epochs = self.recipe.train.epochs;
        if summary.epochs >= epochs && self.path.join(run::METRICS).is_file() {
            note(format_args!("{} is finished: all {epochs} epochs are over", self.path.display()));
            return self.show(&summary, args).map(|()| ExitCode::SUCCESS);
        }
        note(self.header());
        let stop = stop_on_interrupt()?;
        let summary = self.fit(stop)?;
        if summary.ended == Ended::Interrupted {
            let (step, path) = (thousands(summary.steps), self.path.display());
            note(format_args!(
                "stopped after step {step}, {} of {epochs} epochs over; saved",
                summary.epochs
            ));
            note(format_args!("to go on: cargo xtask train --resume {path}"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        self.illustrate().context("the run is finished, but its report could not be completed")?;
        self.show(&summary, args)?;
        Ok(ExitCode::SUCCESS)
    }

    fn fit(&mut self, stop: &AtomicBool) -> Result<Summary> {
        let Self { trainer, train, test, model, .. } = self;
        let mut progress = Progress::new(trainer.config().epochs, train.data().len(), T::EXAMPLES);
        note(format_args!("\n{}", progress::head(T::EXAMPLES)));
        let hear = |event: &nn_train::Event| {
            progress.hear(event);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let fitted = fit(trainer, train, test, hear, |batch, ctx| model.outcome(batch, ctx));
        progress.end();
        let go_on = format!("cargo xtask train --resume {}", self.path.display());
        match fitted {
            Err(e @ TrainError::Diverged { .. }) => {
                Err(e).advise("try a lower --lr, --set schedule.warmup=2, or --set train.clip_norm=1")
            }
            fitted => fitted.advise(format!("the run can go on from its last checkpoint: {go_on}")),
        }
    }

    /// Puts into the report what there is to see of the best weights.
    fn illustrate(&self) -> Result<()> {
        let model = &self.model;
        model.load(&self.store, &self.path.join(run::MODEL))?;
        let evaluation = task::evaluation(model, &self.test)?;
        Ok(report::write(&self.path, &model.illustrate(self.test.data(), &evaluation)?)?)
    }

    fn title(&self) -> String {
        T::title(&self.recipe).join(" on ")
    }

    /// What the run is, in pairs.
    fn facts(&self) -> Vec<(String, String)> {
        let count = |n: usize| thousands(n as u64);
        let [model, data] = T::title(&self.recipe);
        let loaded = |loader: &Loader<T::Set>| count(loader.data().len());
        let device = serde_json::to_value(self.recipe.train.device).unwrap_or_default();
        let device = device.as_str().unwrap_or_default().to_owned();
        let threads = rayon::current_num_threads();
        let threads = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        let store = &self.store;
        let (trained, frozen) = (store.parameter_count(), store.frozen());
        let frozen: usize = frozen.iter().map(|(_, var)| var.elem_count()).sum();
        let trained = match frozen {
            0 => format!("{} parameters", count(trained)),
            _ => format!("{} of {} parameters are trained", count(trained), count(trained + frozen)),
        };
        [
            ("model", format!("{model}, {trained}")),
            (
                "data",
                format!(
                    "{data}, {} training and {} test {}",
                    loaded(&self.train),
                    loaded(&self.test),
                    T::EXAMPLES
                ),
            ),
            ("device", format!("{device}, {threads}")),
            ("seed", self.recipe.train.seed.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn about(&self) -> About {
        let words = std::env::args().skip(1).map(|word| {
            let plain = word.chars().all(|c| c.is_alphanumeric() || "-_./=,:+@%".contains(c));
            if plain && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
        });
        About {
            title: self.title(),
            command: format!("cargo xtask {}", words.collect::<Vec<_>>().join(" ")),
            classes: T::classes(&self.known),
            facts: self.facts(),
            ..About::default()
        }
    }

    fn header(&self) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
        self.facts().into_iter().for_each(|(name, value)| table.row([name, value]));
        let path = self.path.display();
        let (epochs, steps) = (self.recipe.train.epochs, self.trainer.steps());
        let epochs = format!("{epochs} epoch{}", if epochs == 1 { "" } else { "s" });
        let place = if steps == 0 {
            format!("{path}, new, {epochs}")
        } else {
            format!("{path}, goes on after step {}, {epochs} in all", thousands(steps))
        };
        table.row(["run".to_owned(), place]);
        format!("{}\n{table}", self.title())
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
        if let Some(best) = &summary.best {
            figures::rows(&best.eval)
                .into_iter()
                .for_each(|(name, value)| row(&format!("test {name}"), value));
            row("best epoch", format!("{} of {}", best.epoch, summary.epochs));
        }
        let speed = thousands(summary.examples_per_second as u64);
        row("time", format!("{}, {speed} {}/s", duration(summary.seconds), T::EXAMPLES));
        row("model", file(run::MODEL));
        row("report", file(run::REPORT));
        output::line(format_args!("\n{table}"))
    }
}

/// The options that stand for keys, then `--set`, which has the last word.
fn settings(args: &Args) -> Vec<Setting> {
    let quoted = |name: DataName| format!("\"{}\"", name.facts().name);
    let device = |name: DeviceName| serde_json::to_string(&name).unwrap_or_default();
    let file = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        serde_json::to_string(&path).unwrap_or_default()
    };
    let options = [
        args.data.map(|v| Setting::option("--data", "data.name", quoted(v))),
        args.encoding.as_ref().map(|v| Setting::option("--encoding", "data.encoding", format!("\"{v}\""))),
        args.epochs.map(|v| Setting::option("--epochs", "train.epochs", v)),
        args.batch_size.map(|v| Setting::option("--batch-size", "train.batch_size", v)),
        args.lr.map(|v| Setting::option("--lr", "schedule.lr", v)),
        args.seed.map(|v| Setting::option("--seed", "train.seed", v)),
        args.device.map(|v| Setting::option("--device", "train.device", device(v))),
        args.weights.as_ref().map(|v| Setting::option("--weights", "train.weights", file(v))),
        args.freeze.as_ref().map(|v| Setting::option("--freeze", "train.freeze", format!("\"{v}\""))),
    ];
    options.into_iter().flatten().chain(args.settings.iter().cloned()).collect()
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
fn stop_on_interrupt() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            exit(i32::from(INTERRUPTED));
        }
        note("\nfinishing the step; Ctrl-C again stops at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&STOP)
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
