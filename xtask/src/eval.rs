//! `eval`: loss and accuracy on a data set's test part.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use nn_core::Random;
use nn_train::Figures;
use nn_train::data::{Dataset, Loader, LoaderConfig, Part};
use serde::Serialize;

use crate::data::DataName;
use crate::device::DeviceName;
use crate::figures;
use crate::output::{self, Align, Table, thousands};
use crate::subject::{self, Ready, Subject};
use crate::task::{self, Task};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A run's folder, or a model's name with --weights
    #[arg(value_name = "RUN_OR_MODEL")]
    subject: String,
    /// Weights of any format [default: the run's best]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Data set [default: the run's, or digits]
    #[arg(long, value_enum, value_name = "NAME")]
    data: Option<DataName>,
    /// Folder of the data set's files [default: the run's, or NN_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    device: DeviceName,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome<'a> {
    model: &'a str,
    weights: &'a PathBuf,
    data: &'a str,
    examples: usize,
    #[serde(flatten)]
    figures: Figures,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    (subject::task(&args.subject)?.eval)(args)
}

pub(crate) fn run_task<T: Task>(args: &Args) -> Result<()> {
    let mut subject = Subject::<T>::find(&args.subject, args.weights.as_deref())?;
    subject.choose_data(args.data, args.data_dir.as_deref())?;
    let Ready { recipe, known, model, weights } = subject.ready(args.device)?;
    let set = Arc::new(T::open(&recipe, &known, Part::Test)?);
    let (batch_size, workers) = (T::eval_batch(&recipe), T::workers(&recipe));
    let config = LoaderConfig { batch_size, workers, ..LoaderConfig::default() };
    let loader = Loader::new(Arc::clone(&set), config, Random::new(0))?;
    let evaluation = task::evaluation(&model, &loader)?;
    let [name, data] = T::title(&recipe);
    let outcome = Outcome {
        model: &name,
        weights: &weights,
        data: &data,
        examples: set.len(),
        figures: evaluation.figures(),
    };
    if args.json { output::json(&outcome) } else { output::line(show(&outcome, T::EXAMPLES)) }
}

fn show(outcome: &Outcome<'_>, examples: &str) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("model", format!("{}, weights {}", outcome.model, outcome.weights.display()));
    row("data", format!("{}, {} test {examples}", outcome.data, thousands(outcome.examples as u64)));
    figures::rows(&outcome.figures).into_iter().for_each(|(name, value)| row(name, value));
    table.to_string()
}
