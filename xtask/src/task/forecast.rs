//! Forecasts: what comes next in a time series, by a recurrent network that reads how it came about.
//!
//! The network sees each value as its difference to the last known one and foretells differences to it, so a level that no
//! training step had is no stranger to it: Hyndman & Athanasopoulos 2021, "Forecasting: principles and practice", 3rd ed.,
//! §9.1; and for the two forecasts it must be better than, §5.2.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{D, Device, Tensor};
use nn_core::ops::{Reduction, mse};
use nn_core::{Ctx, Layer, ParamStore, Random};
use nn_layers::Bias;
use nn_sequence::{Axes, Directions, Forecaster, ForecasterConfig, Input, RecurrentConfig, SequenceConfig};
use nn_train::data::{CsvTable, Dataset, Part, Scale, WindowBatch, WindowConfig, Windows, chronological};
use nn_train::metrics::ValueErrors;
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Counts, Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::network::{UnitName, variables};
use super::{Neighbours, Task};
use crate::data;
use crate::failure::{Advise, failed};
use crate::output::{self, Align, Table, note};
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[model]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    unit: UnitName,
    hidden: usize,
    layers: usize,
    dropout: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self { unit: UnitName::Lstm, hidden: 64, layers: 1, dropout: 0.0 }
    }
}

/// The table `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder of the file, in `dir` or the same.
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    file: String,
    /// The column to foretell.
    target: String,
    /// Further columns that the network sees.
    others: Vec<String>,
    values: Values,
    /// Steps of the past that it sees, and steps to foretell.
    length: usize,
    horizon: usize,
    /// Steps from one training window to the next.
    stride: usize,
    /// Steps after which the series repeats itself.
    season: usize,
    /// The share of the steps that is trained on: the first.
    fraction: f64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            folder: String::new(),
            dir: None,
            file: String::new(),
            target: String::new(),
            others: Vec::new(),
            values: Values::default(),
            length: 24,
            horizon: 1,
            stride: 1,
            season: 12,
            fraction: 0.8,
        }
    }
}

/// As what the network sees values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Values {
    /// As they are.
    #[default]
    Plain,
    /// Their logarithms, where ups and downs grow with the level.
    Logarithms,
}

impl Values {
    fn apply(self, values: Vec<f64>, column: &str) -> Result<Vec<f64>> {
        if self == Self::Plain {
            return Ok(values);
        }
        match values.iter().find(|value| **value <= 0.0) {
            Some(value) => Err(failed(format!("{column} has the value {value}: it has no logarithm")))
                .advise("take the values as they are: --set data.values=plain"),
            None => Ok(values.into_iter().map(f64::ln).collect()),
        }
    }

    fn undo(self, value: f64) -> f64 {
        match self {
            Self::Plain => value,
            Self::Logarithms => value.exp(),
        }
    }
}

/// A network that foretells a column.
pub(crate) struct Forecast {
    model: Forecaster,
    data: Data,
    scales: Vec<Scale>,
    device: Device,
}

impl Data {
    /// The column to foretell, then the others.
    fn columns(&self) -> Vec<&str> {
        std::iter::once(&self.target).chain(&self.others).map(String::as_str).collect()
    }

    fn read(&self, path: &Path) -> Result<Vec<Vec<f64>>> {
        let table = CsvTable::read(path)?;
        let column = |name| self.values.apply(table.numbers(name)?, name);
        self.columns().into_iter().map(column).collect()
    }

    fn series(&self) -> Result<Vec<Vec<f64>>> {
        let path = data::folder_of(self.dir.as_deref(), &self.folder)?.join(&self.file);
        self.read(&path).advise(data::advice(&self.folder))
    }

    fn windows(&self) -> WindowConfig {
        WindowConfig { length: self.length, horizon: self.horizon, stride: self.stride }
    }
}

