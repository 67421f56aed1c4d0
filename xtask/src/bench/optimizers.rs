//! `bench optimizers`: one step over the parameters of ResNet-50, beside PyTorch's fused and foreach ones, and as a part of the
//! bandwidth of a copy.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use nn_core::{ParamStore, Random};
use nn_train::optim::{
    Adadelta, Adagrad, Adam, AdamW, Lamb, Lion, NAdam, Optimizer, RAdam, RmsProp, Rule, Sgd,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::machine::{Machine, Work};
use super::{Python, Spread};
use crate::failure;
use crate::output::{self, Align, Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rules to measure, by the start of their names [default: all]
    names: Vec<String>,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A Python with torch: PyTorch is then measured too
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A rule, and how PyTorch is asked for it.
struct Case {
    name: &'static str,
    rule: Rule,
    /// Of `torch.optim`; empty if it is not there.
    class: &'static str,
    options: Value,
    /// How often a parameter's bytes are read or written at least: itself twice, its gradient once, what is kept for it twice.
    passes: f64,
    ways: &'static [&'static str],
}

const BOTH: &[&str] = &["fused", "foreach"];
const FOREACH: &[&str] = &["foreach"];

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |name, rule, class, options, passes, ways| Case { name, rule, class, options, passes, ways };
    let momentum = Sgd { momentum: 0.9, weight_decay: 1e-4, ..Sgd::default() };
    let averaging = RmsProp { momentum: 0.9, ..RmsProp::default() };
    vec![
        case("sgd",          Rule::Sgd(Sgd::default()),           "SGD",      json!({}), 3.0, BOTH),
        case("sgd-momentum", Rule::Sgd(momentum),                 "SGD",      json!({"momentum": 0.9, "weight_decay": 1e-4}), 5.0, BOTH),
        case("adam",         Rule::Adam(Adam::default()),         "Adam",     json!({}), 7.0, BOTH),
        case("adamw",        Rule::AdamW(AdamW::default()),       "AdamW",    json!({}), 7.0, BOTH),
        case("nadam",        Rule::NAdam(NAdam::default()),       "NAdam",    json!({}), 7.0, FOREACH),
        case("radam",        Rule::RAdam(RAdam::default()),       "RAdam",    json!({}), 7.0, FOREACH),
        case("rmsprop",      Rule::RmsProp(averaging),            "RMSprop",  json!({"momentum": 0.9}), 7.0, FOREACH),
        case("adagrad",      Rule::Adagrad(Adagrad::default()),   "Adagrad",  json!({}), 5.0, BOTH),
        case("adadelta",     Rule::Adadelta(Adadelta::default()), "Adadelta", json!({}), 7.0, FOREACH),
        case("lion",         Rule::Lion(Lion::default()),         "",         json!({}), 5.0, &[]),
        case("lamb",         Rule::Lamb(Lamb::default()),         "",         json!({}), 7.0, &[]),
    ]
}

/// One rule; times in milliseconds.
#[derive(Serialize)]
struct Row {
    rule: &'static str,
    ours: Spread,
    fused: Option<Spread>,
    foreach: Option<Spread>,
    /// The time of PyTorch's faster way over ours, median of the rounds: above 1 we are faster.
    times_torch: Option<f64>,
    /// Of the bytes that a copy moves in the same time.
    of_copy: f64,
}

#[derive(Serialize)]
struct Report {
    rounds: u32,
    threads: usize,
    parameters: usize,
    torch: Option<String>,
    /// Bytes a second read and written by a copy, in thousand millions.
    copy: Spread,
    rows: Vec<Row>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cases = chosen(&args.names)?;
    let threads = candle_core::utils::get_num_threads();
    let store = parameters()?;
    let shapes: Vec<Vec<usize>> = store.parameters().iter().map(|(_, var)| var.dims().to_vec()).collect();
    let count = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
    let given = [threads.to_string(), serde_json::to_string(&shapes)?];
    let start = |python: &PathBuf| {
        Python::start(python, include_str!("optimizers.py"), &[given[0].as_ref(), given[1].as_ref()])
    };
    let mut torch = args.python.as_ref().map(start).transpose()?;
    let mut machine = Machine::new()?;
    let mut rows = Vec::new();
    for case in &cases {
        let row = measure(case, &store, count, torch.as_mut(), args.rounds, &mut machine)?;
        output::note(format!("{}: {:.2} ms", row.rule, row.ours.median));
        rows.push(row);
    }
    let torch = torch.map(|torch| torch.version().to_owned());
    let [_, copy] = machine.rates();
    let report = Report { rounds: args.rounds, threads, parameters: count, torch, copy, rows };
    if let Some(path) = &args.json {
        output::json_file(path, &report)?;
    }
    print(&report)
}

