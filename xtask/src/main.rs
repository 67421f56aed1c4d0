//! The command line, `cargo xtask`: trains, evaluates and inspects the networks, and checks this workspace.
//!
//! Progress and remarks go to standard error, results to standard output. Exit codes: 0 done, 1 failed, 2 wrong
//! usage, 130 interrupted.

mod augment;
mod bench;
mod build;
mod check;
mod convert;
mod dashboard;
mod data;
mod device;
mod diff;
mod eval;
mod explain;
mod export;
mod failure;
mod fetch;
mod figures;
mod forward;
mod inspect;
mod kill;
mod likely;
mod list;
mod lr_find;
mod model;
mod options;
mod output;
mod overfit;
mod plot;
mod predict;
mod progress;
mod provenance;
mod ranks;
mod recipe;
mod sanitize;
mod schedule;
mod session;
mod subject;
mod summary;
mod sweep;
mod task;
mod test;
mod tidy;
mod train;
mod transfer;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Every tensor is a fresh allocation; this allocator keeps their pages instead of asking the system anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The classic neural networks: train them, use them, look inside.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List models, pretrained weights, recipes and data sets of pictures
    List(list::Args),
    /// Train a model by a recipe, or go on with a run
    Train(train::Args),
    /// Find a learning rate: a short run whose rate grows from step to step
    LrFind(lr_find::Args),
    /// Draw a recipe's learning rate over the run
    Schedule(schedule::Args),
    /// Train a recipe with every combination of settings
    Sweep(sweep::Args),
    /// Measure loss and accuracy on a data set's test part
    Eval(eval::Args),
    /// Show what augmentations make of photos
    Augment(augment::Args),
    /// Ask a trained model: what pictures show, how a text goes on
    Predict(predict::Args),
    /// Show where in a picture a model looked for its answer
    Explain(explain::Args),
    /// Fetch published weights
    Fetch(fetch::Args),
    /// Run raw tensors through a model once
    Forward(forward::Args),
    /// Show a model's layers, shapes, parameters and memory
    Summary(summary::Args),
    /// Tell what a file of weights is, what it is for and what is in it
    Inspect(inspect::Args),
    /// Bring weights into another format or number type
    Convert(convert::Args),
    /// Make a model of ONNX for other programs
    Export(export::Args),
    /// Show in what two files of weights differ
    Diff(diff::Args),
    /// Measure how long ops and training steps take, beside PyTorch
    Bench(bench::Args),
    /// Build the workspace, or type-check a feature's code without its device
    Build(build::Args),
    /// Run the tests
    Test(test::Args),
    /// Run the kernels' tests under AddressSanitizer
    Sanitize(sanitize::Args),
    /// Kill training runs at random moments, and see that they end as if nothing had been
    Kill(kill::Args),
    /// Run all that CI runs: format, tidy, clippy, documentation, tests
    Check,
    /// Check the house rules
    Tidy,
}

fn main() -> ExitCode {
    join_the_threads();
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if error.chain().any(|cause| cause.is::<output::Closed>()) => ExitCode::SUCCESS,
        Err(error) if error.chain().any(|cause| cause.is::<ranks::Elsewhere>()) => ExitCode::FAILURE,
        Err(error) => {
            output::note(failure::report(&error).trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Makes the main thread one of those that share the work of an op: it need not wake another and wait for it each time.
fn join_the_threads() {
    let threads = candle_core::utils::get_num_threads();
    // Alone it would not hear what the loader's threads ask of it while it waits for them.
    if threads > 1 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
        // There is no other pool yet; and if there were one, it would do.
        let _ = pool.build_global();
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let done = match command {
        Command::Train(args) => return train::run(&args),
        Command::LrFind(args) => return lr_find::run(&args),
        Command::Sweep(args) => return sweep::run(&args),
        Command::List(args) => list::run(&args),
        Command::Schedule(args) => schedule::run(&args),
        Command::Augment(args) => augment::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Forward(args) => forward::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Sanitize(args) => sanitize::run(&args),
        Command::Kill(args) => kill::run(&args),
        Command::Check => check::run(),
        Command::Tidy => tidy::run(&workspace::root()),
    };
    done.map(|()| ExitCode::SUCCESS)
}
