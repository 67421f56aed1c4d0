//! Where the workspace is and how its cargo is called.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::{Advise, failed};

/// The workspace's root folder: where cargo says this package is, else where it was when it was built.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|dir| dir.ends_with("xtask"));
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().unwrap_or(Path::new(".")).to_owned()
}

/// The cargo that started this program, else the one in the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A call of cargo, with what it needs in its environment.
pub(crate) struct Cargo<'a> {
    pub(crate) args: Vec<&'a str>,
    pub(crate) environment: &'a [(&'a str, &'a str)],
}

impl Cargo<'_> {
    /// As it could be typed into a shell.
    pub(crate) fn command_line(&self) -> String {
        let environment = self.environment.iter().map(|(name, value)| format!("{name}='{value}' "));
        format!("{}cargo {}", environment.collect::<String>(), self.args.join(" "))
    }

    /// Runs it in the workspace's root with our own input and output.
    pub(crate) fn run(&self) -> Result<()> {
        let mut command = Command::new(cargo());
        command.args(&self.args).envs(self.environment.iter().copied()).current_dir(root());
        let status = command.status().with_context(|| format!("cannot start {}", self.command_line()))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(format!("{} failed ({status})", self.command_line())))
    }

    /// Demands that cargo has the subcommand this calls, a part of the toolchain that can be left out.
    pub(crate) fn require(&self, component: &str) -> Result<()> {
        let subcommand = self.args[0];
        let output = Command::new(cargo()).args([subcommand, "--version"]).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(_) => Err(failed(format!("cargo {subcommand} is not installed")))
                .advise(format!("rustup component add {component}")),
            Err(e) => Err(e).context("cannot start cargo").advise("install Rust from https://rustup.rs"),
        }
    }
}
