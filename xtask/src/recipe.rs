//! Recipes: everything a training run is told, as TOML, and how command-line options change it.

pub(crate) mod groups;
pub(crate) mod place;
pub(crate) mod range;
mod setting;
mod train;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nn_core::Activations;
use nn_train::{Cadence, FitConfig, Norms, Rule, Schedule};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Spanned, Table};

use crate::device::DeviceName;
use crate::failure::{self, Advise, failed};
use crate::task::{Entry, Task};
use crate::transfer::Frozen;

pub(crate) use self::setting::Setting;
pub(crate) use self::train::{Decay, Sampling, Split, Train};

/// The recipes in this program, by name.
pub(crate) const EMBEDDED: &[(&str, &str)] = &[
    ("lenet5", include_str!("../recipes/lenet5.toml")),
    ("lenet5-relu", include_str!("../recipes/lenet5-relu.toml")),
    ("cnn", include_str!("../recipes/cnn.toml")),
    ("cat_cnn-hymenoptera", include_str!("../recipes/cat_cnn-hymenoptera.toml")),
    ("mlp", include_str!("../recipes/mlp.toml")),
    ("cifar_resnet20-cifar10", include_str!("../recipes/cifar_resnet20-cifar10.toml")),
    ("mobilenet_v2-hymenoptera", include_str!("../recipes/mobilenet_v2-hymenoptera.toml")),
    ("fcn_mobilenet_v2-camvid", include_str!("../recipes/fcn_mobilenet_v2-camvid.toml")),
    ("rows-rnn", include_str!("../recipes/rows-rnn.toml")),
    ("rows-lstm", include_str!("../recipes/rows-lstm.toml")),
    ("rows-gru", include_str!("../recipes/rows-gru.toml")),
    ("sentiment-lstm", include_str!("../recipes/sentiment-lstm.toml")),
    ("sentiment-transformer", include_str!("../recipes/sentiment-transformer.toml")),
    ("char-lstm", include_str!("../recipes/char-lstm.toml")),
    ("char-transformer", include_str!("../recipes/char-transformer.toml")),
    ("forecast-airline-rnn", include_str!("../recipes/forecast-airline-rnn.toml")),
    ("forecast-airline-lstm", include_str!("../recipes/forecast-airline-lstm.toml")),
    ("forecast-airline-gru", include_str!("../recipes/forecast-airline-gru.toml")),
    ("forecast-temperatures-rnn", include_str!("../recipes/forecast-temperatures-rnn.toml")),
    ("forecast-temperatures-lstm", include_str!("../recipes/forecast-temperatures-lstm.toml")),
    ("forecast-temperatures-gru", include_str!("../recipes/forecast-temperatures-gru.toml")),
    ("forecast-etth1-rnn", include_str!("../recipes/forecast-etth1-rnn.toml")),
    ("forecast-etth1-lstm", include_str!("../recipes/forecast-etth1-lstm.toml")),
    ("forecast-etth1-gru", include_str!("../recipes/forecast-etth1-gru.toml")),
    ("toy-copy", include_str!("../recipes/toy-copy.toml")),
    ("toy-reverse", include_str!("../recipes/toy-reverse.toml")),
    ("toy-sort", include_str!("../recipes/toy-sort.toml")),
    ("toy-adding", include_str!("../recipes/toy-adding.toml")),
    ("entities-wnut17", include_str!("../recipes/entities-wnut17.toml")),
    ("translation-gru", include_str!("../recipes/translation-gru.toml")),
    ("translation-transformer", include_str!("../recipes/translation-transformer.toml")),
];

/// A training run; what a table leaves out takes its default. The task says what `[model]`, `[data]` and `[augment]` hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub(crate) struct Recipe<T: Task> {
    /// The task's name; pictures need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    pub(crate) model: T::Model,
    #[serde(default)]
    pub(crate) data: T::Data,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) augment: T::Augment,
    #[serde(default)]
    pub(crate) train: Train,
    #[serde(default)]
    pub(crate) optimizer: Rule,
    #[serde(default)]
    pub(crate) schedule: Schedule,
}

