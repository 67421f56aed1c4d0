//! `check`: what CI runs, in the order of how soon it can fail.
//!
//! Built with the feature `mpi`, it checks with that, training on several processes included: another set of features than
//! its own would build every dependency a second time.

use std::time::Instant;

use anyhow::Result;

use crate::failure::Advise;
use crate::workspace::{self, Cargo};
use crate::{output, tidy};

/// A step: what it is called, and what it does.
struct Step<'a> {
    name: &'static str,
    /// The part of the toolchain it needs beyond cargo and rustc.
    component: Option<&'static str>,
    work: Work<'a>,
}

enum Work<'a> {
    Cargo(Cargo<'a>),
    Tidy,
}

/// Runs every step, and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let steps = steps();
    let count = steps.len();
    for step in &steps {
        if let (Some(component), Work::Cargo(cargo)) = (step.component, &step.work) {
            cargo.require(component)?;
        }
    }
    let begin = Instant::now();
    for (i, step) in steps.iter().enumerate() {
        let command = match &step.work {
            Work::Cargo(cargo) => cargo.command_line(),
            Work::Tidy => "cargo xtask tidy".to_owned(),
        };
        output::note(format_args!("[{}/{count}] {}: {command}", i + 1, step.name));
        let begin = Instant::now();
        let result = match &step.work {
            Work::Cargo(cargo) => cargo.run(),
            Work::Tidy => tidy::run(&workspace::root()),
        };
        result.advise(format!("to repeat this step alone: {command}"))?;
        output::note(format_args!("[{}/{count}] {}: passed in {}", i + 1, step.name, seconds(begin)));
    }
    output::note(format_args!("all {count} checks passed in {}", seconds(begin)));
    Ok(())
}

fn seconds(begin: Instant) -> String {
    output::duration(begin.elapsed().as_secs_f64())
}

fn steps() -> Vec<Step<'static>> {
    let features: &[&str] = if cfg!(feature = "mpi") { &["--features", "xtask/mpi"] } else { &[] };
    let cargo = |args: &[&'static str]| Work::Cargo(Cargo { args: args.to_vec(), environment: &[] });
    let deny = &[("RUSTDOCFLAGS", "-D warnings")];
    let doc = [&["doc", "--release", "--workspace", "--no-deps"], features].concat();
    let doc = Cargo { args: doc, environment: deny };
    let clippy = ["clippy", "--release", "--workspace", "--all-targets"];
    let clippy = [&clippy[..], features, &["--", "-D", "warnings"]].concat();
    let test = [&["test", "--release", "--workspace"], features].concat();
    vec![
        Step { name: "format", component: Some("rustfmt"), work: cargo(&["fmt", "--all", "--check"]) },
        Step { name: "tidy", component: None, work: Work::Tidy },
        Step { name: "clippy", component: Some("clippy"), work: cargo(&clippy) },
        Step { name: "documentation", component: None, work: Work::Cargo(doc) },
        Step { name: "test", component: None, work: cargo(&test) },
    ]
}
