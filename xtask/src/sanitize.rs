//! `sanitize`: the tests of `nn-core`, whose kernels are the only unsafe code, under AddressSanitizer.
//!
//! Every load and store of the kernels is then checked against the bounds of what was allocated, on the instruction sets
//! that this processor has. Miri would check more, but knows no AVX.

use anyhow::Result;

use crate::workspace::Cargo;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// `-Z` flags are the nightly compiler's; a stable one takes them when told so, and ships the sanitizer's runtime.
const ENVIRONMENT: &[(&str, &str)] = &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")];

/// Named, so that build scripts and macros, which run on the host, stay as they are.
const TARGET: &str = "host-tuple";

pub(crate) fn run(args: &Args) -> Result<()> {
    let test = ["test", "--release", "--package", "nn-core", "--lib", "--target", TARGET];
    let args = test.into_iter().chain(args.filter.as_deref()).collect();
    Cargo { args, environment: ENVIRONMENT }.run()
}
