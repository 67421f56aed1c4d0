//! `eval`: loss and accuracy on a data set's test part.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use nn_core::{ParamStore, Random};
use nn_train::data::{Dataset, Loader, LoaderConfig, Part};
use nn_train::{Figures, evaluate};
use serde::Serialize;

use crate::data::DataName;
use crate::device::DeviceName;
use crate::output::{self, Align, Table, thousands};
use crate::subject::Subject;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A run's folder, or a model's name with --weights
    #[arg(value_name = "RUN_OR_MODEL")]
    subject: String,
    /// Weights, safetensors or PyTorch's [default: the run's best]
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

/// Images a step: enough to keep two cores busy, and little memory.
const BATCH: usize = 250;

/// Large images come in smaller batches.
const PIXELS: usize = 16 * 3 * 224 * 224;

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
    let mut subject = Subject::find(&args.subject, args.weights.as_deref())?;
    subject.choose_data(args.data, args.data_dir.as_deref());
    let device = args.device.open()?;
    let input = subject.model.input();
    let set = Arc::new(subject.data.open(Part::Test, input, None)?);
    let model = subject.model.build(set.source().classes().len(), ParamStore::blank(), &device)?;
    model.load(&subject.weights)?;
    let batch_size = (PIXELS / input.iter().product::<usize>().max(1)).clamp(1, BATCH);
    let config = LoaderConfig { batch_size, workers: subject.data.workers(), ..LoaderConfig::default() };
    let loader = Loader::new(Arc::clone(&set), config, Random::new(0))?;
    let evaluation =
        evaluate(&loader, |_| ControlFlow::Continue(()), |batch, ctx| model.outcome(batch, ctx))?;
    let Some(evaluation) = evaluation else { unreachable!("nothing asks it to stop") };
    let outcome = Outcome {
        model: &subject.model.name,
        weights: &subject.weights,
        data: subject.data.name.facts().name,
        examples: set.len(),
        figures: evaluation.figures(),
    };
    if args.json { output::json(&outcome) } else { output::line(show(&outcome)) }
}

fn show(outcome: &Outcome<'_>) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("model", format!("{}, weights {}", outcome.model, outcome.weights.display()));
    row("data", format!("{}, {} test images", outcome.data, thousands(outcome.examples as u64)));
    let figures = outcome.figures;
    for (name, share) in [("mean IoU", figures.mean_iou), ("accuracy", figures.accuracy)] {
        share.into_iter().for_each(|share| row(name, format!("{:.2} %", 100.0 * share)));
    }
    row("loss", format!("{:.4}", outcome.figures.loss));
    table.to_string()
}
