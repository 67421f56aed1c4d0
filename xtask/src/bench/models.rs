//! `bench models`: how long a training step takes, beside PyTorch's in the same run.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use nn_core::{Ctx, Layer, ParamStore, Random, ops};
use nn_train::{Optimizer, Rule, Sgd};
use nn_vision::{Entry, Network};
use serde::Serialize;

use super::{Spread, Torch};
use crate::failure;
use crate::output::{self, Align, Table};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Models to measure [default: those for digits]
    names: Vec<String>,
    /// Images a step
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Steps a turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// A Python with torch, numpy and safetensors: PyTorch is then measured too
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Milliseconds a step of one model.
#[derive(Serialize)]
struct Row {
    model: &'static str,
    ours: Spread,
    torch: Option<Spread>,
    /// PyTorch's time over ours, median of the rounds: above 1 we are faster.
    speedup: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    batch_size: u32,
    rounds: u32,
    steps: u32,
    threads: usize,
    torch: Option<String>,
    models: Vec<Row>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let entries = entries(&args.names)?;
    let threads = candle_core::utils::get_num_threads();
    let start = |python: &PathBuf| {
        let golden = workspace::root().join("tests/golden");
        Torch::start(python, include_str!("models.py"), &[golden.as_os_str(), threads.to_string().as_ref()])
    };
    let mut torch = args.python.as_ref().map(start).transpose()?;
    let mut models = Vec::new();
    for entry in entries {
        models.push(measure(entry, args, torch.as_mut())?);
    }
    let version = torch.as_ref().map(|torch| torch.version().to_owned());
    let Args { batch_size, rounds, steps, json, .. } = *args;
    let report = Report { batch_size, rounds, steps, threads, torch: version, models };
    if json { output::json(&report) } else { print(&report) }
}

fn entries(names: &[String]) -> Result<Vec<&'static Entry>> {
    let all: Vec<&str> = nn_vision::entries().map(|entry| entry.name).collect();
    if names.is_empty() {
        return Ok(nn_vision::entries().filter(|entry| entry.input == [1, 28, 28]).collect());
    }
    names
        .iter()
        .map(|name| nn_vision::find(name).ok_or_else(|| failure::unknown("model", name, &all)))
        .collect()
}

fn measure(entry: &'static Entry, args: &Args, mut torch: Option<&mut Torch>) -> Result<Row> {
    let mut ours = Ours::new(entry, args.batch_size as usize)?;
    ours.seconds_a_step(args.steps)?;
    if let Some(torch) = torch.as_deref_mut() {
        torch.seconds(&request(entry, args))?;
    }
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        here.push(1e3 * ours.seconds_a_step(args.steps)?);
        if let Some(torch) = torch.as_deref_mut() {
            there.push(1e3 * torch.seconds(&request(entry, args))?);
        }
    }
    let ratios: Vec<f64> = there.iter().zip(&here).map(|(there, here)| there / here).collect();
    Ok(Row {
        model: entry.name,
        ours: Spread::of(&here),
        torch: torch.is_some().then(|| Spread::of(&there)),
        speedup: torch.is_some().then(|| Spread::of(&ratios).median),
    })
}

/// This workspace's side.
struct Ours {
    model: Network,
    sgd: Optimizer,
    images: Tensor,
    labels: Tensor,
    step: u64,
}

impl Ours {
    fn new(entry: &Entry, batch: usize) -> Result<Self> {
        let store = ParamStore::new(0);
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let sgd = Optimizer::new(Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }), store.parameters())?;
        let mut draws = Random::new(0).at("bench").draws();
        let [c, h, w] = entry.input;
        let pixels: Vec<f32> = (0..batch * c * h * w).map(|_| draws.normal() as f32).collect();
        let labels: Vec<u32> = (0..batch).map(|_| draws.below(entry.num_classes as u32)).collect();
        let images = Tensor::from_vec(pixels, (batch, c, h, w), &Device::Cpu)?;
        Ok(Self { model, sgd, images, labels: Tensor::from_vec(labels, batch, &Device::Cpu)?, step: 0 })
    }

    fn seconds_a_step(&mut self, steps: u32) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..steps {
            self.step += 1;
            let logits = self.model.call(&self.images, &Ctx::train(0).step(self.step))?;
            let loss = ops::cross_entropy(&logits, &self.labels, ops::Reduction::Mean)?;
            self.sgd.step(&nn_core::backward(&loss)?, 0.01)?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(steps))
    }
}

/// What the other side is asked: `model batch steps`.
fn request(entry: &Entry, args: &Args) -> String {
    format!("{} {} {}", entry.name, args.batch_size, args.steps)
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let columns = [
        ("model", Align::Left),
        right("ms a step"),
        right("range"),
        right("PyTorch"),
        right("range"),
        right("times as fast"),
    ];
    let mut table = Table::new(&columns);
    let cells = |s: Spread| [format!("{:.2}", s.median), format!("{:.2}–{:.2}", s.least, s.most)];
    for row in &report.models {
        let ours = cells(row.ours);
        let torch = row.torch.map(cells).unwrap_or_default();
        let speedup = row.speedup.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        table.row([row.model.to_owned()].into_iter().chain(ours).chain(torch).chain([speedup]));
    }
    let torch = report.torch.as_ref().map(|version| format!(", PyTorch {version}")).unwrap_or_default();
    output::note(format!(
        "Training steps of {} images, {} threads, median and range of {} rounds of {} steps{torch}",
        report.batch_size, report.threads, report.rounds, report.steps
    ));
    output::line(table)
}
