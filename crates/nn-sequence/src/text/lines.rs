//! Lines of several files, one after the other.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use candle_core::{Error, Result};

/// Goes through files line by line; ends at the first that cannot be read, and [`Lines::end`] says why.
pub(super) struct Lines<'a, P> {
    paths: std::slice::Iter<'a, P>,
    open: Option<(&'a Path, BufReader<File>)>,
    /// Lines of this file so far.
    line: usize,
    failure: Option<Error>,
}

impl<'a, P: AsRef<Path>> Lines<'a, P> {
    pub(super) fn new(paths: &'a [P]) -> Self {
        Self { paths: paths.iter(), open: None, line: 0, failure: None }
    }

    /// # Errors
    /// If the lines ended before the files did.
    pub(super) fn end(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    fn read(&mut self) -> Result<Option<String>> {
        loop {
            let Some((path, file)) = &mut self.open else {
                let Some(path) = self.paths.next() else { return Ok(None) };
                let path = path.as_ref();
                let file = File::open(path).map_err(|e| Error::Msg(format!("{}: {e}", path.display())))?;
                (self.open, self.line) = (Some((path, BufReader::new(file))), 0);
                continue;
            };
            let mut bytes = Vec::new();
            let read = file.read_until(b'\n', &mut bytes);
            if read.map_err(|e| Error::Msg(format!("{}: {e}", path.display())))? == 0 {
                self.open = None;
                continue;
            }
            self.line += 1;
            let text = String::from_utf8(bytes).map_err(|e| {
                let (path, line, byte) = (path.display(), self.line, e.utf8_error().valid_up_to() + 1);
                Error::Msg(format!("{path}: line {line} is no UTF-8 from byte {byte} on"))
            })?;
            let text = text.trim_end_matches(['\r', '\n']);
            // The mark of the bytes' order is no part of a text.
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            return Ok(Some(text.to_owned()));
        }
    }
}

impl<P: AsRef<Path>> Iterator for Lines<'_, P> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.read() {
            Ok(line) => line,
            Err(e) => {
                (self.failure, self.open, self.paths) = (Some(e), None, [].iter());
                None
            }
        }
    }
}
