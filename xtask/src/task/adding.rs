//! The adding problem: of a sequence of numbers, two are marked; the answer is their sum.
//!
//! Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", §5.4: an answer is right within 0.04.
//! Differs: numbers are in [0, 1] and all sequences of one length, as in Le, Jaitly & Hinton 2015, arXiv:1504.00941, §4.1.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{OverTime, Reduction, mse, over_time, scale};
use nn_core::{Ctx, Layer, ParamStore, Random, Through};
use nn_layers::{Bias, Linear};
use nn_sequence::{
    Forecaster, ForecasterConfig, Input, PositionalEncoding, RecurrentConfig, SequenceConfig,
    TransformerEncoder, TransformerModelConfig,
};
use nn_train::data::{Batch, Dataset, Part};
use nn_train::metrics::Share;
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Counts, Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Task;
use super::network::{Network, Transformer, UnitName, Use, variables};
use crate::failure::failed;
use crate::output;
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[model]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Model {
    Recurrent(Recurrent),
    Transformer(Transformer),
}

/// A recurrent network's keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recurrent {
    unit: UnitName,
    hidden: usize,
    layers: usize,
}

impl Default for Recurrent {
    fn default() -> Self {
        Self { unit: UnitName::Lstm, hidden: 64, layers: 1 }
    }
}

/// The table `[data]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// Numbers of a sequence.
    length: usize,
    train_examples: usize,
    test_examples: usize,
    /// What the sequences are drawn from.
    seed: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self { length: 30, train_examples: 20_000, test_examples: 1_000, seed: 0 }
    }
}

/// A network that adds.
pub(crate) struct Adding {
    model: Box<dyn Layer>,
    device: Device,
}

/// steps → vectors with positions → Transformer layers → their sum, as sequences may be of any length → the answer.
struct Attending {
    embedding: Linear,
    positions: PositionalEncoding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl Attending {
    fn new(cfg: &TransformerModelConfig, vb: VarBuilder<'_>) -> candle_core::Result<Self> {
        let &TransformerModelConfig { width, layers, longest, positions, ref transformer, .. } = cfg;
        Ok(Self {
            embedding: Linear::new(2, width, Bias::Learned, vb.pp("embedding"))?,
            positions: PositionalEncoding::new(longest, width, positions, vb.pp("positions"))?,
            encoder: TransformerEncoder::new(width, layers, transformer, vb.pp("encoder"))?,
            head: Linear::new(width, 1, Bias::Learned, vb.pp("head"))?,
        })
    }
}

impl Layer for Attending {
    /// `[B, T, 2]` → `[B, 1]`
    fn call(&self, x: &Tensor, ctx: &Ctx<'_>) -> candle_core::Result<Tensor> {
        let x = x.through("embedding", &self.embedding, ctx)?.through("positions", &self.positions, ctx)?;
        let x = x.through("encoder", &self.encoder, ctx)?; // [B, T, D]
        let sum = scale(&over_time(&x, None, OverTime::Mean)?, x.dim(1)? as f64)?;
        sum.through("head", &self.head, ctx)
    }
}

/// Sequences that are drawn when they are asked for.
pub(crate) struct Sums {
    length: usize,
    count: usize,
    random: Random,
}

/// An answer within this is right.
const TOLERANCE: f32 = 0.04;

impl Sums {
    /// Pairs of number and mark, and the sum of the two that are marked: one of each half.
    fn example(&self, index: usize) -> (Vec<f32>, f32) {
        let mut draws = self.random.nth(index as u64).draws();
        let half = self.length / 2;
        let mut below = |n: usize| (draws.unit() * n as f64) as usize;
        let marked = [below(half), half + below(self.length - half)];
        let numbers: Vec<f32> = (0..self.length).map(|_| draws.unit() as f32).collect();
        let sum = marked.iter().map(|&at| numbers[at]).sum();
        let step = |(at, number): (usize, f32)| [number, if marked.contains(&at) { 1.0 } else { 0.0 }];
        (numbers.into_iter().enumerate().flat_map(step).collect(), sum)
    }
}

impl Dataset for Sums {
    type Batch = Batch;

    fn len(&self) -> usize {
        self.count
    }

    fn batch(&self, indices: &[usize], _random: Random) -> candle_core::Result<Batch> {
        let (inputs, sums): (Vec<_>, Vec<_>) = indices.iter().map(|&index| self.example(index)).unzip();
        Ok(Batch {
            inputs: Tensor::from_vec(inputs.concat(), (indices.len(), self.length, 2), &Device::Cpu)?,
            targets: Tensor::from_vec(sums, (indices.len(), 1), &Device::Cpu)?,
        })
    }
}

impl Task for Adding {
    const NAME: &'static str = "adding";
    const EXAMPLES: &'static str = "sequences";
    type Model = Model;
    type Data = Data;
    type Augment = Nothing;
    type Known = ();
    type Set = Sums;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let Data { length, train_examples, test_examples, .. } = recipe.data;
        range::at_least_one(&[
            ("data.train_examples", train_examples),
            ("data.test_examples", test_examples),
        ])?;
        if length < 2 {
            return Err(failed(format!("data.length must be at least 2, got {length}")));
        }
        match recipe.model {
            Model::Recurrent(Recurrent { hidden, layers, .. }) => {
                range::at_least_one(&[("model.hidden", hidden), ("model.layers", layers)])
            }
            Model::Transformer(transformer) if transformer.longest < length => Err(failed(format!(
                "data.length must be at most model.longest, {}, got {length}",
                transformer.longest
            ))),
            Model::Transformer(transformer) => Network::Transformer(transformer).check(Use::Answer),
        }
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        let model = match recipe.model {
            Model::Recurrent(recurrent) => recurrent.unit.name(),
            Model::Transformer(_) => "transformer",
        };
        [model.to_owned(), "adding".to_owned()]
    }

