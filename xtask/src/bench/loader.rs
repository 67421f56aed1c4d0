//! `bench loader`: how many photos a second are read, cut and normalised, beside torchvision in the same run; and how much
//! longer an epoch over MNIST takes because its batches are made while it runs.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use nn_core::{Ctx, ParamStore, Random, ops};
use nn_train::augment::{Augment, HorizontalFlip, RandomResizedCrop};
use nn_train::data::{Batch, Dataset, Loader, LoaderConfig, Order, Part, Prepared, Subset};
use nn_train::{Optimizer, Rule, Sgd};
use nn_vision::Network;
use serde::Serialize;
use serde_json::json;

use super::{Python, Side, Spread, take_turns};
use crate::data::{DataName, Plan};
use crate::failure::failed;
use crate::output::{self, Align, Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "photos,mnist")]
    of: Vec<Of>,
    /// Folder of the data sets' files
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Turns of each side; medians are over turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads that make batches of photos, and torchvision's processes [default: the cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// A Python with torch and torchvision: photos are then read by torchvision too
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Of {
    /// Hymenoptera: random resized crops of 224 pixels, mirrored or not
    Photos,
    /// An epoch of LeNet-5
    Mnist,
}

/// Pixels of a photo's sides.
const SIDE: usize = 224;

/// An epoch goes over the photos so many times: its beginning and end should not count.
const REPEATS: usize = 8;

/// Photos of a batch.
const PHOTOS: usize = 32;

/// Digits of a batch.
const DIGITS: usize = 64;

/// One row; times in milliseconds an epoch.
#[derive(Serialize)]
struct Measured {
    what: &'static str,
    images: usize,
    ours: Spread,
    /// torchvision's, or that of an epoch whose batches were made before.
    theirs: Option<Spread>,
    /// Theirs over ours, median of the rounds.
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    rounds: u32,
    workers: usize,
    torchvision: Option<String>,
    rows: Vec<Measured>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workers = args.workers.map_or_else(candle_core::utils::get_num_threads, |n| n as usize);
    let mut report = Report { rounds: args.rounds, workers, torchvision: None, rows: Vec::new() };
    for of in &args.of {
        let row = match of {
            Of::Photos => photos(args, workers, &mut report.torchvision)?,
            Of::Mnist => mnist(args)?,
        };
        report.rows.push(row);
    }
    if let Some(path) = &args.json {
        output::json_file(path, &report)?;
    }
    print(&report)
}

/// The training part of a data set.
fn plan(name: DataName, args: &Args) -> Plan {
    let mut plan = Plan { name, ..Plan::default() };
    plan.locate(args.data_dir.as_deref());
    plan
}

fn photos(args: &Args, workers: usize, version: &mut Option<String>) -> Result<Measured> {
    let plan = plan(DataName::Hymenoptera, args);
    let source = plan.source(Part::Train)?;
    let indices = (0..REPEATS).flat_map(|_| 0..source.len()).collect();
    let augment = Augment {
        resized_crop: Some(RandomResizedCrop::default()),
        flip: Some(HorizontalFlip::default()),
        ..Augment::default()
    };
    let fit = plan.fit([3, SIDE, SIDE]);
    let prepare = move |example, random| augment.apply(example, fit, random);
    let prepared = Prepared::new(Arc::new(Subset::new(source, indices)?), &plan.normalise(), prepare)?;
    let config =
        LoaderConfig { batch_size: PHOTOS, order: Order::Shuffled, workers, ..LoaderConfig::default() };
    let images = prepared.len();
    let loader = Loader::new(Arc::new(prepared), config, Random::new(0))?;
    let mut epoch = 0;
    let ours: Side = Box::new(|calls| {
        let began = Instant::now();
        for _ in 0..calls {
            epoch += 1;
            loader.epoch(epoch).try_for_each(|batch| batch.map(drop))?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    });
    let mut python = args
        .python
        .as_ref()
        .map(|python| Python::start(python, include_str!("loader/torchvision.py"), &[]))
        .transpose()?;
    *version = python.as_ref().map(|python| python.version().to_owned());
    let folder = plan.dir.iter().map(|dir| dir.join("hymenoptera")).find(|dir| dir.is_dir());
    let folder = folder.or_else(|| plan.dir.clone()).map(|dir| dir.join("train"));
    let theirs = python.as_mut().map(|python| -> Side<'_> {
        Box::new(move |calls| {
            let request = json!({
                "folder": folder, "size": SIDE, "repeats": REPEATS, "batch": PHOTOS, "workers": workers,
                "images": images, "calls": calls,
            });
            python.seconds(&request.to_string())
        })
    });
    Measured::of("photos", images, std::iter::once(ours).chain(theirs).collect(), args.rounds)
}

