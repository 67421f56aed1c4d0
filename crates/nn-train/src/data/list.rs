//! Pictures and their classes as a table lists them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Result;
use nn_core::ensure;

use super::CsvTable;
use super::folder::natural;

/// What the columns of a list of pictures are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListColumns<'a> {
    /// The picture's file, from the folder that the list lies in.
    pub path: &'a str,
    /// Its class.
    pub label: &'a str,
}

impl Default for ListColumns<'_> {
    fn default() -> Self {
        Self { path: "path", label: "label" }
    }
}

/// Files and classes, and the names of these in natural order.
pub(super) struct Listed {
    pub(super) files: Vec<(PathBuf, u32)>,
    pub(super) classes: Vec<String>,
}

impl Listed {
    /// # Errors
    /// If the list is no table, lacks a column or has no rows, a cell is empty, or a file is not there; the message
    /// gives the line.
    pub(super) fn read(list: &Path, columns: ListColumns<'_>) -> Result<Self> {
        let table = CsvTable::read(list)?;
        let (paths, labels) = (table.texts(columns.path)?, table.texts(columns.label)?);
        ensure!(!table.is_empty(), "{}: there are no pictures in the list", list.display());
        for (column, cells) in [(columns.path, &paths), (columns.label, &labels)] {
            if let Some(row) = cells.iter().position(|cell| cell.trim().is_empty()) {
                let (list, line) = (list.display(), table.line(row));
                candle_core::bail!("{list}: line {line}, column {column}: the cell is empty");
            }
        }
        let labels: Vec<&str> = labels.iter().map(|label| label.trim()).collect();
        let names: BTreeSet<&str> = labels.iter().copied().collect();
        let mut classes: Vec<String> = names.into_iter().map(str::to_owned).collect();
        classes.sort_by(|a, b| natural(a, b));
        let folder = list.parent().unwrap_or(Path::new(""));
        let mut files = Vec::with_capacity(paths.len());
        for (row, (path, label)) in paths.iter().zip(&labels).enumerate() {
            let file = folder.join(path.trim());
            ensure!(
                file.is_file(),
                "{}: line {}: there is no file {}",
                list.display(),
                table.line(row),
                file.display()
            );
            let Ok(class) = classes.binary_search_by(|name| natural(name, label)) else {
                unreachable!("the classes are those of the labels")
            };
            files.push((file, class as u32));
        }
        Ok(Self { files, classes })
    }
}
