//! `test`: every test of the workspace, in release.
//!
//! Release, because the other commands build in release: the dependencies are compiled once, and networks train
//! in seconds. Arguments go to `cargo test` as they are.

use anyhow::Result;

use crate::workspace::Cargo;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo test --release --workspace`, for example a test's name, or `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let words = args.rest.iter().map(String::as_str);
    let args = ["test", "--release", "--workspace"].into_iter().chain(words);
    Cargo { args: args.collect(), environment: &[] }.run()
}
