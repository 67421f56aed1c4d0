//! What `eval`, `predict` and `summary` are about: a run's folder, or a model by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nn_train::run;

use crate::data::DataName;
use crate::device::DeviceName;
use crate::failure::{Advise, failed};
use crate::model;
use crate::recipe::{self, Recipe};
use crate::task::{Entry, Pictures, Task};

/// A model with its weights, and the data it is about.
pub(crate) struct Subject<T: Task> {
    /// The folder, of a run.
    run: Option<PathBuf>,
    pub(crate) recipe: Recipe<T>,
    pub(crate) weights: PathBuf,
}

/// A model that can be asked.
pub(crate) struct Ready<T: Task> {
    pub(crate) recipe: Recipe<T>,
    pub(crate) known: T::Known,
    pub(crate) model: T,
    pub(crate) weights: PathBuf,
}

impl<T: Task> Subject<T> {
    /// Finds out what `name` names; `weights` replaces a run's best, and is needed with a model's name.
    pub(crate) fn find(name: &str, weights: Option<&Path>) -> Result<Self> {
        if let Some((text, origin)) = recipe_of_run(name)? {
            let recipe = Recipe::<T>::read(&text, &origin)?;
            let best = Path::new(name).join(run::MODEL);
            if weights.is_none() && !best.is_file() {
                return Err(failed(format!("{name} has no {} yet", run::MODEL))).advise(
                    "it is written after the first epoch; resume the run with cargo xtask train --resume",
                );
            }
            let weights = weights.map_or(best, Path::to_owned);
            return Ok(Self { run: Some(Path::new(name).to_owned()), recipe, weights });
        }
        let recipe = T::named(name)?;
        let Some(weights) = weights else {
            return Err(failed(format!("{name} is a model without weights")))
                .advise("give them with --weights FILE, or name a run's folder");
        };
        Ok(Self { run: None, recipe, weights: weights.to_owned() })
    }

    /// Changes the data to what was asked for.
    ///
    /// # Errors
    /// If the task knows no data by name.
    pub(crate) fn choose_data(&mut self, name: Option<DataName>, dir: Option<&Path>) -> Result<()> {
        if let Some(name) = name
            && T::choose(&mut self.recipe, name)?
        {
            self.run = None;
        }
        T::locate(&mut self.recipe.data, dir);
        Ok(())
    }

    /// What is known of the training data: as the run has kept it, else as the data tell.
    ///
    /// # Errors
    /// If neither can be read.
    pub(crate) fn known(&self) -> Result<T::Known> {
        known(self.run.as_deref(), &self.recipe)
    }

    /// Takes from known weights what they expect of network and data.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn follow_weights(&mut self) -> Result<()> {
        T::follow_weights(&mut self.recipe, self.run.is_none().then_some(&*self.weights))
    }

    /// Builds the model and loads its weights.
    ///
    /// # Errors
    /// If they do not fit it.
    pub(crate) fn ready(mut self, device: DeviceName) -> Result<Ready<T>> {
        self.follow_weights()?;
        let known = self.known()?;
        let store = model::inference();
        let model = T::build(&self.recipe, &known, &store, &device.open()?)?;
        model.load(&store, &self.weights)?;
        Ok(Ready { recipe: self.recipe, known, model, weights: self.weights })
    }
}

/// What is known of the training data: as the run in the folder has kept it, else as the data tell.
///
/// # Errors
/// If neither can be read.
pub(crate) fn known<T: Task>(run: Option<&Path>, recipe: &Recipe<T>) -> Result<T::Known> {
    let kept = run.map(|path| Ok::<_, anyhow::Error>((path, run::known(path)?)));
    let Some((path, Some(text))) = kept.transpose()? else { return T::learn(recipe) };
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.join(run::KNOWN).display()))
}

/// The task of a run; pictures, if `name` is none.
pub(crate) fn task(name: &str) -> Result<&'static Entry> {
    match recipe_of_run(name)? {
        Some((text, origin)) => recipe::task_of(&text, &origin),
        None => Ok(Entry::pictures()),
    }
}

/// The model for pictures of a run, of a recipe, or of the zoo.
pub(crate) fn plan(name: &str) -> Result<model::Plan> {
    let Some((text, origin)) = recipe_of_run(name)? else { return Ok(Pictures::named(name)?.model) };
    let task = recipe::task_of(&text, &origin)?.name;
    if task != Pictures::NAME {
        return Err(failed(format!(
            "{name} is a run for the task {task}: only models for pictures have that"
        )));
    }
    Ok(recipe::parse::<Recipe<Pictures>>(&text, &origin)?.model)
}

/// The text of the recipe in the folder `name`, and what messages call it; nothing if that is no folder.
fn recipe_of_run(name: &str) -> Result<Option<(String, String)>> {
    let path = Path::new(name);
    if !path.is_dir() {
        return Ok(None);
    }
    let text = run::recipe(path)
        .advise("a run's folder is what `cargo xtask train` makes, for example runs/lenet5-digits")?;
    Ok(Some((text, path.join(run::RECIPE).display().to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data, failure};

    #[test]
    fn names_are_models_or_recipes_and_models_need_weights() -> Result<()> {
        assert_eq!(plan("lenet5_relu")?.name, "lenet5_relu");
        assert_eq!(plan("lenet5-relu")?.name, "lenet5_relu");
        let error = failure::report(&Subject::<Pictures>::find("cnn", None).err().expect("no weights"));
        assert!(error.contains("--weights"), "{error}");
        let error = failure::report(&plan("lenet").expect_err("no such model"));
        assert!(error.contains("did you mean `lenet5`?"), "{error}");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_no_run_is_said_to_be_none() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let name = dir.path().to_string_lossy().into_owned();
        let error = failure::report(&plan(&name).expect_err("an empty folder"));
        assert!(error.contains(&name) && error.contains("no run"), "{error}");
        Ok(())
    }

    #[test]
    fn other_data_replace_the_runs_whole_plan() -> Result<()> {
        let mut subject = Subject::<Pictures>::find("cnn", Some(Path::new("w")))?;
        subject.recipe.data = data::Plan {
            name: data::DataName::Mnist,
            dir: Some("/m".into()),
            test_examples: Some(5),
            ..data::Plan::default()
        };
        subject.choose_data(Some(data::DataName::Mnist), None)?;
        assert_eq!(
            (subject.recipe.data.dir.as_deref(), subject.recipe.data.test_examples),
            (Some(Path::new("/m")), Some(5))
        );
        subject.choose_data(Some(data::DataName::Digits), None)?;
        assert_eq!(subject.recipe.data, data::Plan::default());
        Ok(())
    }
}
