//! `bench models`: how fast whole models answer and learn, how much memory that takes, and how long a new process needs
//! for its first answer, beside PyTorch, ONNX Runtime and stock Candle in the same run.

mod once;
mod ours;
mod rows;
mod stock;

use std::iter;
use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use nn_core::Activations;
use serde::Serialize;
use serde_json::json;

use self::once::Once;
use self::ours::Ours;
pub(super) use self::rows::Pass;
use self::rows::{Row, rows};
use super::{Python, Side, Spread, take_turns};
use crate::output::{self, Align, Table};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Models to measure [default: those with published timings of their peers]
    names: Vec<String>,
    /// What to measure of them
    #[arg(long = "pass", value_enum, value_delimiter = ',', default_value = "inference,training")]
    passes: Vec<Pass>,
    /// Images a batch [default: 1 and 8 for inference; for training what fits the model]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Vec<u32>,
    /// How small our side keeps activations in training
    #[arg(long, default_value = "whole", value_parser = kept())]
    activations: Activations,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Beside what to measure; all but Candle lives in Python
    #[arg(long, value_enum, value_delimiter = ',', default_value = "torch")]
    vs: Vec<Peer>,
    /// A Python with numpy and safetensors, torch and torchvision, and onnx, onnxscript and onnxruntime where they are measured
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Also start a process for each row, on each side, for its peak memory and the time to its first answer
    #[arg(long)]
    processes: bool,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run one batch with weights from a file and print the peak of memory: what --processes starts
    #[arg(long, hide = true, value_name = "FILE")]
    once: Option<PathBuf>,
}

fn kept() -> impl TypedValueParser<Value = Activations> {
    PossibleValuesParser::new(["whole", "bf16"])
        .map(|name| if name == "bf16" { Activations::Bf16 } else { Activations::Whole })
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    Torch,
    Onnxruntime,
    /// Stock Candle's layers, in inference, for the models they suffice for
    Candle,
}

/// One model in one pass at one batch size; times in milliseconds.
#[derive(Serialize)]
struct Measured {
    model: &'static str,
    pass: Pass,
    batch: u32,
    ours: Spread,
    torch: Option<Spread>,
    onnxruntime: Option<Spread>,
    candle: Option<Spread>,
    /// The others' times over ours, median of the rounds: above 1 we are faster.
    times_torch: Option<f64>,
    times_onnxruntime: Option<f64>,
    times_candle: Option<f64>,
    processes: Option<Processes>,
}

/// What new processes needed: one batch, with weights from a file.
#[derive(Serialize)]
struct Processes {
    ours: Once,
    torch: Option<Once>,
}

#[derive(Serialize)]
struct Report {
    rounds: u32,
    threads: usize,
    torch: Option<String>,
    onnxruntime: Option<String>,
    models: Vec<Measured>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let rows = rows(&args.names, &args.passes, &args.batch_size, args.activations)?;
    if let Some(weights) = &args.once {
        return rows.iter().try_for_each(|&row| once::run(row, weights));
    }
    let mut peers = Peers::start(args)?;
    let mut models = Vec::new();
    for row in rows {
        let measured = measure(row, args, &mut peers)?;
        let Row { entry, pass, batch, .. } = row;
        output::note(format!("{} {} of {batch}: {:.2} ms", entry.name, pass.label(), measured.ours.median));
        models.push(measured);
    }
    let version = |peer: &Option<Python>| peer.as_ref().map(|peer| peer.version().to_owned());
    let (torch, onnxruntime) = (version(&peers.torch), version(&peers.onnxruntime));
    let report = Report { rounds: args.rounds, threads: peers.threads, torch, onnxruntime, models };
    if let Some(path) = &args.json {
        output::json_file(path, &report)?;
    }
    print(&report)
}

/// The sides that take turns with ours.
struct Peers {
    torch: Option<Python>,
    onnxruntime: Option<Python>,
    threads: usize,
}

impl Peers {
    fn start(args: &Args) -> Result<Self> {
        let threads = candle_core::utils::get_num_threads();
        let golden = workspace::root().join("tests/golden");
        let start = |peer: Peer, program: &str| {
            let python = args.python.as_ref().filter(|_| args.vs.contains(&peer));
            let program = format!("{BUILD}\n{program}");
            python
                .map(|python| {
                    Python::start(python, &program, &[golden.as_os_str(), threads.to_string().as_ref()])
                })
                .transpose()
        };
        Ok(Self {
            torch: start(Peer::Torch, include_str!("models/torch.py"))?,
            onnxruntime: start(Peer::Onnxruntime, include_str!("models/onnx.py"))?,
            threads,
        })
    }
}

/// How the peers build a model.
const BUILD: &str = include_str!("models/build.py");

