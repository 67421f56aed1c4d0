//! The checkpoints before the last: which there are, and how a run goes back to one.

use std::fs;
use std::path::{Path, PathBuf};

use nn_train::run::CHECKPOINT;
use nn_train::{Cadence, FitConfig, TrainError};

use crate::refusals::{refusal, stop_after};
use crate::resume::{assert_ends_like, left_alone};
use crate::toy::{config, go_on, toy};

type Result<T> = std::result::Result<T, TrainError>;

fn keeping(keep: usize) -> FitConfig {
    FitConfig { keep, checkpoint: Cadence::Steps(2), ..config() }
}

/// The steps of the checkpoints beside the last.
fn kept(run: &Path) -> Vec<u64> {
    let names =
        fs::read_dir(run.join("last")).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut steps: Vec<u64> = names
        .filter_map(|name| name.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

fn before(error: &TrainError) -> Option<PathBuf> {
    match error {
        TrainError::Checkpoint { before, .. } => before.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn as_many_are_kept_as_were_asked_for() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for (keep, steps) in [(1, &[][..]), (2, &[6]), (3, &[5, 6]), (100, &[0, 2, 4, 5, 6])] {
        let path = folder.path().join(keep.to_string());
        toy(keeping(keep)).create(&path)?.fit(stop_after(7))?;
        assert_eq!(kept(&path), steps);
    }
    // A run that goes on keeps counting.
    let path = folder.path().join("3");
    toy(keeping(3)).resume(&path)?.fit(go_on)?;
    assert_eq!(kept(&path), [12, 14]);
    Ok(())
}

#[test]
fn a_damaged_checkpoint_offers_the_one_before_it_and_that_ends_in_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = left_alone(folder.path())?;
    let path = folder.path().join("run");
    toy(keeping(3)).create(&path)?.fit(stop_after(7))?;
    let file = path.join(CHECKPOINT);
    let mut bytes = fs::read(&file).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).expect("written");
    let step = |n: u64| path.join(format!("last/step-{n:09}.safetensors"));
    let error = refusal(toy(keeping(3)).resume(&path));
    assert_eq!(before(&error), Some(step(6)));
    assert!(error.to_string().contains("is whole"), "{error}");

    // The one before is damaged as well.
    fs::write(step(6), b"short").expect("written");
    assert_eq!(before(&refusal(toy(keeping(3)).resume(&path))), Some(step(5)));
    assert_eq!(before(&refusal(toy(keeping(3)).resume_from(&path, &step(6)))), Some(step(5)));
    let run = toy(keeping(3)).resume_from(&path, &step(5))?;
    assert_eq!(run.trainer.steps(), 5);
    assert_ends_like(&alone, &path, run)?;
    assert_eq!(kept(&path), [12, 14]);

    for entry in fs::read_dir(path.join("last")).expect("a folder") {
        fs::write(entry.expect("an entry").path(), b"gone").expect("written");
    }
    assert_eq!(before(&refusal(toy(keeping(3)).resume(&path))), None);
    Ok(())
}
