//! A recipe made ready to train: data, model, optimiser; nothing is written.

use std::sync::Arc;

use anyhow::{Context, Result};
use nn_core::ParamStore;
use nn_train::data::{Dataset, Shard};
use nn_train::{Ranks, Scale, Trainer};

use crate::failure::{Advise, failed};
use crate::options::Options;
use crate::output::thousands;
use crate::recipe::{self, Decay, Recipe, Train, groups};
use crate::task::{Judge, Parts, Task};
use crate::transfer::Frozen;

/// All that training needs.
pub(crate) struct Session<T: Task> {
    pub(crate) recipe: Recipe<T>,
    pub(crate) known: T::Known,
    pub(crate) store: ParamStore,
    pub(crate) model: T,
    pub(crate) trainer: Trainer,
    pub(crate) parts: Parts<T>,
}

/// The recipe in `text`, called `name`, as the options change it.
///
/// # Errors
/// If a value is impossible, or the weights to start from cannot be read.
pub(crate) fn resolve<T: Task>(name: &str, text: &str, options: &Options) -> Result<Recipe<T>> {
    let settings = options.settings();
    let mut recipe = Recipe::<T>::resolve(text, name, &settings)?;
    T::locate(&mut recipe.data, options.data_dir.as_deref());
    recipe.check().map_err(|error| recipe::place::blame(error, text, name, &settings))?;
    let weights = recipe.train.weights.clone();
    T::follow_weights(&mut recipe, weights.as_deref()).context("cannot start from these weights")?;
    let freeze = &recipe.train.freeze;
    if *freeze != Frozen::None && recipe.train.weights.is_none() {
        return Err(failed(format!(
            "train.freeze = \"{freeze}\" keeps what weights have, and there are none"
        )))
        .advise("give them with --weights FILE, or let all learn with --freeze none");
    }
    Ok(recipe)
}

impl<T: Task> Session<T> {
    /// With the weights that the recipe starts from.
    ///
    /// # Errors
    /// As [`Session::prepare`], and if nothing can be learnt of the data, or the weights do not fit.
    pub(crate) fn start(recipe: Recipe<T>, ranks: &Arc<dyn Ranks>) -> Result<Self> {
        let known = T::learn(&recipe)?;
        let session = Self::prepare(recipe, known, ranks)?;
        if let Some(weights) = &session.recipe.train.weights {
            let started = session.model.start(&session.store, weights);
            started.context("cannot start from these weights")?;
        }
        Ok(session)
    }

    /// With the weights that a new model starts from, and what is `known` of the data.
    ///
    /// # Errors
    /// If data are missing or not what they should be, or the model cannot be built.
    pub(crate) fn prepare(recipe: Recipe<T>, known: T::Known, ranks: &Arc<dyn Ranks>) -> Result<Self> {
        let Train { seed, decay, device, .. } = recipe.train;
        let device = device.open()?;
        let parts = Parts::open(&recipe, &known, ranks.shard())?;
        let store = ParamStore::new(seed);
        let model = T::build(&recipe, &known, &store, &device)?;
        let mut trainer = Trainer::new(&store, recipe.fit_config())?;
        trainer.join(Arc::clone(ranks));
        model.group(&recipe, &mut trainer)?;
        if decay == Decay::Weights {
            trainer.scale(Scale { weight_decay: 0.0, ..Scale::default() }, |_, var| var.rank() < 2)?;
        }
        groups::tell(&mut trainer, &recipe.train.scale, &recipe.train.unused)?;
        Ok(Self { recipe, known, store, model, trainer, parts })
    }

    /// `lenet5 on digits`
    pub(crate) fn title(&self) -> String {
        T::title(&self.recipe).join(" on ")
    }

    /// What the run is, in pairs.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let count = |n: usize| thousands(n as u64);
        let [model, data] = T::title(&self.recipe);
        let Parts { train, eval, test, judge } = &self.parts;
        let validation = match judge {
            Judge::Validation => format!(", {} validation", count(eval.data().len())),
            Judge::Test => String::new(),
        };
        let device = serde_json::to_value(self.recipe.train.device).unwrap_or_default();
        let device = device.as_str().unwrap_or_default().to_owned();
        let threads = rayon::current_num_threads();
        let threads = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        let Shard { of, .. } = self.trainer.shard();
        let batch = self.recipe.train.batch_size;
        let ranks = format!("{of} processes, of each {batch} {} a step: {} in all", T::EXAMPLES, of * batch);
        let store = &self.store;
        let (trained, frozen) = (store.parameter_count(), store.frozen());
        let frozen: usize = frozen.iter().map(|(_, var)| var.elem_count()).sum();
        let trained = match frozen {
            0 => format!("{} parameters", count(trained)),
            _ => format!("{} of {} parameters are trained", count(trained), count(trained + frozen)),
        };
        let facts = [
            ("model", format!("{model}, {trained}")),
            (
                "data",
                format!(
                    "{data}, {} training{validation} and {} test {}",
                    count(train.data().len()),
                    count(test.data().len()),
                    T::EXAMPLES
                ),
            ),
            ("device", format!("{device}, {threads}")),
            ("seed", self.recipe.train.seed.to_string()),
        ];
        let ranks = (of > 1).then_some(("ranks", ranks));
        facts.into_iter().chain(ranks).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
