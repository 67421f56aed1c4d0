//! Texts in two languages: line by line, one says what the other says.

use std::fs;
use std::io::Read;
use std::path::Path;

use candle_core::{Error, Result};
use flate2::read::MultiGzDecoder;
use nn_core::ensure;

use super::{Encoding, gzip};

/// The lines of two files, side by side; either may be compressed by gzip.
///
/// # Errors
/// If a file cannot be read or is not in the encoding, one has more lines than the other, or a line is empty on one side;
/// the message names it.
pub fn read_parallel(source: &Path, target: &Path, encoding: Encoding) -> Result<Vec<[String; 2]>> {
    let [sources, targets] = [read(source, encoding)?, read(target, encoding)?];
    let (left, right) = (sources.lines().count(), targets.lines().count());
    ensure!(
        left == right,
        "{} has {left} lines and {} has {right}: there must be one for each",
        source.display(),
        target.display()
    );
    let pair = |(number, lines): (usize, (&str, &str))| {
        let pair = [lines.0, lines.1].map(|line| line.trim().to_owned());
        let empty = pair.iter().filter(|line| line.is_empty()).count();
        ensure!(
            empty != 1,
            "{}: line {number} or its counterpart in {} is empty",
            source.display(),
            target.display()
        );
        Ok((empty == 0).then_some(pair))
    };
    let pairs = (1..).zip(sources.lines().zip(targets.lines())).map(pair);
    pairs.filter_map(Result::transpose).collect()
}

fn read(path: &Path, encoding: Encoding) -> Result<String> {
    let named = |e: &dyn std::fmt::Display| Error::Msg(format!("{}: {e}", path.display()));
    let mut bytes = fs::read(path).map_err(|e| named(&e))?;
    if bytes.starts_with(&gzip::MAGIC) {
        let most = gzip::most(bytes.len() as u64);
        let mut plain = Vec::new();
        let unpacked = MultiGzDecoder::new(bytes.as_slice());
        unpacked.take(most + 1).read_to_end(&mut plain).map_err(|e| named(&e))?;
        if plain.len() as u64 > most {
            let packed = bytes.len();
            return Err(named(&format_args!("{packed} bytes that unpack to more than {most} are no text")));
        }
        bytes = plain;
    }
    encoding.decode(&bytes).map_err(|e| named(&e))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn lines_belong_together() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, bytes: &[u8]| fs::write(path(name), bytes).expect("written");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all("Ein Hund.\n\nZwei Hunde.\n".as_bytes()).expect("memory");
        let gzip = gzip.finish().expect("memory");
        write("a.en", b"A dog. \n\nTwo dogs.");
        write("a.de.gz", &gzip);
        write("short.de", b"Ein Hund.\n");
        write("hole.de", b"Ein Hund.\n\n\n");
        write("cut.de.gz", &gzip[..gzip.len() - 9]);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        bomb.write_all(&vec![b'\n'; gzip::most(0) as usize + 1]).expect("memory");
        write("bomb.de.gz", &bomb.finish().expect("memory"));
        let read = |target: &str| read_parallel(&path("a.en"), &path(target), Encoding::default());
        let pairs = read("a.de.gz").expect("two pairs");
        assert_eq!(
            pairs,
            [["A dog.", "Ein Hund."], ["Two dogs.", "Zwei Hunde."]].map(|p| p.map(str::to_owned))
        );
        for (file, says) in [
            ("short.de", "has 3 lines"),
            ("hole.de", "line 3 or its counterpart in"),
            ("cut.de.gz", "cut.de.gz"),
            ("bomb.de.gz", "unpack to more than 67108864"),
            ("none.de", "none.de"),
        ] {
            let error = read(file).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
