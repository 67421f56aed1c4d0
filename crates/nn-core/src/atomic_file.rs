//! Files that appear whole or not at all: written under a temporary name, synced, then renamed.
//!
//! A reader never sees half a file under its final name, whenever the writer is killed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `path` through `fill`; on any error the old file, if there was one, is untouched.
///
/// The data is on disk before the name points at it, and the name before this returns.
///
/// # Errors
/// Those of the file system, with the path in the message, and those of `fill`.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let partial = partial_name(path);
    let written = (|| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)?;
        sync_directory(path)
    })();
    written.map_err(|e| {
        // Best effort: the error that matters is the one that brought us here.
        let _ = fs::remove_file(&partial);
        io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display()))
    })
}

/// The name a file has while it is being written: `model.safetensors.partial`.
fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Makes a rename in the file's directory durable, where directories can be synced at all.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_writer_leaves_the_old_file() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.txt");
        write(&path, |w| w.write_all(b"old"))?;
        let error = write(&path, |w| {
            w.write_all(b"ne")?;
            Err(io::Error::other("disk on fire"))
        })
        .expect_err("the writer failed");
        assert!(error.to_string().contains("a.txt") && error.to_string().contains("disk on fire"));
        assert_eq!(fs::read(&path)?, b"old");
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let error = write(Path::new("/nonexistent/x"), |_| Ok(())).expect_err("no such folder");
        assert!(error.to_string().contains("/nonexistent/x"));
    }
}