/// LeNet-5, trained as a recipe trains it.
struct Learner {
    model: Network,
    sgd: Optimizer,
    step: u64,
}

impl Learner {
    fn new() -> Result<Self> {
        let Some(entry) = nn_vision::find("lenet5") else { return Err(failed("there is no lenet5")) };
        let store = ParamStore::new(0);
        let model = (entry.build)(store.vb(DType::F32, &Device::Cpu), entry.num_classes)?;
        let sgd = Optimizer::new(Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }), store.parameters())?;
        Ok(Self { model, sgd, step: 0 })
    }

    fn learn(&mut self, batch: &Batch) -> candle_core::Result<()> {
        self.step += 1;
        let heads = self.model.all_logits(&batch.inputs, &Ctx::train(0).step(self.step))?;
        let loss = |logits: &Tensor| ops::cross_entropy(logits, &batch.targets, ops::Reduction::Mean);
        let grads = nn_core::backward(&nn_vision::total_loss(&heads, loss)?)?;
        self.sgd.step(&grads, 0.01)
    }
}

fn mnist(args: &Args) -> Result<Measured> {
    let plan = plan(DataName::Mnist, args);
    let set = plan.open(Part::Train, [1, 28, 28], None)?;
    let config = LoaderConfig {
        batch_size: DIGITS,
        order: Order::Shuffled,
        workers: plan.workers(),
        ..LoaderConfig::default()
    };
    let images = set.len();
    let loader = Loader::new(Arc::new(set), config, Random::new(0))?;
    let made = loader.epoch(0).collect::<candle_core::Result<Vec<Batch>>>()?;
    // One learner for both: how fast it is depends a little on where its memory happens to lie.
    let learner = RefCell::new(Learner::new()?);
    let mut epoch = 0;
    let with: Side = Box::new(|calls| {
        let mut learner = learner.borrow_mut();
        let began = Instant::now();
        for _ in 0..calls {
            epoch += 1;
            loader.epoch(epoch).try_for_each(|batch| learner.learn(&batch?))?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    });
    let without: Side = Box::new(|calls| {
        let mut learner = learner.borrow_mut();
        let began = Instant::now();
        for _ in 0..calls {
            made.iter().try_for_each(|batch| learner.learn(batch))?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(calls))
    });
    Measured::of("mnist", images, vec![with, without], args.rounds)
}

impl Measured {
    fn of(what: &'static str, images: usize, sides: Vec<Side<'_>>, rounds: u32) -> Result<Self> {
        let mut times = take_turns(sides, rounds)?.into_iter();
        let (ours, theirs) = (times.next().unwrap_or_default(), times.next());
        Ok(Self {
            what,
            images,
            ours: Spread::of(&ours),
            theirs: theirs.as_ref().map(|times| Spread::of(times)),
            ratio: theirs.as_ref().map(|times| Spread::ratio(times, &ours)),
        })
    }
}

fn print(report: &Report) -> Result<()> {
    let right = |name| (name, Align::Right);
    let columns = [
        ("images", Align::Left),
        right("images/s"),
        right("range"),
        right("beside"),
        right("images/s"),
        right("ratio"),
    ];
    let mut table = Table::new(&columns);
    for row in &report.rows {
        let rate = |ms: f64| format!("{:.0}", 1e3 * row.images as f64 / ms);
        let beside = if row.what == "photos" { "torchvision" } else { "batches made before" };
        table.row([
            row.what.to_owned(),
            rate(row.ours.median),
            format!("{}–{}", rate(row.ours.most), rate(row.ours.least)),
            row.theirs.map(|_| beside.to_owned()).unwrap_or_default(),
            row.theirs.map(|theirs| rate(theirs.median)).unwrap_or_default(),
            row.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
        ]);
    }
    let torchvision =
        report.torchvision.as_ref().map(|version| format!(", torchvision {version}")).unwrap_or_default();
    output::note(format!(
        "{} workers for photos, median and range of {} rounds{torchvision}",
        report.workers, report.rounds
    ));
    output::line(table)
}
