//! The folder a run lives in.
//!
//! | file | holds |
//! | --- | --- |
//! | `recipe.toml` | what the run was started with, as the caller wrote it |
//! | `known.json` | what the training data told before training, if the caller keeps that: a vocabulary |
//! | `last/checkpoint.safetensors` | everything needed to go on |
//! | `model.safetensors` | the best weights by evaluation so far |
//! | `log.jsonl` | an [`Event`] a line |
//! | `metrics.json` | the final figures, a [`Summary`](crate::Summary) |
//! | `report.html` | what to look at |
//!
//! The folder appears whole, with its recipe and a checkpoint of step 0; every file but the log is replaced
//! atomically, and the log is cut back to the length its checkpoint remembers. So whenever a run is killed, it can go on.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::event::Event;

/// The best weights by evaluation, relative to the folder.
pub const MODEL: &str = "model.safetensors";
/// What the run was started with.
pub const RECIPE: &str = "recipe.toml";
/// What the training data told before training.
pub const KNOWN: &str = "known.json";
/// Everything needed to go on.
pub const CHECKPOINT: &str = "last/checkpoint.safetensors";
/// An event a line.
pub const LOG: &str = "log.jsonl";
/// The final figures.
pub const METRICS: &str = "metrics.json";
/// What to look at.
pub const REPORT: &str = "report.html";
const LOCK: &str = "last/lock";

/// What a run is about, for its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The headline: `lenet5 on mnist`.
    pub title: String,
    /// The command that repeats the run; empty if there is none.
    pub command: String,
    /// The classes' names in the order of their indices; empty if they have none.
    pub classes: Vec<String>,
    /// More to know, in pairs: `("candle", "0.11.1")`.
    pub facts: Vec<(String, String)>,
    /// When the folder came into being, in seconds since 1970; filled in then.
    pub created: u64,
}

/// What a run's folder is made with.
#[derive(Clone, Debug, Default)]
pub struct Begin<'a> {
    /// Becomes `recipe.toml`.
    pub recipe: &'a str,
    /// Becomes `known.json`, if it is not empty.
    pub known: &'a str,
    /// For the report.
    pub about: About,
}

/// The text of a run's `recipe.toml`.
///
/// # Errors
/// If the folder holds no run.
pub fn recipe(path: &Path) -> Result<String, TrainError> {
    if !path.join(CHECKPOINT).is_file() {
        return Err(TrainError::NoRun(path.to_owned()));
    }
    let file = path.join(RECIPE);
    fs::read_to_string(&file).map_err(TrainError::io(&file))
}

/// The text of a run's `known.json`; `None` if it has none.
///
/// # Errors
/// If there is one and it cannot be read.
pub fn known(path: &Path) -> Result<Option<String>, TrainError> {
    let file = path.join(KNOWN);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(TrainError::io(&file)(e)),
    }
}

/// The events of a run's `log.jsonl`. A line that a killed process left unfinished ends the list.
///
/// # Errors
/// If the file cannot be read.
pub fn events(path: &Path) -> Result<Vec<Event>, TrainError> {
    let file = path.join(LOG);
    let text = fs::read_to_string(&file).map_err(TrainError::io(&file))?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}

/// An open run: nobody else can open it before this is dropped.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    log: File,
    log_bytes: u64,
    /// The length the log is to be cut back to before anything is added.
    trusted: Option<u64>,
    _lock: File,
}

