//! `bench sequence`: how fast networks that read sequences learn and translate, beside PyTorch in the same run.
//!
//! Both sides have the same weights and the same batch, and must agree before they are timed. PyTorch's side is `torch.nn`'s
//! modules as its users combine them: a recurrent decoder steps through its text, and `nn.TransformerDecoder`, which keeps no
//! keys and values, sees the whole text again at each token.

mod batch;
mod model;
mod ours;
mod rows;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;

use self::ours::Ours;
use self::rows::{Pass, Row};
use super::{Python, Side, Spread, take_turns};
use crate::output::{self, Align, Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Networks to measure [default: all]
    names: Vec<String>,
    /// What to measure of them
    #[arg(long = "pass", value_enum, value_delimiter = ',', default_value = "training,decoding")]
    passes: Vec<Pass>,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Beside what to measure
    #[arg(long, value_enum, default_value = "torch")]
    vs: Peer,
    /// A Python with torch, numpy and safetensors
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Peer {
    Torch,
}

/// One row; times in milliseconds.
#[derive(Serialize)]
struct Measured {
    row: Row,
    ours: Spread,
    torch: Option<Spread>,
    /// PyTorch's time over ours, median of the rounds: above 1 we are faster.
    times_torch: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    rounds: u32,
    threads: usize,
    torch: Option<String>,
    rows: Vec<Measured>,
}

/// How far PyTorch's answer may be from ours: its logits by so much of the largest, its tokens in so many of all.
const TOLERANCE: f64 = 1e-3;

pub(crate) fn run(args: &Args) -> Result<()> {
    let Peer::Torch = args.vs;
    let threads = candle_core::utils::get_num_threads();
    let start = |python: &PathBuf| {
        Python::start(python, include_str!("sequence/torch.py"), &[threads.to_string().as_ref()])
    };
    let mut torch = args.python.as_ref().map(start).transpose()?;
    let mut rows = Vec::new();
    for row in rows::chosen(&args.names, &args.passes)? {
        let measured = measure(row, args.rounds, torch.as_mut())?;
        output::note(format!(
            "{} {} of {}: {:.2} ms",
            row.name,
            row.pass.label(),
            row.batch,
            measured.ours.median
        ));
        rows.push(measured);
    }
    let torch = torch.map(|torch| torch.version().to_owned());
    let report = Report { rounds: args.rounds, threads, torch, rows };
    if let Some(path) = &args.json {
        output::json_file(path, &report)?;
    }
    print(&report)
}

fn measure(row: Row, rounds: u32, torch: Option<&mut Python>) -> Result<Measured> {
    let mut ours = Ours::new(row)?;
    let file = ours.file()?;
    let torch = torch.map(|torch| in_torch(torch, row, file.path())).transpose()?;
    let own: Side = Box::new(|calls| ours.seconds(calls));
    let mut times = take_turns(std::iter::once(own).chain(torch).collect(), rounds)?.into_iter();
    let (here, there) = (times.next().unwrap_or_default(), times.next());
    Ok(Measured {
        row,
        ours: Spread::of(&here),
        torch: there.as_ref().map(|times| Spread::of(times)),
        times_torch: there.as_ref().map(|times| Spread::ratio(times, &here)),
    })
}

/// PyTorch's side, once its answer is ours.
fn in_torch<'a>(torch: &'a mut Python, row: Row, file: &Path) -> Result<Side<'a>> {
    let mut request = json!({ "row": row, "file": file, "calls": 0 });
    let off = torch.seconds(&request.to_string())?;
    ensure!(off <= TOLERANCE, "PyTorch's {} is another network: its answer is {off} off", row.name);
    Ok(Box::new(move |calls| {
        request["calls"] = calls.into();
        torch.seconds(&request.to_string())
    }))
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let left = |name| (name, Align::Left);
    let columns = [
        left("network"),
        left("pass"),
        right("batch"),
        right("ms"),
        right("range"),
        right("sequences/s"),
        right("× PyTorch"),
        right("aim"),
    ];
    let mut table = Table::new(&columns);
    for Measured { row, ours, times_torch, .. } in &report.rows {
        table.row([
            row.name.to_owned(),
            row.pass.label().to_owned(),
            row.batch.to_string(),
            format!("{:.2}", ours.median),
            format!("{:.2}–{:.2}", ours.least, ours.most),
            format!("{:.0}", 1e3 * row.batch as f64 / ours.median),
            times_torch.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            row.aim.map(|aim| format!("{aim:.1}")).unwrap_or_default(),
        ]);
    }
    let torch = report.torch.as_ref().map(|version| format!(", PyTorch {version}")).unwrap_or_default();
    output::note(format!("{} threads, median and range of {} rounds{torch}", report.threads, report.rounds));
    output::line(table)
}
