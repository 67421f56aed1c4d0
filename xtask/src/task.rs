//! What can be trained: each kind of task is a file in this folder and a row of [`TASKS`]; docs/add-a-task.md tells how.

mod adding;
mod entities;
mod forecast;
pub(crate) mod language;
mod lines;
pub(crate) mod network;
mod pairs;
mod parts;
mod pictures;
mod sentences;
mod toy;
mod translation;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::Device;
use nn_core::weights::WeightFile;
use nn_core::{Ctx, ParamStore};
use nn_train::data::{Dataset, Loader, Part};
use nn_train::report::Illustrations;
use nn_train::{Evaluation, Outcome, Ranks, Trainer, evaluate};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::DataName;
use crate::failure::{self, Advise, failed};
use crate::recipe::Recipe;
use crate::{eval, lr_find, predict, schedule, train};

use self::adding::Adding;
use self::entities::Entities;
use self::forecast::Forecast;
use self::language::Language;
pub(crate) use self::parts::{Judge, Neighbours, Parts};
pub(crate) use self::pictures::Pictures;
use self::sentences::Sentences;
use self::toy::Toy;
use self::translation::Translation;

/// A model with all it needs to be trained and asked, and how it comes about.
///
/// The order of a run: a recipe is read and [`check`](Task::check)ed, the training data are [`learn`](Task::learn)ed
/// from, both parts are [`open`](Task::open)ed, the model is [`build`](Task::build)t, every batch becomes an
/// [`outcome`](Task::outcome), and in the end the report is [`illustrate`](Task::illustrate)d. Evaluation and prediction
/// build it the same way and [`load`](Task::load) the run's best weights.
pub(crate) trait Task: Sized + 'static {
    /// As a recipe says it: `task = "…"`.
    const NAME: &'static str;
    /// What several examples are called: images, sentences.
    const EXAMPLES: &'static str;
    /// Whether `train.freeze` and `train.backbone_lr` mean something to it.
    const FREEZES: bool = false;
    /// Whether each example is of a class: `train.split` and `train.sampling` go by them.
    const CLASSES: bool = false;

    /// The table `[model]`.
    type Model: Serialize + DeserializeOwned;
    /// The table `[data]`.
    type Data: Default + Serialize + DeserializeOwned;
    /// The table `[augment]`: [`crate::recipe::Nothing`] for most.
    type Augment: Default + PartialEq + Serialize + DeserializeOwned;
    /// What the training data tell before there is a model: classes, a vocabulary, a scale. It is kept in the run, so that
    /// nobody who asks the model needs the data.
    type Known: Serialize + DeserializeOwned;
    /// A part of the data.
    type Set: Dataset;

    /// # Errors
    /// If a value of the task's tables is impossible; the message names its key. Nothing is loaded to find out.
    fn check(recipe: &Recipe<Self>) -> Result<()>;

    /// What the model and the data are called.
    fn title(recipe: &Recipe<Self>) -> [String; 2];

    /// Fills in the folder of the data's files: `given` on the command line, or as [`crate::data::locate`] finds it.
    fn locate(data: &mut Self::Data, given: Option<&Path>);

    /// # Errors
    /// If the files are missing or not what they should be.
    fn learn(recipe: &Recipe<Self>) -> Result<Self::Known>;

    /// # Errors
    /// If the files are missing or not what they should be, or the model cannot take them.
    fn open(recipe: &Recipe<Self>, known: &Self::Known, part: Part) -> Result<Self::Set>;

    /// With parameters in `store`: drawn, or blank where they are to be loaded.
    ///
    /// # Errors
    /// If the tables do not go together.
    fn build(recipe: &Recipe<Self>, known: &Self::Known, store: &ParamStore, device: &Device)
    -> Result<Self>;

    /// The loss of a batch, and what was decided; in training and in evaluation, as the context says.
    ///
    /// # Errors
    /// If the batch is not what the model takes.
    fn outcome(&self, batch: &<Self::Set as Dataset>::Batch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome>;

    /// What a person wants to see of the trained model, for the report; `evaluation` is that of `test`.
    ///
    /// # Errors
    /// If the model or the data fail.
    fn illustrate(&self, test: &Self::Set, evaluation: &Evaluation) -> Result<Illustrations>;

    /// `cargo xtask predict`: prints what the model makes of the inputs. [`crate::subject::Subject::ready`] loads the model.
    ///
    /// # Errors
    /// If an input is not what the model takes.
    fn predict(args: &predict::Args) -> Result<()>;

    /// Takes from weights that are published what they expect of network and data, where the recipe says nothing.
    ///
    /// # Errors
    /// If the file cannot be read.
    fn follow_weights(_recipe: &mut Recipe<Self>, _weights: Option<&Path>) -> Result<()> {
        Ok(())
    }

    /// The names of the classes, where there are any, for the report.
    fn classes(_known: &Self::Known) -> Vec<String> {
        Vec::new()
    }

    /// Examples of a batch of `cargo xtask eval`.
    fn eval_batch(recipe: &Recipe<Self>) -> usize {
        recipe.train.batch_size
    }

    /// The part that the best epoch is chosen on where the recipe holds none out, if the data have one.
    ///
    /// # Errors
    /// As [`Task::open`].
    fn validation(_recipe: &Recipe<Self>, _known: &Self::Known) -> Result<Option<Self::Set>> {
        Ok(None)
    }

    /// The training part as it is in evaluation: nothing about it is drawn. Some of it may be held out.
    ///
    /// # Errors
    /// As [`Task::open`].
    fn still(recipe: &Recipe<Self>, known: &Self::Known) -> Result<Self::Set> {
        Self::open(recipe, known, Part::Train)
    }

    /// Whether an example is by itself or goes over into the next.
    fn neighbours(_recipe: &Recipe<Self>) -> Neighbours {
        Neighbours::Strangers
    }

    /// The class of each example, where it is of one.
    fn labels(_set: &Self::Set) -> Option<Vec<u32>> {
        None
    }

    /// Threads that make batches.
    fn workers(_recipe: &Recipe<Self>) -> usize {
        1
    }

    /// Replaces every parameter by the file's.
    ///
    /// # Errors
    /// If names and shapes do not fit the model; the error lists each that does not.
    fn load(&self, store: &ParamStore, weights: &Path) -> Result<()> {
        let file = WeightFile::open(weights)?;
        let report = store.compare_with(&file);
        if !report.fits() {
            let lines = failure::mismatch_lines(&report).join("\n");
            return Err(failed(lines).context(format!("{} does not fit the model", weights.display())));
        }
        store.load_file(&file)?;
        Ok(())
    }

    /// Starts a run from `train.weights`.
    ///
    /// # Errors
    /// As [`Task::load`].
    fn start(&self, store: &ParamStore, weights: &Path) -> Result<()> {
        self.load(store, weights)
    }

    /// Lets groups of parameters learn at their own rates.
    ///
    /// # Errors
    /// If a factor is negative or not finite.
    fn group(&self, _recipe: &Recipe<Self>, _trainer: &mut Trainer) -> Result<()> {
        Ok(())
    }

    /// The recipe of a model that is known by its name, without a run.
    ///
    /// # Errors
    /// If there is no such model.
    fn named(name: &str) -> Result<Recipe<Self>> {
        Err(failed(format!("{name} is no run's folder")))
    }

    /// Turns a recipe to other data, for `--data`; whether it had others.
    ///
    /// # Errors
    /// If the task knows no data by name.
    fn choose(_recipe: &mut Recipe<Self>, _name: DataName) -> Result<bool> {
        Err(failed(format!("--data names pictures, and the run is for the task {}", Self::NAME)))
            .advise("give the folder of other data with --data-dir")
    }
}