/// A table that must be empty: the task has nothing to say there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

fn is_default<A: Default + PartialEq>(table: &A) -> bool {
    *table == A::default()
}

/// A recipe's name and text: of the program's own, or of the file at a path.
pub(crate) fn find(name: &str) -> Result<(String, String)> {
    if let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
        return Ok(((*name).to_owned(), (*text).to_owned()));
    }
    let path = Path::new(name);
    if path.is_file() {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read the recipe {name}"))?;
        let stem = path.file_stem().map_or_else(|| name.to_owned(), |s| s.to_string_lossy().into_owned());
        return Ok((stem, text));
    }
    let known: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
    if name.contains(['/', '\\']) || name.ends_with(".toml") {
        return Err(failed(format!("there is no recipe file {name}")))
            .advise(format!("recipes by name are {}", known.join(", ")));
    }
    Err(failure::unknown("recipe", name, &known))
}

/// The task that a recipe says it is for: pictures, if it says nothing.
///
/// # Errors
/// If there is no such task; the message gives line and column.
pub(crate) fn task_of(text: &str, origin: &str) -> Result<&'static Entry> {
    #[derive(Deserialize)]
    struct Peek {
        task: Option<Spanned<String>>,
    }
    // What is wrong elsewhere is said when the whole is read.
    let task = toml::from_str::<Peek>(text).ok().and_then(|peek| peek.task);
    let Some(task) = task else { return Ok(Entry::pictures()) };
    Entry::find(task.get_ref()).with_context(|| place(text, origin, Some(task.span())))
}

impl<T: Task> Recipe<T> {
    /// The model with everything else as it is by default.
    pub(crate) fn of(model: T::Model) -> Self {
        let (train, optimizer, schedule) = (Train::default(), Rule::default(), Schedule::default());
        let (data, augment) = (T::Data::default(), T::Augment::default());
        Self { task: None, model, data, augment, train, optimizer, schedule }
    }

    /// The recipe in `text`, changed by `settings` in their order. `origin` is what messages call the text.
    pub(crate) fn resolve(text: &str, origin: &str, settings: &[Setting]) -> Result<Self> {
        let recipe = parse(text, origin)?;
        if settings.is_empty() {
            return Ok(recipe);
        }
        let mut table: Table = toml::from_str(text).with_context(|| format!("cannot read {origin}"))?;
        let mut culprit = None;
        let mut outcome = Ok(recipe);
        for setting in settings {
            setting.apply(&mut table)?;
            outcome = table.clone().try_into::<Self>();
            // Where a later option mends what an earlier one broke, nobody is to blame.
            match &outcome {
                Ok(_) => culprit = None,
                Err(_) => culprit = culprit.or(Some(setting)),
            }
        }
        let typed = culprit.map_or("", |setting| setting.typed.as_str());
        outcome.or_else(|e| explain(typed, e.message()))
    }

    /// The recipe in `text`, checked; `origin` is what messages call the text.
    ///
    /// # Errors
    /// As [`parse`] and [`Recipe::check`], with line and column.
    pub(crate) fn read(text: &str, origin: &str) -> Result<Self> {
        let recipe: Self = parse(text, origin)?;
        recipe.check().map_err(|error| place::blame(error, text, origin, &[]))?;
        Ok(recipe)
    }

