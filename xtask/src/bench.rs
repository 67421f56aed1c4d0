//! `bench`: how long things take, beside stock Candle and PyTorch in the same run.
//!
//! The sides take turns, so that a machine that slows down or is shared slows all; ratios are taken round by round.

mod models;
mod ops;
mod python;

use anyhow::Result;
use serde::Serialize;

use python::Python;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Whole models: inference, training steps, peak memory, cold start
    Models(models::Args),
    /// Single ops, forward alone and forward with backward
    Ops(ops::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Models(args) => models::run(args),
        What::Ops(args) => ops::run(args),
    }
}

/// Median and range over the rounds.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { median: sorted[sorted.len() / 2], least: sorted[0], most: sorted[sorted.len() - 1] }
    }

    /// The median of `a[i] / b[i]`: both were measured in round `i`.
    fn ratio(a: &[f64], b: &[f64]) -> f64 {
        Self::of(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>()).median
    }
}
