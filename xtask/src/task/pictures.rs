//! Pictures: what they show, or what each of their pixels shows.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use nn_core::{Ctx, Layer, ParamStore, Random};
use nn_train::augment::{Augment, Mix};
use nn_train::data::{Batch, Dataset, Example, Part, Prepared, Target};
use nn_train::metrics::Verdict;
use nn_train::report::{Illustrations, Sample, Scene};
use nn_train::{Evaluation, Outcome, Trainer};

use super::Task;
use crate::data::DataName;
use crate::failure::{self, failed};
use crate::model::Model;
use crate::recipe::{self, EMBEDDED, Recipe, Train};
use crate::transfer::Transfer;
use crate::{data, model, predict};

/// A model of the zoo, or one whose table is the recipe's.
pub(crate) struct Pictures {
    transfer: Transfer,
    label_smoothing: f64,
}

/// Images of an evaluation's batch: enough to keep two cores busy, and little memory.
const BATCH: usize = 250;

/// Large images come in smaller batches.
const PIXELS: usize = 16 * 3 * 224 * 224;

/// Pictures with masks in a report.
const SCENES: usize = 6;

impl Task for Pictures {
    const NAME: &'static str = "pictures";
    const EXAMPLES: &'static str = "images";
    const FREEZES: bool = true;
    const CLASSES: bool = true;
    type Model = model::Plan;
    type Data = data::Plan;
    type Augment = Augment;
    /// The names of the classes.
    type Known = Vec<String>;
    type Set = Prepared;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        recipe.data.check()?;
        recipe.augment.check().map_err(|e| anyhow::Error::from(e).context("[augment] cannot be followed"))?;
        if recipe.train.label_smoothing > 0.0 && recipe.data.has_masks() {
            return Err(failed("train.label_smoothing is for pictures of one class each, not for camvid"));
        }
        if recipe.data.has_masks() && recipe.augment.mix() != Mix::default() {
            return Err(failed("augment.mixup and augment.cutmix mix classes, and camvid has masks"));
        }
        recipe.model.check()
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [recipe.model.name.clone(), recipe.data.name.facts().name.to_owned()]
    }

    fn locate(data: &mut data::Plan, given: Option<&Path>) {
        data.locate(given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Vec<String>> {
        recipe.data.classes()
    }

    fn open(recipe: &Recipe<Self>, classes: &Vec<String>, part: Part) -> Result<Prepared> {
        let augment = (part == Part::Train).then_some(recipe.augment);
        let set = recipe.data.open(part, recipe.model.input(), augment)?;
        recipe.data.hold_against(classes, set.source().classes())?;
        Ok(set)
    }

    fn validation(recipe: &Recipe<Self>, _classes: &Vec<String>) -> Result<Option<Prepared>> {
        recipe.data.validation(recipe.model.input())
    }

    fn still(recipe: &Recipe<Self>, _classes: &Vec<String>) -> Result<Prepared> {
        recipe.data.open(Part::Train, recipe.model.input(), None)
    }

    fn build(
        recipe: &Recipe<Self>,
        classes: &Vec<String>,
        store: &ParamStore,
        device: &Device,
    ) -> Result<Self> {
        let freeze = &recipe.train.freeze;
        let label_smoothing = recipe.train.label_smoothing;
        if label_smoothing > 0.0 && recipe.model.outputs(classes.len()) == 1 {
            let model = &recipe.model.name;
            return Err(failed(format!(
                "train.label_smoothing spreads over classes, and {model} has one output"
            )));
        }
        let transfer = Transfer::build(&recipe.model, classes.len(), freeze, store.clone(), device)?;
        Ok(Self { transfer, label_smoothing })
    }

    fn outcome(&self, batch: &Batch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        self.model().outcome(batch, ctx, Train::cross_entropy(self.label_smoothing, ctx))
    }

    /// The pictures it gets wrong, those it is surest of, and a few scenes.
    fn illustrate(&self, test: &Prepared, evaluation: &Evaluation) -> Result<Illustrations> {
        let sample = |verdict: &Verdict| -> Result<Sample> {
            let &Verdict { index, target, predicted, confidence } = verdict;
            let image = test.example(index, Random::new(0))?.image;
            let pixels = Tensor::from_slice(image.pixels(), &image.size()[..], &Device::Cpu)?;
            Ok(Sample { pixels, target, predicted, confidence })
        };
        let samples = |verdicts: &[Verdict]| verdicts.iter().map(sample).collect::<Result<_>>();
        let (mistakes, best) = (samples(evaluation.mistakes())?, samples(&evaluation.best())?);
        Ok(Illustrations { mistakes, best, scenes: self.scenes(test)?, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        predict::picture::run(args)
    }

    fn follow_weights(recipe: &mut Recipe<Self>, weights: Option<&Path>) -> Result<()> {
        weights.map_or(Ok(()), |weights| recipe.model.recognise(weights))?;
        recipe.model.row().into_iter().for_each(|row| recipe.data.adopt(&row.preprocessing));
        Ok(())
    }

    fn classes(known: &Vec<String>) -> Vec<String> {
        known.clone()
    }

    fn labels(set: &Prepared) -> Option<Vec<u32>> {
        (0..set.len()).map(|index| set.source().class(index)).collect()
    }

    fn eval_batch(recipe: &Recipe<Self>) -> usize {
        (PIXELS / recipe.model.input().iter().product::<usize>().max(1)).clamp(1, BATCH)
    }

    fn workers(recipe: &Recipe<Self>) -> usize {
        recipe.data.workers()
    }

    fn load(&self, _store: &ParamStore, weights: &Path) -> Result<()> {
        self.model().load(weights)
    }

    fn start(&self, _store: &ParamStore, weights: &Path) -> Result<()> {
        self.transfer.load(weights)
    }

    fn group(&self, recipe: &Recipe<Self>, trainer: &mut Trainer) -> Result<()> {
        self.transfer.scale_body(trainer, recipe.train.backbone_lr)
    }

    /// Of the zoo, or of a recipe.
    fn named(name: &str) -> Result<Recipe<Self>> {
        if model::names().contains(&name) {
            return Ok(Recipe::of(model::Plan::named(name)?));
        }
        let Some((_, text)) = EMBEDDED.iter().find(|(recipe, _)| *recipe == name) else {
            return Err(failure::unknown("run folder or model", name, &model::names()));
        };
        let task = recipe::task_of(text, name)?.name;
        if task != Self::NAME {
            return Err(failed(format!("{name} is a recipe for {task}; name a run's folder")));
        }
        Ok(Recipe::of(recipe::parse::<Recipe<Self>>(text, name)?.model))
    }

    fn choose(recipe: &mut Recipe<Self>, name: DataName) -> Result<bool> {
        let other = name != recipe.data.name;
        if other {
            recipe.data = data::Plan { name, ..data::Plan::default() };
        }
        Ok(other)
    }
}

impl Pictures {
    fn model(&self) -> &Model {
        &self.transfer.model
    }

    /// A few test pictures, if they have masks, beside what the model makes of them.
    fn scenes(&self, set: &Prepared) -> Result<Vec<Scene>> {
        let last = set.len().saturating_sub(1);
        let mut scenes = Vec::new();
        for n in 0..SCENES {
            let index = n * last / (SCENES - 1);
            let Example { image, target: Target::Mask { .. } } = set.example(index, Random::new(0))? else {
                break;
            };
            let batch = set.batch(&[index], Random::new(0))?;
            let logits =
                self.model().layer.call(&batch.inputs.to_device(&self.model().device)?, &Ctx::eval())?;
            scenes.push(Scene {
                pixels: Tensor::from_slice(image.pixels(), &image.size()[..], &Device::Cpu)?,
                truth: batch.targets.squeeze(0)?,
                predicted: logits.argmax(1)?.squeeze(0)?.to_device(&Device::Cpu)?,
            });
        }
        Ok(scenes)
    }
}