    /// # Errors
    /// If a value is impossible; the message names its key. Nothing is loaded to find out.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(task) = self.task.as_ref().filter(|task| *task != T::NAME) {
            return Err(failed(format!("task: the recipe is for {}, not for {task}", T::NAME)));
        }
        range::at_least_one(&[
            ("train.epochs", self.train.epochs as usize),
            ("train.batch_size", self.train.batch_size),
            ("train.accumulate", self.train.accumulate as usize),
            ("train.evaluate_every", self.train.evaluate_every.unwrap_or(1) as usize),
            ("train.keep", self.train.keep),
            ("train.log_every", self.train.log_every as usize),
            ("train.stop.patience", self.train.stop.patience.unwrap_or(1) as usize),
            ("train.stop.steps", self.train.stop.steps.unwrap_or(1) as usize),
        ])?;
        range::below_one(&[
            ("train.ema", self.train.ema.unwrap_or(0.0)),
            ("train.label_smoothing", self.train.label_smoothing),
        ])?;
        self.train.validation.map_or(Ok(()), |share| range::inside("train.validation", share))?;
        if i64::try_from(self.train.seed).is_err() {
            return Err(failed(format!("train.seed must be at most {}, got {}", i64::MAX, self.train.seed)));
        }
        for (key, clip) in [("clip_norm", self.train.clip_norm), ("clip_value", self.train.clip_value)] {
            if let Some(clip) = clip.filter(|clip| !(clip.is_finite() && *clip > 0.0)) {
                return Err(failed(format!("train.{key} must be above 0, got {clip}")));
            }
        }
        if self.train.checkpoint == Cadence::Steps(0) {
            return Err(failed("train.checkpoint must be at least 1 step, got 0"));
        }
        let factor = self.train.backbone_lr;
        if !(factor.is_finite() && factor >= 0.0) {
            return Err(failed(format!("train.backbone_lr must be 0 or more, got {factor}")));
        }
        let on_cpu_alone = [
            (self.train.norms == Norms::Synchronised, "train.norms = \"synchronised\""),
            (self.train.activations == Activations::Bf16, "train.activations = \"bf16\""),
        ];
        if let Some((_, what)) =
            on_cpu_alone.iter().find(|(asked, _)| *asked && self.train.device != DeviceName::Cpu)
        {
            return Err(failed(format!("{what} is for train.device = \"cpu\" alone")));
        }
        self.train.scale.iter().try_for_each(groups::Group::check)?;
        self.check_classes()?;
        if !T::FREEZES && (self.train.freeze != Frozen::None || factor != 1.0) {
            return Err(failed(format!(
                "train.freeze and train.backbone_lr are for pictures, not for {}",
                T::NAME
            )));
        }
        let lr = self.schedule.lr;
        if !(lr.is_finite() && lr > 0.0) {
            return Err(failed(format!("schedule.lr must be above 0, got {lr}")));
        }
        self.schedule.check().context("[schedule] cannot be followed")?;
        self.optimizer.check().context("[optimizer] cannot be followed")?;
        self.fit_config().check().context("[train] cannot be followed")?;
        T::check(self)
    }

    /// # Errors
    /// If something is asked of the examples' classes, and they have none, or nothing is held out that could be drawn.
    fn check_classes(&self) -> Result<()> {
        let Train { split, sampling, validation, label_smoothing, .. } = self.train;
        if split == Split::Stratified && validation.is_none() {
            return Err(failed(
                "train.split = \"stratified\" is for the share train.validation, and there is none",
            ));
        }
        let asked = [
            (split == Split::Stratified, "train.split = \"stratified\""),
            (sampling == Sampling::Balanced, "train.sampling = \"balanced\""),
            (label_smoothing > 0.0, "train.label_smoothing"),
        ];
        let Some((_, asked)) = asked.into_iter().find(|(asked, _)| *asked && !T::CLASSES) else {
            return Ok(());
        };
        Err(failed(format!("{asked} goes by the classes of examples, and those of {} have none", T::NAME)))
    }

    /// What the training loop is told.
    pub(crate) fn fit_config(&self) -> FitConfig {
        let train = &self.train;
        FitConfig {
            epochs: train.epochs,
            seed: train.seed,
            optimizer: self.optimizer,
            schedule: self.schedule,
            accumulate: train.accumulate,
            clip_norm: train.clip_norm,
            clip_value: train.clip_value,
            ema: train.ema,
            norms: train.norms,
            activations: train.activations,
            evaluate_every: train.evaluate_every,
            stop: train.stop,
            checkpoint: train.checkpoint,
            keep: train.keep,
            log_every: train.log_every,
            viewer: train.viewer,
        }
    }

    /// As it is kept in a run's folder.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let text = toml::to_string(self).context("cannot write the recipe as TOML")?;
        Ok(format!(
            "# The settings of this run, resolved. `cargo xtask train PATH` with this file repeats it.\n\n{text}"
        ))
    }
}

