//! Tables of comma-separated values, whose columns have types.
//!
//! Source: RFC 4180.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::csv::{ReaderBuilder, StringRecord};
use candle_core::{Error, Result};
use nn_core::ensure;

/// A table whose first line names the columns. Each is asked for with the type it should have.
#[derive(Clone, Debug)]
pub struct CsvTable {
    path: PathBuf,
    head: StringRecord,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    /// That it begins on, counted from 1.
    line: u64,
    cells: StringRecord,
}

/// A row of its own behind the last. It is read as one unless a quote is still open.
const END: &str = "\0the end of the table";

impl CsvTable {
    /// # Errors
    /// If the file cannot be read, is no UTF-8, two columns have one name, a row has more or fewer cells than the head, or a
    /// quote is never closed; the message names the line.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::Msg(format!("{}: {e}", path.display())))?;
        Self::parse(&bytes, path)
    }

    /// The table in `bytes`; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`CsvTable::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let named = |e: ::csv::Error| Error::Msg(format!("{}: {e}", path.display()));
        let source = bytes.chain(b"\n".as_slice()).chain(END.as_bytes());
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
        let mut rows = Vec::new();
        for cells in reader.records() {
            let cells = cells.map_err(named)?;
            rows.push(Row { line: first_line(&cells, bytes), cells });
        }
        let end = rows.pop();
        if let Some(Row { line, .. }) = end.filter(|row| row.cells != vec![END]) {
            let path = path.display();
            candle_core::bail!("{path}: a quote that is opened in the row of line {line} is never closed")
        }
        let head = if rows.is_empty() { StringRecord::new() } else { rows.remove(0).cells };
        let mut names = HashSet::new();
        let twice = head.iter().find(|name| !names.insert(*name));
        ensure!(
            twice.is_none(),
            "{}: two columns are called {:?}",
            path.display(),
            twice.unwrap_or_default()
        );
        if let Some(Row { line, cells }) = rows.iter().find(|row| row.cells.len() != head.len()) {
            let (path, cells, columns) = (path.display(), cells.len(), head.len());
            candle_core::bail!(
                "{path}: line {line}: the table has {columns} columns, the row has {cells} cells"
            )
        }
        Ok(Self { path: path.to_owned(), head, rows })
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.head.iter()
    }

    /// How many rows there are below the head.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The line on which a row begins, counted from 1.
    pub fn line(&self, row: usize) -> u64 {
        self.rows.get(row).map_or(0, |row| row.line)
    }

    /// A column as it is written.
    ///
    /// # Errors
    /// If there is no such column; the message names those there are.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let column = self.column(name)?;
        Ok(self.rows.iter().map(|row| row.cells.get(column).unwrap_or_default()).collect())
    }

    /// A column of finite numbers.
    ///
    /// # Errors
    /// If there is no such column, or a cell is no finite number; the message names line and column.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.column(name)?;
        let number = |Row { line, cells }: &Row| {
            let cell = cells.get(column).unwrap_or_default();
            let number = cell.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| {
                let path = self.path.display();
                Error::Msg(format!("{path}: line {line}, column {name}: a number is expected, got {cell:?}"))
            })
        };
        self.rows.iter().map(number).collect()
    }

    /// A column of names: each one once, in the order of their letters, and which of them each row has.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn classes(&self, name: &str) -> Result<(Vec<String>, Vec<u32>)> {
        let cells = self.texts(name)?;
        let mut names = cells.clone();
        names.sort_unstable();
        names.dedup();
        let index = |cell: &&str| names.partition_point(|name| name < cell) as u32;
        Ok((names.iter().map(|&name| name.to_owned()).collect(), cells.iter().map(index).collect()))
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.head.iter().position(|known| known == name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            let path = self.path.display();
            Error::Msg(format!("{path}: there is no column {name:?}; there are {}", known.join(", ")))
        })
    }
}

/// The reader takes for a row's place where the one before ended; what ends that one, and empty lines, come first.
fn first_line(cells: &StringRecord, bytes: &[u8]) -> u64 {
    let Some(place) = cells.position() else { return 0 };
    let rest = usize::try_from(place.byte()).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    place.line() + ends.filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CsvTable> {
        CsvTable::parse(text.as_bytes(), Path::new("t.csv"))
    }

    #[test]
    fn columns_have_types() -> Result<()> {
        let table = parse("\"day\",\"temp, °C\",sky\n1,20.5,\"grey\"\n2, -1e1 ,blue\n3,0,grey\n")?;
        assert_eq!((table.len(), table.names().collect::<Vec<_>>()), (3, vec!["day", "temp, °C", "sky"]));
        assert_eq!(table.numbers("temp, °C")?, [20.5, -10.0, 0.0]);
        assert_eq!(table.texts("day")?, ["1", "2", "3"]);
        let (names, rows) = table.classes("sky")?;
        assert_eq!((names, rows), (vec!["blue".to_owned(), "grey".to_owned()], vec![1, 0, 1]));
        assert!(parse("a,b\n")?.is_empty());
        let empty = parse("")?;
        assert_eq!((empty.len(), empty.names().count()), (0, 0));
        // Quotes hold line ends and quotes; the last line may have no end.
        let quoted = parse("a,b\n\"1\n2\",\"so \"\"x\"\"\"\n3,\"4\"")?;
        assert_eq!((quoted.texts("a")?, quoted.texts("b")?), (vec!["1\n2", "3"], vec!["so \"x\"", "4"]));
        assert_eq!((quoted.line(0), quoted.line(1)), (2, 4));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() -> Result<()> {
        let table = parse("a,b\n1,2\n3,x\n4,inf\n")?;
        for (error, says) in [
            (table.numbers("b"), "t.csv: line 3, column b: a number is expected, got \"x\""),
            (parse("a\n1\nNaN\n")?.numbers("a"), "line 3, column a"),
            (parse("a,b\r\n1,2\r\n3,x\r\n")?.numbers("b"), "line 3, column b"),
            (parse("\u{feff}a\n1\n\n\r\nx\n")?.numbers("a"), "line 5, column a"),
            (table.numbers("c"), "there is no column \"c\"; there are a, b"),
        ] {
            let error = error.expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        for (text, says) in [
            ("a,a\n", "two columns are called \"a\""),
            ("a,b\n1,2\n3\n", "line 3: the table has 2 columns, the row has 1 cells"),
            ("a,b\r\n1,2\r\n3,4,5\r\n", "line 3: the table has 2 columns, the row has 3 cells"),
            ("a,b\n0,fine\n1,\"good\n0,bad\n", "a quote that is opened in the row of line 3 is never closed"),
            ("a,\"b\n0,fine\n", "the row of line 1 is never closed"),
            ("a,b\n0,\"fine", "the row of line 2 is never closed"),
        ] {
            let error = parse(text).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        let bytes = CsvTable::parse(b"a\n\xff\n", Path::new("t.csv")).expect_err("no UTF-8").to_string();
        assert!(bytes.contains("t.csv") && bytes.contains("UTF-8"), "{bytes}");
        assert!(CsvTable::read(Path::new("no/t.csv")).expect_err("no file").to_string().contains("no/t.csv"));
        Ok(())
    }
}
