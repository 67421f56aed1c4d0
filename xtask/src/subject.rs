//! What `eval`, `predict` and `summary` are about: a run's folder, or a model by name.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nn_train::run;

use crate::failure::{self, Advise, failed};
use crate::recipe::{self, EMBEDDED, Recipe};
use crate::{data, model};

/// A model with its weights, and the data it is about.
pub(crate) struct Subject {
    /// The folder, of a run.
    run: Option<PathBuf>,
    pub(crate) model: model::Plan,
    pub(crate) data: data::Plan,
    pub(crate) weights: PathBuf,
}

impl Subject {
    /// Finds out what `name` names; `weights` replaces a run's best, and is needed with a model's name.
    pub(crate) fn find(name: &str, weights: Option<&Path>) -> Result<Self> {
        if let Some(recipe) = recipe_of_run(name)? {
            let best = Path::new(name).join(run::MODEL);
            if weights.is_none() && !best.is_file() {
                return Err(failed(format!("{name} has no {} yet", run::MODEL))).advise(
                    "it is written after the first epoch; resume the run with cargo xtask train --resume",
                );
            }
            let weights = weights.map_or(best, Path::to_owned);
            let run = Some(Path::new(name).to_owned());
            return Ok(Self { run, model: recipe.model, data: recipe.data, weights });
        }
        let model = plan(name)?;
        let Some(weights) = weights else {
            return Err(failed(format!("{name} is a model without weights")))
                .advise("give them with --weights FILE, or name a run's folder");
        };
        Ok(Self { run: None, model, data: data::Plan::default(), weights: weights.to_owned() })
    }

    /// Changes the data to what was asked for.
    pub(crate) fn choose_data(&mut self, name: Option<data::DataName>, dir: Option<&Path>) {
        if let Some(name) = name.filter(|name| *name != self.data.name) {
            self.data = data::Plan { name, ..data::Plan::default() };
            self.run = None;
        }
        self.data.locate(dir);
    }
}

impl Subject {
    /// The names of the classes: as a run has kept them, else as the data set has them.
    ///
    /// # Errors
    /// If neither can be read.
    pub(crate) fn classes(&self) -> Result<Vec<String>> {
        if let Some(path) = &self.run {
            let created = run::events(path)?.into_iter().find_map(|event| match event {
                nn_train::Event::Created(about) => Some(about.classes),
                _ => None,
            });
            if let Some(classes) = created.filter(|classes| !classes.is_empty()) {
                return Ok(classes);
            }
        }
        self.data.classes()
    }
}

/// The model of a run, of a recipe, or of the zoo.
pub(crate) fn plan(name: &str) -> Result<model::Plan> {
    if let Some(recipe) = recipe_of_run(name)? {
        return Ok(recipe.model);
    }
    if model::names().contains(&name) {
        return model::Plan::named(name);
    }
    if let Some((_, text)) = EMBEDDED.iter().find(|(recipe, _)| *recipe == name) {
        return Ok(recipe::parse(text, name)?.model);
    }
    Err(failure::unknown("run folder or model", name, &model::names()))
}

/// The recipe in the folder `name`; nothing if that is no folder.
fn recipe_of_run(name: &str) -> Result<Option<Recipe>> {
    let path = Path::new(name);
    if !path.is_dir() {
        return Ok(None);
    }
    let text = run::recipe(path)
        .advise("a run's folder is what `cargo xtask train` makes, for example runs/lenet5-digits")?;
    let recipe = recipe::parse(&text, &path.join(run::RECIPE).display().to_string())?;
    recipe.check()?;
    Ok(Some(recipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_models_or_recipes_and_models_need_weights() -> Result<()> {
        assert_eq!(plan("lenet5_relu")?.name, "lenet5_relu");
        assert_eq!(plan("lenet5-relu")?.name, "lenet5_relu");
        let error = failure::report(&Subject::find("cnn", None).err().expect("no weights"));
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
        let mut subject = Subject::find("cnn", Some(Path::new("w")))?;
        subject.data = data::Plan {
            name: data::DataName::Mnist,
            dir: Some("/m".into()),
            test_examples: Some(5),
            ..data::Plan::default()
        };
        subject.choose_data(Some(data::DataName::Mnist), None);
        assert_eq!(
            (subject.data.dir.as_deref(), subject.data.test_examples),
            (Some(Path::new("/m")), Some(5))
        );
        subject.choose_data(Some(data::DataName::Digits), None);
        assert_eq!(subject.data, data::Plan::default());
        Ok(())
    }
}
