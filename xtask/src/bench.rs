//! `bench`: how long things take, beside stock Candle and PyTorch in the same run.
//!
//! The sides take turns, so that a machine that slows down or is shared slows all; ratios are taken round by round.

mod loader;
mod machine;
mod models;
mod ops;
mod optimizers;
mod python;
mod sequence;

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
    /// Photos read and augmented; what the loader adds to an epoch
    Loader(loader::Args),
    /// Whole models: inference, training steps, peak memory, cold start
    Models(models::Args),
    /// Steps of optimisers over the parameters of a whole model
    Optimizers(optimizers::Args),
    /// Single ops, forward alone and forward with backward
    Ops(ops::Args),
    /// Networks that read sequences: training steps, and texts word by word
    Sequence(sequence::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Loader(args) => loader::run(args),
        What::Models(args) => models::run(args),
        What::Ops(args) => ops::run(args),
        What::Optimizers(args) => optimizers::run(args),
        What::Sequence(args) => sequence::run(args),
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

/// A side's turn: seconds a call, of so many.
type Side<'a> = Box<dyn FnMut(u32) -> Result<f64> + 'a>;

/// A turn lasts about this many seconds, or one call.
const TURN: f64 = 0.3;

/// Milliseconds a call, of each side in each round.
fn take_turns(mut sides: Vec<Side<'_>>, rounds: u32) -> Result<Vec<Vec<f64>>> {
    let mut calls = Vec::new();
    for side in &mut sides {
        side(1)?;
        calls.push((TURN / side(1)?).clamp(1.0, 1000.0) as u32);
    }
    let mut times = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        for ((side, &calls), times) in sides.iter_mut().zip(&calls).zip(&mut times) {
            times.push(1e3 * side(calls)?);
        }
    }
    Ok(times)
}