    fn locate(_data: &mut Data, _given: Option<&Path>) {}

    fn learn(_recipe: &Recipe<Self>) -> Result<()> {
        Ok(())
    }

    fn open(recipe: &Recipe<Self>, _known: &(), part: Part) -> Result<Sums> {
        let Data { length, train_examples, test_examples, seed } = recipe.data;
        let (name, count) = match part {
            Part::Train => ("train", train_examples),
            Part::Test => ("test", test_examples),
        };
        Ok(Sums { length, count, random: Random::new(seed).at(name) })
    }

    fn build(recipe: &Recipe<Self>, _known: &(), store: &ParamStore, device: &Device) -> Result<Self> {
        let vb = variables(store, device);
        let model: Box<dyn Layer> = match recipe.model {
            Model::Recurrent(Recurrent { unit, hidden, layers }) => {
                let recurrent = RecurrentConfig { unit: unit.unit(), layers, ..RecurrentConfig::default() };
                let sequence = SequenceConfig { input: Input::Features(2), hidden, recurrent, dropout: 0.0 };
                Box::new(Forecaster::new(&ForecasterConfig { sequence, horizon: 1 }, vb)?)
            }
            // There are no tokens to know.
            Model::Transformer(transformer) => Box::new(Attending::new(&transformer.config(0), vb)?),
        };
        Ok(Self { model, device: device.clone() })
    }

    fn outcome(&self, batch: &Batch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let (sums, targets) = (self.model.call(&batch.inputs.to_device(&self.device)?, ctx)?, &batch.targets);
        let loss = mse(&sums, &targets.to_device(&self.device)?, Reduction::Mean)?;
        let numbers = |t: &Tensor| t.detach().flatten_all()?.to_vec1::<f32>();
        let mut exact = Share::default();
        for (sum, target) in numbers(&sums)?.into_iter().zip(numbers(targets)?) {
            exact += Share::from((sum - target).abs() < TOLERANCE);
        }
        let examples = targets.dim(0)?;
        Ok(Outcome::new(loss, examples)?.counting(Counts { exact: Some(exact), ..Counts::default() }))
    }

    /// The first few test sequences.
    fn illustrate(&self, test: &Sums, _evaluation: &Evaluation) -> Result<Illustrations> {
        let mut rows = Vec::new();
        for index in 0..test.len().min(SHOWN) {
            let (steps, sum) = test.example(index);
            let terms = steps.chunks(2).filter(|step| step[1] > 0.0).map(|step| format!("{:.3}", step[0]));
            rows.push(vec![
                terms.collect::<Vec<_>>().join(" + "),
                format!("{:.3}", self.add(&steps)?),
                format!("{sum:.3}"),
            ]);
        }
        let head = ["marked", "answer", "should be"].map(str::to_owned).to_vec();
        let panel = Panel { title: "Answers".to_owned(), content: Content::Table { head, rows } };
        Ok(Illustrations { panels: vec![panel], ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let mut answers = Vec::new();
        for text in args.texts()? {
            answers.push((text, model.add(&read(text)?)?));
        }
        if args.format() == Format::Json {
            let object = |(text, sum)| json!({ "sequence": text, "sum": sum });
            return output::json(&answers.into_iter().map(object).collect::<Vec<_>>());
        }
        answers.iter().try_for_each(|(_, sum)| output::line(format_args!("{sum:.3}")))
    }
}

impl Adding {
    /// The sum of the marked ones of pairs of number and mark.
    fn add(&self, steps: &[f32]) -> Result<f32> {
        let inputs = Tensor::new(steps, &self.device)?.reshape((1, steps.len() / 2, 2))?;
        Ok(self.model.call(&inputs, &Ctx::eval())?.flatten_all()?.to_vec1::<f32>()?[0])
    }
}

/// Numbers between blanks, those to add with a star: `0.5* 0.1 0.25*`.
fn read(text: &str) -> Result<Vec<f32>> {
    let mut steps = Vec::new();
    for (place, word) in (1..).zip(text.split_whitespace()) {
        let (number, mark) = word.strip_suffix('*').map_or((word, 0.0), |number| (number, 1.0));
        let number = number.parse::<f32>().ok().filter(|number| (0.0..=1.0).contains(number));
        let Some(number) = number else {
            return Err(failed(format!(
                "number {place} must be in [0, 1], a star behind it if it counts, got {word:?}"
            )));
        };
        steps.extend([number, mark]);
    }
    if steps.is_empty() {
        return Err(failed("there is no number in the text"));
    }
    Ok(steps)
}

/// Sequences in a report.
const SHOWN: usize = 12;
