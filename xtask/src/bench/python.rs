//! Peers that live in Python, each in a process of its own that is idle while the other sides run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::failure::Advise;

/// A Python program that says the version of what it measures, then answers each line with seconds.
pub(super) struct Python {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Python {
    pub(super) fn start(python: &Path, program: &str, args: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-u", "-c", program])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for")
        };
        let mut peer = Self { child, ask, answers: BufReader::new(answers), version: String::new() };
        peer.version = peer
            .answer()
            .advise("--python needs a Python that has what is measured, numpy and safetensors")?;
        Ok(peer)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// How long what `request` describes took, in seconds.
    pub(super) fn seconds(&mut self, request: &str) -> Result<f64> {
        writeln!(self.ask, "{request}").context("cannot write to Python")?;
        let answer = self.answer()?;
        answer.parse().with_context(|| format!("Python answered {answer:?} to {request}"))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("cannot read from Python")?;
        ensure!(!line.is_empty(), "Python ended without an answer");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It would end with our end of its input; waiting for that is not worth an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