impl Task for Forecast {
    const NAME: &'static str = "forecast";
    const EXAMPLES: &'static str = "windows";
    type Model = Model;
    type Data = Data;
    type Augment = Nothing;
    /// The scale of each column's training part.
    type Known = Vec<Scale>;
    type Set = Windows;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let (model, data) = (&recipe.model, &recipe.data);
        range::at_least_one(&[
            ("model.hidden", model.hidden),
            ("model.layers", model.layers),
            ("data.length", data.length),
            ("data.horizon", data.horizon),
            ("data.stride", data.stride),
            ("data.season", data.season),
        ])?;
        range::below_one(&[("model.dropout", model.dropout)])?;
        range::inside("data.fraction", data.fraction)
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        let file = Path::new(&recipe.data.file).file_stem().unwrap_or_default();
        [recipe.model.unit.name().to_owned(), file.to_string_lossy().into_owned()]
    }

    fn locate(data: &mut Data, given: Option<&Path>) {
        data::locate(&mut data.dir, given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Vec<Scale>> {
        let columns = recipe.data.series()?;
        let steps = columns.first().map_or(0, Vec::len);
        let [train, _] = chronological(steps, recipe.data.fraction)?;
        Ok(columns.iter().map(|column| Scale::fit(&column[train.clone()])).collect::<Result<_, _>>()?)
    }

    fn open(recipe: &Recipe<Self>, scales: &Vec<Scale>, part: Part) -> Result<Windows> {
        let data = &recipe.data;
        let columns = data.series()?;
        let [train, test] = chronological(columns.first().map_or(0, Vec::len), data.fraction)?;
        let (part, stride) = if part == Part::Train { (train, data.stride) } else { (test, 1) };
        Ok(Windows::new(&columns, scales, 0, part, WindowConfig { stride, ..data.windows() })?)
    }

    /// No value is foretold in training and in validation.
    fn neighbours(recipe: &Recipe<Self>) -> Neighbours {
        let Data { horizon, stride, .. } = recipe.data;
        Neighbours::Overlap(horizon.div_ceil(stride).saturating_sub(1))
    }

    fn build(recipe: &Recipe<Self>, known: &Vec<Scale>, store: &ParamStore, device: &Device) -> Result<Self> {
        let Model { unit, hidden, layers, dropout } = recipe.model;
        let recurrent = RecurrentConfig {
            unit: unit.unit(),
            layers,
            directions: Directions::Forward,
            dropout,
            bias: Bias::Learned,
            axes: Axes::BatchFirst,
        };
        let input = Input::Features(recipe.data.columns().len());
        let sequence = SequenceConfig { input, hidden, recurrent, dropout };
        let cfg = ForecasterConfig { sequence, horizon: recipe.data.horizon };
        let model = Forecaster::new(&cfg, variables(store, device))?;
        Ok(Self { model, data: recipe.data.clone(), scales: known.clone(), device: device.clone() })
    }

    fn outcome(&self, batch: &WindowBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let changes = self.changes(&batch.inputs, ctx)?; // [B, horizon]
        let last = batch.last.to_device(&self.device)?;
        let targets = batch.targets.to_device(&self.device)?;
        let loss = mse(&changes, &targets.broadcast_sub(&last)?, Reduction::Mean)?;
        let foretold = self.values(&changes.detach().broadcast_add(&last)?)?;
        let truth = self.values(&targets)?;
        let mut errors = ValueErrors::default();
        foretold
            .iter()
            .zip(&truth)
            .for_each(|(&foretold, &truth)| errors += ValueErrors::of_one(foretold, truth));
        Ok(Outcome::new(loss, targets.dim(0)?)?
            .counting(Counts { values: Some(errors), ..Counts::default() }))
    }

    /// Forecast against truth, and the two forecasts that ask for no network.
    fn illustrate(&self, test: &Windows, _evaluation: &Evaluation) -> Result<Illustrations> {
        let comparison = self.comparison(test)?;
        let mut table = Table::new(&[
            ("forecast", Align::Left),
            ("RMSE", Align::Right),
            ("MAE", Align::Right),
            ("MAPE", Align::Right),
        ]);
        comparison.iter().for_each(|row| table.row(row.clone()));
        note(format_args!("\n{table}"));
        let head = ["forecast", "RMSE", "MAE", "MAPE"].map(str::to_owned).to_vec();
        let panels = vec![
            Panel {
                title: format!("{} foretold and as it came", self.data.target),
                content: self.curves(test)?,
            },
            Panel {
                title: format!("On the same {} test windows", test.len()),
                content: Content::Table { head, rows: comparison },
            },
        ];
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let mut answers = Vec::new();
        for text in args.texts()? {
            answers.push((text, model.go_on(text)?));
        }
        if args.format() == Format::Json {
            let object = |(text, values)| json!({ "past": text, "forecast": values });
            return output::json(&answers.into_iter().map(object).collect::<Vec<_>>());
        }
        answers.iter().try_for_each(|(_, values)| {
            output::line(values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" "))
        })
    }
}

impl Forecast {
    /// What is foretold, scaled, as the difference to the last value: `[B, length, columns]` → `[B, horizon]`.
    fn changes(&self, inputs: &Tensor, ctx: &Ctx<'_>) -> candle_core::Result<Tensor> {
        let inputs = inputs.to_device(&self.device)?;
        let last = inputs.narrow(1, inputs.dim(1)? - 1, 1)?; // [B, 1, columns]
        self.model.call(&inputs.broadcast_sub(&last)?, ctx)
    }

    /// Scaled numbers in the unit of the file, row by row.
    fn values(&self, scaled: &Tensor) -> candle_core::Result<Vec<f64>> {
        let scale = self.scales[0];
        let scaled: Vec<f32> = scaled.flatten_all()?.to_vec1()?;
        Ok(scaled.into_iter().map(|x| self.data.values.undo(scale.undo(f64::from(x)))).collect())
    }