fn chosen(names: &[String]) -> Result<Vec<Case>> {
    let known: Vec<&str> = cases().iter().map(|case| case.name).collect();
    for name in names {
        if !known.iter().any(|rule| rule.starts_with(name.as_str())) {
            return Err(failure::unknown("rule", name, &known));
        }
    }
    let wanted =
        |case: &Case| names.is_empty() || names.iter().any(|name| case.name.starts_with(name.as_str()));
    Ok(cases().into_iter().filter(wanted).collect())
}

/// Those of ResNet-50: 25.6 million in 161 tensors, from 64 numbers to 2.4 million.
fn parameters() -> Result<ParamStore> {
    let Some(entry) = nn_vision::find("resnet50") else { unreachable!("the zoo has it") };
    let store = ParamStore::new(0);
    (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
    Ok(store)
}

fn measure(
    case: &Case,
    store: &ParamStore,
    count: usize,
    mut torch: Option<&mut Python>,
    rounds: u32,
    machine: &mut Machine,
) -> Result<Row> {
    let parameters = store.parameters();
    let mut grads = GradStore::default();
    for (i, (_, var)) in parameters.iter().enumerate() {
        let mut draws = Random::new(1).nth(i as u64).draws();
        let numbers: Vec<f32> = (0..var.elem_count()).map(|_| draws.normal() as f32).collect();
        grads.insert(var, Tensor::from_vec(numbers, var.shape(), &Device::Cpu)?);
    }
    let mut optimizer = Optimizer::new(case.rule, parameters)?;
    let mut ours = |steps: u32| -> Result<f64> {
        let began = Instant::now();
        for _ in 0..steps {
            optimizer.step(&grads, 1e-4)?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(steps))
    };
    let mut theirs = |way: &str, steps: u32| -> Result<Option<f64>> {
        let Some(torch) = torch.as_mut().filter(|_| case.ways.contains(&way)) else { return Ok(None) };
        let request = json!({ "rule": case.class, "options": case.options, "way": way, "steps": steps });
        torch.seconds(&request.to_string()).map(Some)
    };
    /// Of a turn.
    const STEPS: u32 = 8;
    ours(2)?;
    let (mut times, mut parts) = ([const { Vec::new() }; 3], Vec::new());
    for _ in 0..rounds {
        let seconds = ours(STEPS)?;
        times[0].push(1e3 * seconds);
        let bytes = Work::Bytes(case.passes * (count * size_of::<f32>()) as f64);
        parts.extend(machine.fraction(bytes, seconds)?);
        for (times, way) in times[1..].iter_mut().zip(BOTH) {
            // The first steps after a change of rule make what is kept.
            if theirs(way, 2)?.is_some() {
                times.extend(theirs(way, STEPS)?.map(|seconds| 1e3 * seconds));
            }
        }
    }
    let [ours, fused, foreach] = times;
    let some = |times: &[f64]| (!times.is_empty()).then(|| Spread::of(times));
    let faster: Vec<f64> = match (&fused[..], &foreach[..]) {
        ([], other) | (other, []) => other.to_vec(),
        (fused, foreach) => fused.iter().zip(foreach).map(|(a, b)| a.min(*b)).collect(),
    };
    Ok(Row {
        rule: case.name,
        times_torch: (!faster.is_empty()).then(|| Spread::ratio(&faster, &ours)),
        ours: Spread::of(&ours),
        fused: some(&fused),
        foreach: some(&foreach),
        of_copy: Spread::of(&parts).median,
    })
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let columns = [
        ("rule", Align::Left),
        right("ms"),
        right("range"),
        right("fused"),
        right("foreach"),
        right("× PyTorch"),
        right("of a copy"),
    ];
    let mut table = Table::new(&columns);
    for row in &report.rows {
        let Spread { median, least, most } = row.ours;
        let time = |spread: &Option<Spread>| {
            spread.map(|spread| format!("{:.2}", spread.median)).unwrap_or_default()
        };
        table.row([
            row.rule.to_owned(),
            format!("{median:.2}"),
            format!("{least:.2}–{most:.2}"),
            time(&row.fused),
            time(&row.foreach),
            row.times_torch.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            format!("{:.0} %", 100.0 * row.of_copy),
        ]);
    }
    let torch = report.torch.as_ref().map(|version| format!(", PyTorch {version}")).unwrap_or_default();
    output::note(format!(
        "{:.1} million parameters, {} threads, median and range of {} rounds{torch}; a copy runs at {:.1} GB/s",
        report.parameters as f64 / 1e6,
        report.threads,
        report.rounds,
        report.copy.median
    ));
    output::line(table)
}
