//! What can go wrong in a run, by kind: callers treat a diverged run differently from a full disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::anomaly::Anomaly;

/// Why a run could not start, go on or be kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss, or what the step made of the parameters, is no longer a finite number. Checkpoints and weights
    /// written before are kept as they were.
    Diverged {
        /// The step it happened at, counted from 1.
        step: u64,
        /// The loss there: NaN or infinite.
        loss: f64,
        /// Where it came from, if it was looked for.
        anomaly: Option<Anomaly>,
    },
    /// Parameters that are to be trained have no gradient in the first step: the loss does not depend on them.
    Unused {
        /// Their names, in order.
        parameters: Vec<String>,
    },
    /// There is something at the path a new run was to be created at.
    Exists(PathBuf),
    /// The folder holds no run.
    NoRun(PathBuf),
    /// Another process is training in the folder.
    Busy(PathBuf),
    /// The checkpoint cannot be continued from: damaged, or of another model, optimiser or data set.
    Checkpoint {
        /// The checkpoint's file.
        path: PathBuf,
        /// What does not fit.
        why: String,
        /// The newest checkpoint before it that is whole, for [`Trainer::resume_from`](crate::Trainer::resume_from).
        before: Option<PathBuf>,
    },
    /// A file of the run could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another of the processes that train together failed.
    Elsewhere {
        /// Which, from 0.
        rank: usize,
        /// What it said.
        why: String,
    },
    /// The model, the data or a tensor operation failed.
    Candle(candle_core::Error),
}

impl TrainError {
    /// For `map_err`: the system's error with the path it is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// An error's message without the backtrace that Candle adds where one is asked for.
pub(crate) fn bare(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => bare(inner),
        error => error.to_string(),
    }
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged { step, loss, anomaly } => {
                write!(f, "training diverged: the loss is {loss} at step {step}; ")?;
                anomaly.iter().try_for_each(|anomaly| write!(f, "{anomaly}; "))?;
                write!(f, "a lower learning rate, a warm-up or clipping gradients may help")
            }
            Self::Unused { parameters } => {
                let (count, names) = (parameters.len(), parameters.join(", "));
                let what = if count == 1 { "parameter has" } else { "parameters have" };
                write!(
                    f,
                    "{count} {what} no gradient in the first step, so the loss does not depend on them: {names}; \
                     a layer is not called, or a tensor on the way to the loss is detached"
                )
            }
            Self::Exists(path) => {
                let path = path.display();
                write!(f, "{path} exists and is not written over; resume it or choose another name")
            }
            Self::NoRun(path) => write!(f, "{} holds no run", path.display()),
            Self::Busy(path) => write!(f, "another process is training in {}", path.display()),
            Self::Checkpoint { path, why, before } => {
                write!(f, "cannot resume from {}: {why}", path.display())?;
                before.iter().try_for_each(|b| write!(f, "; the one before it, {}, is whole", b.display()))
            }
            // `atomic_file` puts the path into the message already.
            Self::Io { path, source } => {
                let (path, source) = (path.display().to_string(), source.to_string());
                if source.contains(&path) { f.write_str(&source) } else { write!(f, "{path}: {source}") }
            }
            Self::Elsewhere { rank, why } => write!(f, "rank {rank} failed: {why}"),
            Self::Candle(e) => fmt::Display::fmt(e, f),
        }
    }
}

impl std::error::Error for TrainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Candle(e) => e.source(),
            _ => None,
        }
    }
}

impl From<candle_core::Error> for TrainError {
    fn from(e: candle_core::Error) -> Self {
        Self::Candle(e)
    }
}