/// A pass over a whole part in evaluation mode.
///
/// # Errors
/// What the model and the data say.
pub(crate) fn evaluation<T: Task>(model: &T, part: &Loader<T::Set>) -> Result<Evaluation> {
    let evaluation = evaluate(part, |_| ControlFlow::Continue(()), |batch, ctx| model.outcome(batch, ctx))?;
    evaluation.context("the evaluation was stopped")
}

/// A task by its name: the commands, each for that task.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) train: fn(&train::Args, train::Start, &Arc<dyn Ranks>) -> Result<ExitCode>,
    pub(crate) lr_find: fn(&lr_find::Args, &str, &str) -> Result<ExitCode>,
    pub(crate) schedule: fn(&schedule::Args, &str, &str) -> Result<()>,
    pub(crate) eval: fn(&eval::Args) -> Result<()>,
    pub(crate) predict: fn(&predict::Args) -> Result<()>,
    /// What a recipe's text says; the second text is what messages call it.
    pub(crate) read: fn(&str, &str) -> Result<Read>,
}

/// A recipe that was read and checked.
pub(crate) struct Read {
    pub(crate) model: String,
    pub(crate) data: String,
    /// As a run keeps it.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it"))]
    pub(crate) text: String,
}

/// Every task.
static TASKS: &[Entry] = &[
    Entry::of::<Pictures>(),
    Entry::of::<Sentences>(),
    Entry::of::<Language>(),
    Entry::of::<Forecast>(),
    Entry::of::<Toy>(),
    Entry::of::<Adding>(),
    Entry::of::<Entities>(),
    Entry::of::<Translation>(),
];

impl Entry {
    const fn of<T: Task>() -> Self {
        Self {
            name: T::NAME,
            train: train::run_task::<T>,
            lr_find: lr_find::run_task::<T>,
            schedule: schedule::run_task::<T>,
            eval: eval::run_task::<T>,
            predict: T::predict,
            read: read::<T>,
        }
    }

    /// The one of recipes that name none, and of models without a run.
    pub(crate) fn pictures() -> &'static Self {
        const { &Self::of::<Pictures>() }
    }

    /// # Errors
    /// If there is no such task.
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
        TASKS.iter().find(|task| task.name == name).ok_or_else(|| failure::unknown("task", name, &names))
    }
}

fn read<T: Task>(text: &str, origin: &str) -> Result<Read> {
    let recipe = Recipe::<T>::read(text, origin)?;
    let [model, data] = T::title(&recipe);
    Ok(Read { model, data, text: recipe.to_toml()? })
}