impl Run {
    /// Makes the folder. `checkpoint` writes the one of step 0 to the path it gets, which is not the final one.
    pub(crate) fn create(
        path: &Path,
        begin: Begin<'_>,
        checkpoint: impl FnOnce(&Path, u64) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        if path.symlink_metadata().is_ok() {
            return Err(TrainError::Exists(path.to_owned()));
        }
        let Some(name) = path.file_name() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a name for a folder");
            return Err(TrainError::Io { path: path.to_owned(), source });
        };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(TrainError::io(parent))?;
        let partial = parent.join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        let filled = fill(&partial, begin, checkpoint).and_then(|(log_bytes, lock)| {
            // Onto a folder that came into being meanwhile, this fails unless that is empty.
            fs::rename(&partial, path).map_err(|e| match e.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    TrainError::Exists(path.to_owned())
                }
                _ => TrainError::io(path)(e),
            })?;
            sync_folder(parent)?;
            Ok(Self { path: path.to_owned(), log: open_log(path)?, log_bytes, trusted: None, _lock: lock })
        });
        filled.inspect_err(|_| {
            // Best effort: the error that matters is the one that brought us here.
            let _ = fs::remove_dir_all(&partial);
        })
    }

    /// Takes hold of a folder that was created before.
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        if !path.join(CHECKPOINT).is_file() {
            return Err(TrainError::NoRun(path.to_owned()));
        }
        let lock = lock(path)?;
        let log = open_log(path)?;
        let log_bytes = log.metadata().map_err(TrainError::io(&path.join(LOG)))?.len();
        Ok(Self { path: path.to_owned(), log, log_bytes, trusted: None, _lock: lock })
    }

    /// The path of one of the run's files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line to the log.
    pub(crate) fn append(&mut self, event: &Event) -> Result<(), TrainError> {
        self.cut_log()?;
        let line = line(event);
        self.log.write_all(line.as_bytes()).map_err(TrainError::io(&self.file(LOG)))?;
        self.log_bytes += line.len() as u64;
        Ok(())
    }

    /// The log's length, all of it on disk.
    pub(crate) fn synced_log_bytes(&mut self) -> Result<u64, TrainError> {
        self.cut_log()?;
        self.log.sync_data().map_err(TrainError::io(&self.file(LOG)))?;
        Ok(self.log_bytes)
    }

    /// Will forget what was logged beyond `bytes`, where the checkpoint is, once the run goes on.
    pub(crate) fn trust_log(&mut self, bytes: u64) {
        self.trusted = Some(bytes);
    }

    /// A log that is shorter than the checkpoint says, because somebody cut it, stays as it is.
    fn cut_log(&mut self) -> Result<(), TrainError> {
        let Some(bytes) = self.trusted else { return Ok(()) };
        let bytes = self.log_bytes.min(bytes);
        self.log.set_len(bytes).map_err(TrainError::io(&self.file(LOG)))?;
        (self.log_bytes, self.trusted) = (bytes, None);
        Ok(())
    }

    /// Replaces a file of the run.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), TrainError> {
        let path = self.file(name);
        nn_core::atomic_file::write(&path, |w| w.write_all(text.as_bytes())).map_err(TrainError::io(&path))
    }
}

/// The contents of a new run, in a folder under a temporary name.
fn fill(
    folder: &Path,
    begin: Begin<'_>,
    checkpoint: impl FnOnce(&Path, u64) -> Result<(), TrainError>,
) -> Result<(u64, File), TrainError> {
    if folder.exists() {
        // Ours by its name: an earlier process with this number was killed here.
        fs::remove_dir_all(folder).map_err(TrainError::io(folder))?;
    }
    let last = folder.join("last");
    fs::create_dir_all(&last).map_err(TrainError::io(&last))?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let log = line(&Event::Created(About { created, ..begin.about }));
    let known = Some((KNOWN, begin.known)).filter(|(_, known)| !known.is_empty());
    for (name, text) in [(RECIPE, begin.recipe), (LOG, &log)].into_iter().chain(known) {
        let path = folder.join(name);
        nn_core::atomic_file::write(&path, |w| w.write_all(text.as_bytes()))
            .map_err(TrainError::io(&path))?;
    }
    let lock = lock(folder)?;
    checkpoint(&folder.join(CHECKPOINT), log.len() as u64)?;
    sync_folder(&last)?;
    sync_folder(folder)?;
    Ok((log.len() as u64, lock))
}

fn line(event: &Event) -> String {
    let Ok(json) = serde_json::to_string(event) else { unreachable!("events have string keys and no maps") };
    json + "\n"
}

fn open_log(path: &Path) -> Result<File, TrainError> {
    let log = path.join(LOG);
    File::options().append(true).create(true).open(&log).map_err(TrainError::io(&log))
}

fn lock(path: &Path) -> Result<File, TrainError> {
    let name = path.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(TrainError::io(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy(path.to_owned())),
        // Some network file systems know no locks; that is no reason not to train there.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(TrainError::io(&name)(e)),
    }
}

/// Makes the names in a folder durable, where folders can be synced at all.
fn sync_folder(path: &Path) -> Result<(), TrainError> {
    if cfg!(unix) {
        File::open(path).and_then(|f| f.sync_all()).map_err(TrainError::io(path))?;
    }
    Ok(())
}
