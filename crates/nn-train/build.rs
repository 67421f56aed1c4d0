//! Tells the crate what it is built with, for the report of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let lock = lock_file();
    if let Some(lock) = &lock {
        println!("cargo::rerun-if-changed={}", lock.display());
    }
    let candle = lock.and_then(|lock| version(&fs::read_to_string(lock).ok()?, "candle-core"));
    println!("cargo::rustc-env=NN_TRAIN_CANDLE={}", candle.unwrap_or_default());
    println!("cargo::rustc-env=NN_TRAIN_RUST={}", rust().unwrap_or_default());
}

/// `rustc 1.90.0 (1159e78c4 2025-09-14)` → `1.90.0`
fn rust() -> Option<String> {
    let said = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1)?.to_owned())
}

/// Of the workspace that is built: beside its target folder, or above this crate.
fn lock_file() -> Option<PathBuf> {
    let above = |name: &str| {
        let folder = PathBuf::from(env::var_os(name)?);
        folder.ancestors().map(|folder| folder.join("Cargo.lock")).find(|lock: &PathBuf| Path::is_file(lock))
    };
    above("OUT_DIR").or_else(|| above("CARGO_MANIFEST_DIR"))
}

/// The version of a package in a lock file.
fn version(lock: &str, package: &str) -> Option<String> {
    let entry =
        lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{package}\"\n")))?;
    Some(entry.lines().find_map(|line| line.strip_prefix("version = "))?.trim_matches('"').to_owned())
}
