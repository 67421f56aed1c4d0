//! `bench ops`: each op beside stock Candle's in the same process and PyTorch's in a process of its own, and how much of
//! the machine it uses.

mod activation;
mod attention;
mod case;
mod convolution;
mod indexing;
mod linear;
mod loss;
mod norm;
mod pooling;
mod recurrent;
mod resample;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::Serialize;
use serde_json::json;

use self::case::{Case, Function, Gradients};
use super::machine::{Machine, Work};
use super::{Python, Spread};
use crate::failure;
use crate::output::{self, Align, Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ops to measure, by the start of their names [default: all]
    names: Vec<String>,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Beside what to measure; `torch` needs --python
    #[arg(long, value_enum, value_delimiter = ',', default_value = "candle,torch")]
    vs: Vec<Peer>,
    /// A Python with torch: PyTorch is then measured too
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    Candle,
    Torch,
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pass {
    /// Without a graph.
    Forward,
    /// With one, and back through it with a gradient of ones.
    Both,
}

/// One op at one size in one pass; times in milliseconds.
#[derive(Serialize)]
struct Row {
    op: &'static str,
    size: String,
    pass: Pass,
    ours: Spread,
    candle: Option<Spread>,
    torch: Option<Spread>,
    /// The others' times over ours, median of the rounds: above 1 we are faster.
    times_candle: Option<f64>,
    times_torch: Option<f64>,
    /// Of the multiply-adds of a matrix product or the bytes of a copy, measured in the same rounds.
    of_machine: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    rounds: u32,
    threads: usize,
    torch: Option<String>,
    /// Multiply-adds a second of a 1024³ product, in thousand millions, over all rounds.
    multiply_adds: Spread,
    /// Bytes a second read and written by a copy of 64 MiB, in thousand millions.
    copy: Spread,
    ops: Vec<Row>,
}

/// A turn of a side lasts about this long.
const TURN: f64 = 0.04;

pub(crate) fn run(args: &Args) -> Result<()> {
    let cases = cases(&args.names)?;
    let threads = candle_core::utils::get_num_threads();
    let python = args.python.as_ref().filter(|_| args.vs.contains(&Peer::Torch));
    let start =
        |python: &PathBuf| Python::start(python, include_str!("ops.py"), &[threads.to_string().as_ref()]);
    let mut torch = python.map(start).transpose()?;
    let mut machine = Machine::new()?;
    let mut ops = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for pass in [Pass::Forward, Pass::Both] {
            if pass == Pass::Both && !case.is_trained() {
                continue;
            }
            let mut sides = Sides::new(case, number, pass, args, torch.as_mut())?;
            let row = sides.measure(args.rounds, &mut machine)?;
            output::note(format!("{} {} {}: {:.3} ms", row.op, row.size, label(pass), row.ours.median));
            ops.push(row);
        }
    }
    let torch = torch.map(|torch| torch.version().to_owned());
    let [multiply_adds, copy] = machine.rates();
    let report = Report { rounds: args.rounds, threads, torch, multiply_adds, copy, ops };
    if let Some(path) = &args.json {
        output::json_file(path, &report)?;
    }
    print(&report)
}

fn cases(names: &[String]) -> Result<Vec<Case>> {
    let all = [
        convolution::cases(),
        linear::cases(),
        norm::cases(),
        pooling::cases(),
        activation::cases(),
        indexing::cases(),
        loss::cases(),
        recurrent::cases(),
        attention::cases(),
        resample::cases(),
    ];
    let all: Vec<Case> = all.into_iter().flatten().collect();
    let known: Vec<&str> = all.iter().map(|case| case.op).collect();
    for name in names {
        if !known.iter().any(|op| op.starts_with(name.as_str())) {
            return Err(failure::unknown("op", name, &known));
        }
    }
    let wanted =
        |case: &Case| names.is_empty() || names.iter().any(|name| case.op.starts_with(name.as_str()));
    Ok(all.into_iter().filter(wanted).collect())
}

/// One case in one pass on every side.
struct Sides<'a> {
    case: &'a Case,
    pass: Pass,
    inputs: Vec<Tensor>,
    candle: Option<&'a Function>,
    torch: Option<(&'a mut Python, serde_json::Value)>,
}

