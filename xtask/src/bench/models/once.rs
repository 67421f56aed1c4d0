//! A process of its own for one batch: its peak memory, and how long it takes from start to end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nn_core::Activations;
use serde::Serialize;

use super::BUILD;
use super::ours::Ours;
use super::rows::{Pass, Row};
use crate::{output, workspace};

/// What a process needed.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Once {
    /// From its start to its end.
    pub(super) seconds: f64,
    /// Resident memory at its peak, where the system tells.
    pub(super) peak_bytes: Option<u64>,
}

impl Once {
    pub(super) fn of_ours(row: Row, weights: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(["bench", "models", row.entry.name, "--pass", row.pass.label()]);
        let kept = if row.activations == Activations::Bf16 { "bf16" } else { "whole" };
        command.args(["--batch-size", &row.batch.to_string(), "--activations", kept]);
        command.arg("--once").arg(weights);
        Self::of(&mut command)
    }

    pub(super) fn of_torch(python: &Path, row: Row, weights: &Path, threads: usize) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg("-c").arg(format!("{BUILD}\n{}", include_str!("once.py")));
        command.arg(workspace::root().join("tests/golden")).arg(threads.to_string());
        command.args([row.entry.name, row.pass.label(), &row.batch.to_string()]).arg(weights);
        Self::of(&mut command)
    }

    /// Runs `command`, which prints its peak of memory in kibibytes.
    fn of(command: &mut Command) -> Result<Self> {
        let began = Instant::now();
        let output =
            command.stderr(Stdio::inherit()).output().context("cannot start a process to measure")?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(output.status.success(), "the process to measure ended with {}", output.status);
        let kibibytes = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().ok();
        Ok(Self { seconds, peak_bytes: kibibytes.map(|n| n * 1024) })
    }
}

/// What [`Once::of_ours`] starts.
pub(super) fn run(row: Row, weights: &Path) -> Result<()> {
    let mut ours = Ours::load(row, weights)?;
    // The first step of training makes the optimiser's state, the second has all there is.
    ours.seconds(if row.pass == Pass::Training { 2 } else { 1 })?;
    output::line(peak().map(|kibibytes| kibibytes.to_string()).unwrap_or_default())
}

/// This process's, in kibibytes, as Linux tells it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}