    /// What is foretold of windows, `horizon` values each, in the unit of the file.
    fn foretold(&self, batch: &WindowBatch) -> candle_core::Result<Vec<f64>> {
        let changes = self.changes(&batch.inputs, &Ctx::eval())?;
        self.values(&changes.broadcast_add(&batch.last.to_device(&self.device)?)?)
    }

    /// Names and errors of the network's forecast and of the two simple ones, on those windows that all can foretell.
    fn comparison(&self, test: &Windows) -> Result<Vec<Vec<String>>> {
        let season = self.data.season;
        let names = [self.data.season_name(), "the last value".to_owned(), "the network".to_owned()];
        let plain = |value: f64| self.data.values.undo(value);
        let mut errors = [ValueErrors::default(); 3];
        let indices: Vec<usize> = (0..test.len()).filter(|&n| test.naive(n, season).is_some()).collect();
        for indices in indices.chunks(BATCH) {
            let foretold = self.foretold(&test.batch(indices, Random::new(0))?)?;
            for (&index, network) in indices.iter().zip(foretold.chunks(self.data.horizon)) {
                let Some((_, truth)) = test.window(index) else { continue };
                let naive = |season| test.naive(index, season).unwrap_or_default();
                let naive = [naive(season), naive(1)].map(|values| values.into_iter().map(plain).collect());
                let [seasonal, last]: [Vec<f64>; 2] = naive;
                for (errors, forecast) in errors.iter_mut().zip([seasonal.as_slice(), &last, network]) {
                    for (&foretold, &truth) in forecast.iter().zip(truth) {
                        *errors += ValueErrors::of_one(foretold, plain(truth));
                    }
                }
            }
        }
        let text = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        let row = |(name, errors): (String, ValueErrors)| {
            // Where a true value is 0 the share means nothing.
            let mape = errors.mape().filter(|share| *share < 100.0);
            let mape = mape.map_or("–".to_owned(), |share| format!("{:.2} %", 100.0 * share));
            vec![name, text(errors.rmse()), text(errors.mae()), mape]
        };
        Ok(names.into_iter().zip(errors).rev().map(row).collect())
    }

    /// The test part, foretold a horizon after the other: the last few hundred steps.
    fn curves(&self, test: &Windows) -> Result<Content> {
        let horizon = self.data.horizon;
        let windows = (STEPS / horizon).clamp(1, test.len().div_ceil(horizon));
        let first = (test.len() - 1).saturating_sub((windows - 1) * horizon);
        let indices: Vec<usize> = (first..test.len()).step_by(horizon).collect();
        let foretold = self.foretold(&test.batch(&indices, Random::new(0))?)?;
        let truth = indices.iter().filter_map(|&index| test.window(index)).flat_map(|(_, came)| came);
        let truth: Vec<f64> = truth.map(|&value| self.data.values.undo(value)).collect();
        Ok(Content::Lines {
            across: "step",
            lines: [("as it came".to_owned(), truth), ("foretold".to_owned(), foretold)],
        })
    }

    /// What comes after numbers, or after the last rows of a file.
    fn go_on(&self, text: &str) -> Result<Vec<f64>> {
        let columns =
            if Path::new(text).is_file() { self.data.read(Path::new(text))? } else { self.numbers(text)? };
        let (length, all) = (self.data.length, columns[0].len());
        let Some(first) = all.checked_sub(length) else {
            return Err(failed(format!("the network reads {length} values, got {all}")));
        };
        let step = |step: usize| columns.iter().zip(&self.scales).map(move |(c, s)| s.apply(c[step]) as f32);
        let inputs: Vec<f32> = (first..all).flat_map(step).collect();
        let inputs = Tensor::from_vec(inputs, (1, length, columns.len()), &Device::Cpu)?;
        let last = inputs.narrow(1, length - 1, 1)?.narrow(D::Minus1, 0, 1)?.flatten_from(1)?; // [1, 1]
        Ok(self.foretold(&WindowBatch { targets: last.clone(), last, inputs })?)
    }

    fn numbers(&self, text: &str) -> Result<Vec<Vec<f64>>> {
        if !self.data.others.is_empty() {
            return Err(failed(format!("{text:?} is no file, and the network reads several columns")))
                .advise(format!("give a CSV file with {}", self.data.columns().join(", ")));
        }
        let words = text.split([',', ';', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let number = |(place, word): (usize, &str)| {
            let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| failed(format!("value {place} is no number and no file: {word:?}")))
        };
        let values = (1..).zip(words).map(number).collect::<Result<_>>()?;
        Ok(vec![self.data.values.apply(values, &self.data.target)?])
    }
}

impl Data {
    fn season_name(&self) -> String {
        format!("the value {} steps before", self.season)
    }
}

/// Windows that are foretold at once.
const BATCH: usize = 256;

/// Steps of the test part in a report's curve.
const STEPS: usize = 240;