/// Who takes turns with ours: PyTorch, ONNX Runtime, stock Candle.
fn sides<'a>(row: Row, args: &Args, peers: &'a mut Peers, ours: &Ours) -> Result<[Option<Side<'a>>; 3]> {
    let Row { entry, pass, batch, .. } = row;
    let in_python = |python: &'a mut Python| -> Side<'a> {
        Box::new(move |calls| {
            let request = json!({ "model": entry.name, "pass": pass, "batch": batch, "calls": calls });
            python.seconds(&request.to_string())
        })
    };
    // An exported graph does not learn, and Candle's layers have gradients that differ.
    let inference = pass == Pass::Inference;
    let stock = if inference && args.vs.contains(&Peer::Candle) { ours.stock()? } else { None };
    Ok([
        peers.torch.as_mut().map(in_python),
        peers.onnxruntime.as_mut().filter(|_| inference).map(in_python),
        stock.map(|stock| -> Side<'a> { Box::new(move |calls| stock.seconds(calls)) }),
    ])
}

fn measure(row: Row, args: &Args, peers: &mut Peers) -> Result<Measured> {
    let Row { entry, pass, batch, .. } = row;
    let (has_torch, threads) = (peers.torch.is_some(), peers.threads);
    let mut ours = Ours::new(row)?;
    let others = sides(row, args, peers, &ours)?;
    let present = others.each_ref().map(Option::is_some);
    let own: Side = Box::new(|calls| ours.seconds(calls));
    let mut times =
        take_turns(iter::once(own).chain(others.into_iter().flatten()).collect(), args.rounds)?.into_iter();
    let here = times.next().unwrap_or_default();
    let times = present.map(|present| present.then(|| times.next()).flatten());
    let spread = |i: usize| times[i].as_ref().map(|times| Spread::of(times));
    let ratio = |i: usize| times[i].as_ref().map(|times| Spread::ratio(times, &here));
    let processes = if args.processes {
        let weights = ours.weights()?;
        let torch = args.python.as_ref().filter(|_| has_torch);
        let torch = torch.map(|python| Once::of_torch(python, row, weights.path(), threads)).transpose()?;
        Some(Processes { ours: Once::of_ours(row, weights.path())?, torch })
    } else {
        None
    };
    Ok(Measured {
        model: entry.name,
        pass,
        batch,
        ours: Spread::of(&here),
        torch: spread(0),
        onnxruntime: spread(1),
        candle: spread(2),
        times_torch: ratio(0),
        times_onnxruntime: ratio(1),
        times_candle: ratio(2),
        processes,
    })
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let columns = [
        ("model", Align::Left),
        ("pass", Align::Left),
        right("batch"),
        right("ms"),
        right("range"),
        right("images/s"),
        right("× PyTorch"),
        right("× ONNX Runtime"),
        right("× Candle"),
        right("peak, MB"),
        right("PyTorch's"),
        right("first answer, s"),
        right("PyTorch's"),
    ];
    let mut table = Table::new(&columns);
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    for row in &report.models {
        let Spread { median, least, most } = row.ours;
        let once = row.processes.as_ref();
        let sides = [once.map(|p| p.ours), once.and_then(|p| p.torch)];
        let peak = sides.map(|side| side.and_then(|once| once.peak_bytes));
        let [peak, torch_peak] =
            peak.map(|bytes| bytes.map(|bytes| format!("{:.0}", bytes as f64 / 1e6)).unwrap_or_default());
        let [first, torch_first] =
            sides.map(|side| side.map(|once| format!("{:.2}", once.seconds)).unwrap_or_default());
        table.row([
            row.model.to_owned(),
            row.pass.label().to_owned(),
            row.batch.to_string(),
            format!("{median:.2}"),
            format!("{least:.2}–{most:.2}"),
            format!("{:.1}", 1e3 * f64::from(row.batch) / median),
            ratio(row.times_torch),
            ratio(row.times_onnxruntime),
            ratio(row.times_candle),
            peak,
            torch_peak,
            first,
            torch_first,
        ]);
    }
    let peers = [("PyTorch", &report.torch), ("ONNX Runtime", &report.onnxruntime)];
    let peers: String = peers
        .iter()
        .filter_map(|(name, version)| version.as_ref().map(|v| format!(", {name} {v}")))
        .collect();
    output::note(format!("{} threads, median and range of {} rounds{peers}", report.threads, report.rounds));
    output::line(table)?;
    means(report);
    Ok(())
}

/// How much faster than PyTorch all rows of a pass are together.
fn means(report: &Report) {
    for pass in [Pass::Inference, Pass::Training] {
        let ratios: Vec<f64> =
            report.models.iter().filter(|row| row.pass == pass).filter_map(|row| row.times_torch).collect();
        if !ratios.is_empty() {
            let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            output::note(format!(
                "{}: {mean:.2} × PyTorch, geometric mean of {} rows",
                pass.label(),
                ratios.len()
            ));
        }
    }
}
