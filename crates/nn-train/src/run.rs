//! The folder a run lives in.
//!
//! | file | holds |
//! | --- | --- |
//! | `recipe.toml` | what the run was started with, as the caller wrote it |
//! | `known.json` | what the training data told before training, if the caller keeps that: a vocabulary |
//! | `last/checkpoint.safetensors` | everything needed to go on |
//! | `last/step-000000123.safetensors` | the same after step 123: [`FitConfig::keep`](crate::FitConfig) says how many of these there are |
//! | `model.safetensors` | the best weights by evaluation so far, with recipe, figures and origin in the metadata |
//! | `ema.safetensors` | the best running mean of the weights, if there is one |
//! | `log.jsonl` | an [`Event`] a line |
//! | `events.out.tfevents` | the figures for TensorBoard, if [`Viewer`](crate::Viewer) says so |
//! | `metrics.json` | the final figures, a [`Summary`] |
//! | `report.html` | what to look at |
//!
//! The folder appears whole, with its recipe and a checkpoint of step 0; every file but the log is replaced
//! atomically, and the log is cut back to the length its checkpoint remembers. So whenever a run is killed, it can go on.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use candle_core::Tensor;
use nn_core::weights::safetensors;

use crate::error::TrainError;
use crate::event::Event;
use crate::journal::Journal;
use crate::summary::{Score, Summary};
use crate::tensorboard::{self, Board};

/// The best weights by evaluation, relative to the folder.
pub const MODEL: &str = "model.safetensors";
/// The best running mean of the weights by evaluation.
pub const EMA: &str = "ema.safetensors";
/// What the run was started with.
pub const RECIPE: &str = "recipe.toml";
/// What the training data told before training.
pub const KNOWN: &str = "known.json";
/// Everything needed to go on.
pub const CHECKPOINT: &str = "last/checkpoint.safetensors";
/// An event a line.
pub const LOG: &str = "log.jsonl";
/// The figures for TensorBoard, where they were asked for.
pub const EVENTS: &str = "events.out.tfevents";
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
    /// Where what it starts from is from, and what else its weights shall say of themselves: becomes metadata of
    /// `model.safetensors` and `ema.safetensors`, beside the recipe and the figures.
    pub provenance: BTreeMap<String, String>,
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

/// What the weights of the run in this folder say of themselves, whenever they are written.
pub(crate) fn provenance(path: &Path) -> Result<BTreeMap<String, String>, TrainError> {
    let file = path.join(LOG);
    let mut first = String::new();
    let read = File::open(&file).and_then(|log| BufReader::new(log).read_line(&mut first));
    read.map_err(TrainError::io(&file))?;
    let about = match serde_json::from_str(&first) {
        Ok(Event::Created(about)) => about,
        _ => About::default(),
    };
    let version = format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let source = format!("a training run: {}", about.title);
    let own = [("recipe", recipe(path)?), ("source", source), ("trained_by", version)];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    Ok(own.chain(about.provenance).filter(|(_, value)| !value.is_empty()).collect())
}

/// The final figures of a run; `None` if it is not finished.
///
/// # Errors
/// If there are some and they cannot be read.
pub fn summary(path: &Path) -> Result<Option<Summary>, TrainError> {
    let file = path.join(METRICS);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(TrainError::io(&file)(e)),
    };
    let damaged = |e: serde_json::Error| TrainError::io(&file)(io::Error::other(e));
    serde_json::from_str(&text).map(Some).map_err(damaged)
}

/// An open run: nobody else can open it before this is dropped.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    log: Journal,
    board: Option<(Board, Journal)>,
    provenance: BTreeMap<String, String>,
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
        let filled = fill(&partial, begin, checkpoint).and_then(|lock| {
            // Onto a folder that came into being meanwhile, this fails unless that is empty.
            fs::rename(&partial, path).map_err(|e| match e.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    TrainError::Exists(path.to_owned())
                }
                _ => TrainError::io(path)(e),
            })?;
            sync_folder(parent)?;
            Self::in_folder(path, lock)
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
        Self::in_folder(path, lock(path)?)
    }

    fn in_folder(path: &Path, lock: File) -> Result<Self, TrainError> {
        let (log, provenance) = (Journal::open(&path.join(LOG))?, provenance(path)?);
        Ok(Self { path: path.to_owned(), log, board: None, provenance, _lock: lock })
    }

    /// Replaces the file `name` of weights, with where they are from and how good they were found to be.
    pub(crate) fn write_weights(
        &self,
        name: &str,
        tensors: &BTreeMap<String, Tensor>,
        found: &Score,
    ) -> Result<(), TrainError> {
        let Score { epoch, step, eval, .. } = found;
        let mut metadata = self.provenance.clone();
        metadata.extend([
            ("epoch".to_owned(), epoch.to_string()),
            ("step".to_owned(), step.to_string()),
            ("loss".to_owned(), format!("{:.4}", eval.loss)),
        ]);
        let figures = eval.measures();
        metadata.extend(figures.map(|(measure, value)| (measure.key().to_owned(), measure.text(value))));
        Ok(safetensors::write_with(&self.file(name), tensors, &metadata)?)
    }

    /// Writes an event file for TensorBoard from now on.
    pub(crate) fn show_on_board(&mut self) -> Result<(), TrainError> {
        self.board = Some((Board::default(), Journal::open(&self.file(EVENTS))?));
        Ok(())
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
        self.log.append(&[], line(event).as_bytes())?;
        if let Some((board, journal)) = &mut self.board {
            let now = tensorboard::now();
            journal.append(&Board::begin(now), &board.record(event, now))?;
        }
        Ok(())
    }

    /// The lengths of log and event file, all of them on disk.
    pub(crate) fn synced(&mut self) -> Result<[u64; 2], TrainError> {
        let board = self.board.as_mut().map_or(Ok(0), |(_, journal)| journal.synced())?;
        Ok([self.log.synced()?, board])
    }

    /// Will forget what was written beyond these lengths, where the checkpoint is, once the run goes on.
    pub(crate) fn trust(&mut self, [log, board]: [u64; 2]) {
        self.log.trust(log);
        self.board.iter_mut().for_each(|(_, journal)| journal.trust(board));
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
) -> Result<File, TrainError> {
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
    Ok(lock)
}

fn line(event: &Event) -> String {
    let Ok(json) = serde_json::to_string(event) else { unreachable!("events have string keys and no maps") };
    json + "\n"
}

fn lock(path: &Path) -> Result<File, TrainError> {
    let name = path.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(TrainError::io(&name))?;
    let mut locked = file.try_lock();
    // A program that another thread starts has all files of this one for a moment, and with them a lock that was just let go.
    for _ in 0..20 {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy(path.to_owned())),
        // Some network file systems know no locks; that is no reason not to train there.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(TrainError::io(&name)(e)),
    }
}

/// Makes the names in a folder durable, where folders can be synced at all.
pub(crate) fn sync_folder(path: &Path) -> Result<(), TrainError> {
    if cfg!(unix) {
        File::open(path).and_then(|f| f.sync_all()).map_err(TrainError::io(path))?;
    }
    Ok(())
}