/// The recipe in `text`; `origin` is what messages call it.
///
/// # Errors
/// If it is no TOML, has an unknown key or a value of the wrong type; the message gives line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).or_else(|e: toml::de::Error| explain(&place(text, origin, e.span()), e.message()))
}

/// `origin:line:column` of the beginning of `span`.
fn place(text: &str, origin: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(span) = span else { return origin.to_owned() };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{origin}:{line}:{column}")
}

/// What the first comment says the recipe does.
pub(crate) fn about(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).trim_end_matches('.').to_owned()
}

/// Turns a deserialiser's message into one for people, with the nearest of the names it expected.
fn explain<T>(place: &str, message: &str) -> Result<T> {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = quoted.get(1..).unwrap_or(&[]);
    let mut words = message.trim_end().replace('\n', " ");
    for (theirs, ours) in [
        ("unknown field", "unknown key"),
        ("unknown variant", "unknown value"),
        ("missing field", "missing key"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
    ] {
        words = words.replace(theirs, ours);
    }
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let near =
        quoted.first().filter(|_| unknown).and_then(|name| failure::nearest(name, known.iter().copied()));
    let words = words.split(", expected one of").next().filter(|_| unknown).unwrap_or(&words).to_owned();
    let error = Err(failed(format!("{place}: {words}")));
    match near {
        _ if !unknown || known.is_empty() => error,
        Some(near) => error.advise(format!("did you mean `{near}`? There are {}", known.join(", "))),
        None => error.advise(format!("there are {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use nn_train::augment::Augment;

    use super::*;
    use crate::data::DataName;
    use crate::task::Pictures;

    const SMALL: &str = "# A test.\n[model]\nname = \"lenet5\"\n\n[train]\nepochs = 2\n";

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| Setting::parse(text).expect("key=value")).collect()
    }

    fn complaint(text: &str, sets: &[&str]) -> String {
        let resolved = Recipe::<Pictures>::resolve(text, "my.toml", &settings(sets)).and_then(|r| r.check());
        failure::report(&resolved.expect_err("something is wrong"))
    }

    #[test]
    fn embedded_recipes_are_right_and_describe_themselves() -> Result<()> {
        for (name, text) in EMBEDDED {
            assert!(text.starts_with("# ") && about(text).len() > 10, "{name}");
            let task = task_of(text, name)?;
            let written = (task.read)(text, name)?.text;
            assert_eq!(task_of(&written, name)?.name, task.name, "{name}");
            assert_eq!((task.read)(&written, name)?.text, written, "{name}");
        }
        Ok(())
    }

    #[test]
    fn every_key_is_documented_in_the_embedded_recipes() -> Result<()> {
        for (name, text) in EMBEDDED {
            for line in text.lines().filter(|line| line.contains('=')) {
                assert!(line.contains('#'), "{name}: no comment at {line}");
            }
        }
        Ok(())
    }

    /// The inline tables that a recipe's comments list.
    fn listed(text: &str) -> Vec<Table> {
        let table = |line: &str| {
            let line = line.strip_prefix("#   {")?;
            toml::from_str::<Table>(&format!("listed = {{{line}")).ok()?.remove("listed")?.as_table().cloned()
        };
        text.lines().filter_map(table).collect()
    }

    #[test]
    fn lenet5_lists_every_optimiser_and_every_schedule() -> Result<()> {
        let (_, text) = EMBEDDED[0];
        let names = |table: &Table| table.keys().cloned().collect::<Vec<_>>();
        let (mut rules, mut decays) = (0, 0);
        for table in listed(text) {
            let written = match table.clone().try_into::<Rule>() {
                Ok(rule) => {
                    let own = format!("kind = {}", table["kind"]);
                    assert_eq!(rule, toml::from_str::<Rule>(&own)?, "these are not its defaults");
                    rules += 1;
                    Table::try_from(rule)?
                }
                Err(_) => {
                    decays += 1;
                    Table::try_from(table.clone().try_into::<nn_train::Decay>()?)?
                }
            };
            assert_eq!(names(&table), names(&written), "{table:?}");
        }
        // The error for an unknown kind names those there are.
        let known = |e: toml::de::Error| e.message().split('`').count() / 2 - 1;
        let (rule, decay) =
            (toml::from_str::<Rule>("kind = 'x'"), toml::from_str::<nn_train::Decay>("kind = 'x'"));
        assert_eq!((rule.map_err(known).err(), decay.map_err(known).err()), (Some(rules), Some(decays)));
        Ok(())
    }

    #[test]
    fn every_key_of_training_stands_in_a_recipe() -> Result<()> {
        let all: String = EMBEDDED.iter().map(|(_, text)| *text).collect();
        let shown = |key: &str| {
            all.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")))
        };
        let mut table = Table::try_from(Train::default())?;
        for key in [
            "validation",
            "clip_norm",
            "clip_value",
            "ema",
            "evaluate_every",
            "stop",
            "weights",
            "unused",
            "scale",
        ] {
            assert!(table.insert(key.to_owned(), toml::Value::Boolean(true)).is_none(), "{key}");
        }
        assert_eq!(table.len(), 26, "a key more or less: {table:?}");
        for key in table.keys() {
            assert!(shown(key), "train.{key} is explained nowhere");
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_placed_and_the_nearest_name_suggested() {
        let error = complaint("[model]\nname = \"lenet5\"\n\n[train]\nepoch = 2\n", &[]);
        assert!(error.contains("my.toml:5:1: unknown key `epoch`"), "{error}");
        assert!(error.contains("did you mean `epochs`?"), "{error}");
        let error = complaint("[model]\nname = \"lenet5\"\n[tarin]\n", &[]);
        assert!(error.contains("my.toml:3:") && error.contains("did you mean `train`?"), "{error}");
        let error = complaint("[model]\nname = \"lenet5\"\n[data]\nname = \"minst\"\n", &[]);
        assert!(error.contains("my.toml:4:") && error.contains("did you mean `mnist`?"), "{error}");
        let error = complaint("[model]\nname = \"lenet5\"\n[train]\nepochs = \"three\"\n", &[]);
        assert!(error.contains("my.toml:4:10") && error.contains("a whole number"), "{error}");
        let error = complaint("[model]\nname = \"lenet5\"\n[optimizer]\nkind = \"sdg\"\n", &[]);
        assert!(error.contains("my.toml:") && error.contains("did you mean `sgd`?"), "{error}");
        let error = complaint("[optimizer]\nkind = \"sgd\"\n", &[]);
        assert!(error.contains("missing key `model`"), "{error}");
        let error =
            failure::report(&task_of("\ntask = \"picture\"\n", "my.toml").err().expect("no such task"));
        assert!(error.contains("my.toml:2:8") && error.contains("did you mean `pictures`?"), "{error}");
        let error = complaint("[model\n", &[]);
        assert!(error.contains("my.toml:1:"), "{error}");
    }

    #[test]
    fn settings_override_and_are_blamed() -> Result<()> {
        let sets = ["train.epochs=5", "data.name=mnist", "schedule.lr=1", "optimizer.momentum=0.5"];
        let text = format!("{SMALL}[optimizer]\nkind = \"sgd\"\nnesterov = true\n");
        let recipe = Recipe::<Pictures>::resolve(&text, "x", &settings(&sets))?;
        assert_eq!((recipe.train.epochs, recipe.schedule.lr), (5, 1.0));
        assert_eq!(recipe.data.name, DataName::Mnist);
        let error = complaint(SMALL, &["train.epochs=3", "train.epoch=2"]);
        assert!(error.starts_with("error: --set train.epoch=2: unknown key `epoch`"), "{error}");
        let error = complaint(SMALL, &["train.epochs.x=2"]);
        assert!(error.contains("`epochs` is a value"), "{error}");
        let error = complaint(SMALL, &["train.seed=-1"]);
        assert!(error.contains("--set train.seed=-1") && error.contains("0 or more"), "{error}");
        assert!(Setting::parse("epochs").is_err() && Setting::parse("=3").is_err());
        Ok(())
    }

    #[test]
    fn another_kind_starts_from_its_own_defaults() -> Result<()> {
        let text = format!("{SMALL}[optimizer]\nkind = \"sgd\"\nmomentum = 0.9\n");
        let recipe = Recipe::<Pictures>::resolve(&text, "x", &settings(&["optimizer.kind=adam"]))?;
        assert_eq!(recipe.optimizer, Rule::Adam(nn_train::Adam::default()));
        // Between the first option and the last the table is not whole; only the end counts.
        let text = format!("{text}[schedule]\nlr = 0.1\n");
        let steps = ["schedule.decay.kind=step", "schedule.decay.every=2", "schedule.decay.factor=0.5"];
        Recipe::<Pictures>::resolve(&text, "x", &settings(&steps))?;
        let error = complaint(&text, &steps[..2]);
        assert!(error.contains("--set schedule.decay.kind=step") && error.contains("factor"), "{error}");
        Ok(())
    }

    #[test]
    fn impossible_values_are_named() {
        for (set, part) in [
            ("train.epochs=0", "train.epochs must be at least 1"),
            ("train.batch_size=0", "train.batch_size"),
            ("train.seed=9223372036854775808", "train.seed"),
            ("train.clip_norm=0.0", "train.clip_norm"),
            ("train.clip_value=-1.0", "train.clip_value must be above 0, got -1"),
            ("train.label_smoothing=1.0", "train.label_smoothing must be in [0, 1), got 1"),
            ("train.split=stratified", "is for the share train.validation, and there is none"),
            ("train.sampling=weighted", "unknown value `weighted`"),
            ("train.scale=[{names=\"*\",lr=-1.0}]", "train.scale: lr of `*` must be 0 or more, got -1"),
            ("train.scale=[{lr=1.0}]", "missing key `names`"),
            ("train.unused=[\"a**\"]", "a** is no pattern"),
            ("schedule.decay.kind=cosin", "did you mean `cosine`"),
            ("schedule={lr=0.1,warmup=1.0,decay={kind=\"one_cycle\"}}", "one_cycle rises by itself"),
            ("schedule={lr=0.1,decay={kind=\"multi_step\",at=[3,1],factor=0.1}}", "at must rise"),
            ("train.validation=1.0", "train.validation must be in (0, 1), got 1"),
            ("train.accumulate=0", "train.accumulate must be at least 1"),
            (
                "train={device=\"cuda\", norms=\"synchronised\"}",
                "train.norms = \"synchronised\" is for train.device",
            ),
            (
                "train={device=\"cuda\", activations=\"bf16\"}",
                "train.activations = \"bf16\" is for train.device",
            ),
            ("train.ema=1.0", "train.ema must be in [0, 1), got 1"),
            ("train.evaluate_every=0", "train.evaluate_every"),
            ("train.keep=0", "train.keep must be at least 1"),
            ("train.stop.patience=0", "train.stop.patience"),
            ("train.stop.min_delta=-1.0", "min_delta must be 0 or more, got -1"),
            ("train.stop.seconds=0.0", "seconds must be above 0, got 0"),
            ("train.stop.epochs=3", "unknown key `epochs`"),
            ("schedule.lr=-0.1", "schedule.lr must be above 0, got -0.1"),
            ("schedule.lr=nan", "schedule.lr"),
            ("schedule.warmup=-1", "warmup"),
            ("optimizer={kind=\"sgd\",momentum=1.5}", "momentum"),
            ("data.train_examples=0", "data.train_examples"),
            ("data.fraction=2.0", "data.fraction must be in (0, 1], got 2"),
            ("data.mean=[0.5]", "data.mean and data.std"),
            ("augment={flip={probability=2.0}}", "probability must be in [0, 1]"),
            ("augment.affine.shear=[0.0, 95.0]", "shear must be two angles in [0, 90), got [0.0, 95.0]"),
            ("augment.elastic.sigma=0.0", "sigma must be in (0, 100], got 0"),
            ("augment.rand_augment.magnitude=31", "magnitude must be in [0, 30], got 31"),
            ("augment.rand_augment.magnitud=3", "did you mean `magnitude`"),
            ("augment.blur.kernel=4", "kernel must be odd and at most 1023, got 4"),
            ("augment.erasing.fill=white", "unknown value `white`"),
            ("augment.mixup.alpha=0.0", "alpha must be in (0, 1000], got 0"),
            ("train.freeze=layer4", "until=layer4"),
            ("train.backbone_lr=-1.0", "train.backbone_lr must be 0 or more"),
            ("model.padding=same", "model.padding is an option of `mobilenet_v2`"),
            ("model.name=lenet6", "did you mean `lenet5`"),
            ("model.hidden=[3]", "model.hidden"),
        ] {
            let error = complaint(SMALL, &[set]);
            assert!(error.contains(part), "{set}: {error}");
        }
    }

    /// With all its keys, and values that would do.
    #[test]
    fn every_augmentation_stands_in_a_recipe() -> Result<()> {
        let (_, text) = find("mobilenet_v2-hymenoptera")?;
        let names =
            "resized_crop affine elastic crop flip rand_augment jitter grey blur erasing mixup cutmix";
        let lines: String = names.split(' ').map(|name| format!("{name} = {{}}\n")).collect();
        let all: Augment = toml::from_str(&format!("{lines}rotation.degrees = 1.0\n"))?;
        let table = Table::try_from(all)?;
        assert_eq!(table.len(), 13);
        for (name, keys) in &table {
            let begin = format!("{name} =");
            let line = text.lines().map(|line| line.trim_start_matches("# ")).find(|l| l.starts_with(&begin));
            let line = line.unwrap_or_else(|| panic!("no line for {name}"));
            toml::from_str::<Augment>(line)?.check()?;
            let keys = keys.as_table().expect("a table").keys();
            keys.for_each(|key| assert!(line.contains(&format!("{key} =")), "{name}: no {key}"));
        }
        Ok(())
    }

    #[test]
    fn masks_are_not_mixed() {
        let text = "[model]\nname = \"fcn_mobilenet_v2\"\n[data]\nname = \"camvid\"\n";
        let error = complaint(text, &["augment.cutmix.alpha=1.0"]);
        assert!(error.contains("augment.cutmix mix classes, and camvid has masks"), "{error}");
    }

    #[test]
    fn unknown_recipes_are_explained() {
        let error = failure::report(&find("lenet").expect_err("no such recipe"));
        assert!(
            error.contains("there is no recipe `lenet`") && error.contains("did you mean `lenet5`?"),
            "{error}"
        );
        let error = failure::report(&find("my/own.toml").expect_err("no such file"));
        assert!(error.contains("there is no recipe file my/own.toml"), "{error}");
    }
}