impl<'a> Sides<'a> {
    fn new(
        case: &'a Case,
        number: usize,
        pass: Pass,
        args: &Args,
        torch: Option<&'a mut Python>,
    ) -> Result<Self> {
        let gradients = if pass == Pass::Both { Gradients::Wanted } else { Gradients::None };
        let inputs = case.tensors(gradients)?;
        let candle = case.candle_for(gradients).filter(|_| args.vs.contains(&Peer::Candle));
        let request = json!({
            "case": number, "inputs": &case.inputs, "setup": &case.setup, "f": &case.torch, "pass": pass, "calls": 1,
        });
        let torch = torch.filter(|_| !case.torch.is_empty()).map(|torch| (torch, request));
        Ok(Self { case, pass, inputs, candle, torch })
    }

    fn measure(&mut self, rounds: u32, machine: &mut Machine) -> Result<Row> {
        let ours = self.calls(Self::ours)?;
        let candle = self.candle.map(|_| self.calls(Self::candle)).transpose()?;
        let torch = self.torch.is_some().then(|| self.calls(Self::torch)).transpose()?;
        let (mut times, mut fractions) = ([const { Vec::new() }; 3], Vec::new());
        for _ in 0..rounds {
            let seconds = self.ours(ours)?;
            times[0].push(1e3 * seconds);
            if let Some(calls) = candle {
                times[1].push(1e3 * self.candle(calls)?);
            }
            if let Some(calls) = torch {
                times[2].push(1e3 * self.torch(calls)?);
            }
            fractions.extend(machine.fraction(self.work(), seconds)?);
        }
        let [ours, candle, torch] = times;
        let some = |times: &[f64]| (!times.is_empty()).then(|| Spread::of(times));
        let ratio = |times: &[f64]| (!times.is_empty()).then(|| Spread::ratio(times, &ours));
        Ok(Row {
            op: self.case.op,
            size: self.case.size.clone(),
            pass: self.pass,
            ours: Spread::of(&ours),
            candle: some(&candle),
            torch: some(&torch),
            times_candle: ratio(&candle),
            times_torch: ratio(&torch),
            of_machine: some(&fractions).map(|spread| spread.median),
        })
    }

    fn work(&self) -> Work {
        match self.pass {
            Pass::Forward => self.case.forward,
            Pass::Both => self.case.both,
        }
    }

    /// How many calls make a turn of a side, after some to warm up.
    fn calls(&mut self, side: fn(&mut Self, u32) -> Result<f64>) -> Result<u32> {
        side(self, 1)?;
        let seconds = side(self, 2)?.min(side(self, 2)?);
        Ok((TURN / seconds).clamp(1.0, 10_000.0) as u32)
    }

    fn ours(&mut self, calls: u32) -> Result<f64> {
        time(&self.case.ours, nn_core::backward, &self.inputs, self.pass, calls)
    }

    fn candle(&mut self, calls: u32) -> Result<f64> {
        let Some(candle) = self.candle else { unreachable!("measured only where it is there") };
        time(candle, Tensor::backward, &self.inputs, self.pass, calls)
    }

    fn torch(&mut self, calls: u32) -> Result<f64> {
        let Some((torch, request)) = &mut self.torch else { unreachable!("measured only where it is there") };
        request["calls"] = calls.into();
        torch.seconds(&request.to_string())
    }
}

/// Seconds a call, its gradients taken on the side's own way back.
fn time(
    f: &Function,
    backward: fn(&Tensor) -> Result<GradStore, candle_core::Error>,
    inputs: &[Tensor],
    pass: Pass,
    calls: u32,
) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..calls {
        let y = f(inputs)?;
        if pass == Pass::Both {
            std::hint::black_box(backward(&y)?);
        }
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(calls))
}

fn label(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Both => "forward + backward",
    }
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let columns = [
        ("op", Align::Left),
        ("size", Align::Left),
        ("pass", Align::Left),
        right("ms"),
        right("range"),
        right("× Candle"),
        right("× PyTorch"),
        right("of machine"),
    ];
    let mut table = Table::new(&columns);
    for row in &report.ops {
        let Spread { median, least, most } = row.ours;
        let times = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        table.row([
            row.op.to_owned(),
            row.size.clone(),
            label(row.pass).to_owned(),
            format!("{median:.3}"),
            format!("{least:.3}–{most:.3}"),
            times(row.times_candle),
            times(row.times_torch),
            row.of_machine.map(|part| format!("{:.0} %", 100.0 * part)).unwrap_or_default(),
        ]);
    }
    let torch = report.torch.as_ref().map(|version| format!(", PyTorch {version}")).unwrap_or_default();
    output::note(format!(
        "{} threads, median and range of {} rounds{torch}; a 1024³ product runs at {:.0} GFLOP/s, a copy at {:.1} GB/s",
        report.threads,
        report.rounds,
        2.0 * report.multiply_adds.median,
        report.copy.median
    ));
    output::line(table)
}
