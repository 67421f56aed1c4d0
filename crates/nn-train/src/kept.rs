//! The checkpoints before the newest: kept under the number of their step, so that there is one to go back to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::error::TrainError;
use crate::run::CHECKPOINT;

/// Gives the newest checkpoint of the run at `run`, which is that of `step` and about to be replaced, a second name.
pub(crate) fn keep(run: &Path, step: u64) -> Result<(), TrainError> {
    let (newest, kept) = (run.join(CHECKPOINT), file(run, step));
    let linked = match fs::hard_link(&newest, &kept) {
        // From a process that was killed here, or of a future that did not come about.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&kept).and_then(|()| fs::hard_link(&newest, &kept))
        }
        linked => linked,
    };
    // Some file systems have one name a file.
    linked.or_else(|_| copy(&newest, &kept)).map_err(TrainError::io(&kept))
}

/// Removes all but the newest `count` of those before `step`.
pub(crate) fn prune(run: &Path, step: u64, count: usize) -> Result<(), TrainError> {
    let mut kept = list(run)?;
    let before = kept.iter().filter(|(of, _)| *of < step).count();
    kept.drain(before.saturating_sub(count)..before);
    kept.iter().try_for_each(|(_, path)| fs::remove_file(path).map_err(TrainError::io(path)))
}

/// The newest one that is whole, of those before the checkpoint at `path`; for a run that cannot go on from that.
pub(crate) fn before(run: &Path, path: &Path) -> Option<PathBuf> {
    let older = list(run).ok()?.into_iter().map(|(_, kept)| kept).take_while(|kept| kept != path);
    older.collect::<Vec<_>>().into_iter().rev().find(|kept| checkpoint::read(kept).is_ok())
}

/// All of them, by step.
fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let folder = folder(run);
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut kept: Vec<(u64, PathBuf)> = entries
        .map_err(TrainError::io(&folder))?
        .into_iter()
        .filter_map(|entry| {
            let name = entry.file_name();
            let step = name.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?;
            Some((step.parse().ok()?, entry.path()))
        })
        .collect();
    kept.sort();
    Ok(kept)
}

fn file(run: &Path, step: u64) -> PathBuf {
    folder(run).join(format!("step-{step:09}.safetensors"))
}

fn folder(run: &Path) -> PathBuf {
    let mut folder = run.join(CHECKPOINT);
    folder.pop();
    folder
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    nn_core::atomic_file::write(to, |w| w.write_all(&bytes))
}
