//! Text files of a task: where they are and how they are read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nn_train::data::Encoding;

use crate::data;
use crate::failure::Advise;

/// The text of `file` in the folder `folder`, which is in `dir` or is it.
///
/// # Errors
/// If there is no such file, or it is not in the encoding.
pub(crate) fn read(dir: Option<&Path>, folder: &str, file: &str, encoding: Encoding) -> Result<String> {
    let path: PathBuf = data::folder_of(dir, folder)?.join(file);
    let text = encoding.read(&path);
    if path.is_file() {
        return text.advise(
            "--encoding says another one: windows-1252 where quotes, dashes or accents are the trouble",
        );
    }
    text.advise(data::advice(folder))
}
