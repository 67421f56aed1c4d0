//! Results on standard output: lines, one JSON document, aligned tables.
//!
//! A reader that has seen enough (`| head -1`) is no error; `println!` would panic there.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use nn_core::atomic_file;
use serde::Serialize;

/// Standard output was closed by its reader.
#[derive(Debug)]
pub(crate) struct Closed;

impl Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Whether this is a process that another one speaks for.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From now on [`line()`] and [`note`] say nothing.
pub(crate) fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// Writes a line.
pub(crate) fn line(text: impl Display) -> Result<()> {
    if is_silent() {
        return Ok(());
    }
    let text = format!("{text}\n");
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes a line to standard error: progress and remarks. A reader that went away does not stop the work.
pub(crate) fn note(text: impl Display) {
    match &*NOTES.lock().unwrap_or_else(PoisonError::into_inner) {
        _ if is_silent() => {}
        Some(take) => take(text.to_string()),
        None => alarm(text),
    }
}

type Notes = Box<dyn Fn(String) + Send>;

/// Who takes notes instead of standard error.
static NOTES: Mutex<Option<Notes>> = Mutex::new(None);

/// From now on `taker` gets what [`note`] is told: a dashboard has the terminal.
pub(crate) fn divert(taker: Option<Notes>) {
    *NOTES.lock().unwrap_or_else(PoisonError::into_inner) = taker;
}

/// Writes a line to standard error that must be read, even from a silent process.
pub(crate) fn alarm(text: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Writes a JSON document, indented.
pub(crate) fn json(document: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(document).context("cannot write JSON")?)
}

/// The same into a file, whole or not at all.
pub(crate) fn json_file(path: &Path, document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document).context("cannot write JSON")? + "\n";
    atomic_file::write(path, |file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Which side of its column a cell stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a header, columns as wide as their widest cell.
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self::headed(columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect())
    }

    /// With names that are not known before.
    pub(crate) fn headed(columns: Vec<(String, Align)>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// A cell a column; missing ones are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// Columns that are wider end where their cells do.
const WIDEST: usize = 1000;

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let titled = header.iter().any(|name| !name.is_empty());
        let rows: Vec<&Vec<String>> = titled.then_some(&header).into_iter().chain(&self.rows).collect();
        let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|c| c.chars().count()).max();
        // Names of files' own making have any length; what formats them has not.
        let widths: Vec<usize> = (0..self.columns.len()).map(|i| width(i).unwrap_or(0).min(WIDEST)).collect();
        for (n, row) in rows.iter().enumerate() {
            let mut text = String::new();
            for ((cell, (_, align)), width) in row.iter().zip(&self.columns).zip(&widths) {
                match align {
                    Align::Left => write!(text, "  {cell:<width$}")?,
                    Align::Right => write!(text, "  {cell:>width$}")?,
                }
            }
            f.write_str(text.trim_end())?;
            if n + 1 < rows.len() {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

/// `61706` → `61,706`
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `[1, 28, 28]` → `1×28×28`
pub(crate) fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// Bytes as MiB, three digits that matter.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let n = bytes as f64 / f64::from(1 << 20);
    if n < 10.0 { format!("{n:.2} MiB") } else { format!("{n:.1} MiB") }
}

/// Seconds as a clock would say them: `8.4 s`, `2 min 05 s`, `1 h 07 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 59.95 => format!("{seconds:.1} s"),
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_no_trailing_blanks() {
        let mut table = Table::new(&[("name", Align::Left), ("size", Align::Right), ("", Align::Left)]);
        table.row(["a".to_owned(), "1,000".to_owned(), "×".to_owned()]);
        table.row(["long name".to_owned(), "7".to_owned()]);
        assert_eq!(table.to_string(), "  name        size\n  a          1,000  ×\n  long name      7");
    }

    /// Files name their tensors as they like.
    #[test]
    fn a_cell_of_any_length_is_written() {
        let mut table = Table::new(&[("name", Align::Left), ("size", Align::Right)]);
        table.row(["a".repeat(70_000), "7".to_owned()]);
        assert!(table.to_string().ends_with("a     7"));
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(dims(&[1, 28, 28]), "1×28×28");
        assert_eq!(mebibytes(246_824), "0.24 MiB");
        assert_eq!(mebibytes(100 << 20), "100.0 MiB");
        let spoken = [8.44, 59.96, 125.0, 4020.0].map(duration);
        assert_eq!(spoken, ["8.4 s", "1 min 00 s", "2 min 05 s", "1 h 07 min"]);
    }
}
