//! A file that grows with a run, and is cut back to where a checkpoint trusts it when the run goes on from that.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::TrainError;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The length it is to be cut back to before anything is added.
    trusted: Option<u64>,
}

impl Journal {
    /// Opens it, or begins it.
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        let file = File::options().append(true).create(true).open(path).map_err(TrainError::io(path))?;
        let bytes = file.metadata().map_err(TrainError::io(path))?.len();
        Ok(Self { path: path.to_owned(), file, bytes, trusted: None })
    }

    /// Adds to it; `begin` comes first in a journal that is empty.
    pub(crate) fn append(&mut self, begin: &[u8], bytes: &[u8]) -> Result<(), TrainError> {
        self.cut()?;
        let begin = if self.bytes == 0 { begin } else { &[] };
        for bytes in [begin, bytes] {
            self.file.write_all(bytes).map_err(TrainError::io(&self.path))?;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Its length, all of it on disk.
    pub(crate) fn synced(&mut self) -> Result<u64, TrainError> {
        self.cut()?;
        self.file.sync_data().map_err(TrainError::io(&self.path))?;
        Ok(self.bytes)
    }

    /// Will forget what is beyond `bytes`, where the checkpoint is, once the run goes on.
    pub(crate) fn trust(&mut self, bytes: u64) {
        self.trusted = Some(bytes);
    }

    /// A journal that is shorter than the checkpoint says, because somebody cut it, stays as it is.
    fn cut(&mut self) -> Result<(), TrainError> {
        let Some(bytes) = self.trusted else { return Ok(()) };
        let bytes = self.bytes.min(bytes);
        self.file.set_len(bytes).map_err(TrainError::io(&self.path))?;
        (self.bytes, self.trusted) = (bytes, None);
        Ok(())
    }
}
