//! The IDX format of the MNIST family: a magic number, sizes as big-endian `u32`, then bytes; plain or gzipped.
//!
//! Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section on file formats.
//! Differs: of the format's types and ranks only what the family uses is read, images and labels of unsigned bytes.
//!
//! Nothing in a file is believed before it is checked: memory grows with the bytes that are there, not with
//! those that a header promises.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use candle_core::Error;
use flate2::bufread::MultiGzDecoder;

use super::{Images, gzip};

/// The images of a file, `[N, 1, rows, columns]`.
///
/// # Errors
/// If the file cannot be read, has another magic number, is shorter or longer than its header promises, is a
/// broken archive, or its images have no pixels; the message names the file and says which.
pub fn read_images(path: &Path) -> candle_core::Result<Images> {
    let (sizes, pixels) = open(path, IMAGES)?;
    Ok(Images { pixels, size: [1, sizes[1], sizes[2]] })
}

/// The labels of a file, `[N]`.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: &Path) -> candle_core::Result<Vec<u32>> {
    let (_, labels) = open(path, LABELS)?;
    Ok(labels.into_iter().map(u32::from).collect())
}

/// What a file is supposed to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    /// Two zero bytes, the type (8: unsigned bytes), the number of sizes that follow.
    magic: u32,
}

const IMAGES: Kind = Kind { name: "images", magic: 0x0000_0803 };
const LABELS: Kind = Kind { name: "labels", magic: 0x0000_0801 };

impl Kind {
    /// How many sizes follow the magic number.
    fn rank(self) -> usize {
        self.magic as usize & 0xff
    }
}

/// The sizes of a header and the bytes after it.
type Parsed = (Vec<usize>, Vec<u8>);
/// Why a file is refused; whoever knows its name puts it in front.
type Fault = String;

fn open(path: &Path, kind: Kind) -> candle_core::Result<Parsed> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let parsed = opened.map_err(|e| e.to_string()).and_then(|(on_disk, file)| parse(file, on_disk, kind));
    parsed.map_err(|fault| Error::Msg(format!("cannot read {} from {}: {fault}", kind.name, path.display())))
}

/// The sizes and the data of a file that takes `on_disk` bytes, archive or not: its first bytes say, not its name.
fn parse(mut file: impl Read, on_disk: u64, kind: Kind) -> Result<Parsed, Fault> {
    let (start, _) = read_up_to(file.by_ref(), 2, 2)?;
    let gzipped = start == gzip::MAGIC;
    let whole = Cursor::new(start).chain(file);
    if gzipped {
        let most = gzip::most(on_disk);
        contents(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, whole)), on_disk, most, kind)
    } else {
        contents(whole, on_disk, u64::MAX, kind)
    }
}

/// Reads header and data; a header that promises more than `most` bytes is a lie.
fn contents(mut source: impl Read, on_disk: u64, most: u64, kind: Kind) -> Result<Parsed, Fault> {
    let sizes = header(source.by_ref(), kind)?;
    if sizes[0] > 0 && sizes[1..].contains(&0) {
        return Err(format!("its images have no pixels: its header says {:?} rows and columns", &sizes[1..]));
    }
    let promised =
        sizes.iter().try_fold(1u64, |all, &n| all.checked_mul(n as u64)).filter(|&all| all <= most);
    let Some(promised) = promised else {
        return Err(format!(
            "its header promises {sizes:?} values, which {on_disk} bytes on the disk cannot hold"
        ));
    };
    let room = usize::try_from(promised.min(on_disk)).unwrap_or(0);
    let (data, end) = read_up_to(source, promised.saturating_add(1), room)?;
    let found = data.len() as u64;
    match (found.cmp(&promised), end) {
        (Ordering::Less, _) => {
            Err(format!("truncated: {found} bytes of data are there, its header promises {promised}"))
        }
        (Ordering::Greater, _) => {
            Err(format!("oversized: its header promises {promised} bytes of data, and more follow"))
        }
        (Ordering::Equal, End::Cut) => Err("truncated: the archive ends before its checksum".to_owned()),
        (Ordering::Equal, End::Clean) => Ok((sizes, data)),
    }
}

/// The sizes after a magic number that is right.
fn header(mut source: impl Read, kind: Kind) -> Result<Vec<usize>, Fault> {
    let bytes = 4 * (1 + kind.rank());
    let (header, _) = read_up_to(source.by_ref(), bytes as u64, bytes)?;
    let mut words = header.chunks_exact(4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    if let Some(magic) = words.next().filter(|&magic| magic != kind.magic) {
        return Err(format!(
            "its magic number must be {:#010x}, got {magic:#010x}{}",
            kind.magic,
            match magic {
                0x0000_0803 => ", that of images: are images and labels swapped?",
                0x0000_0801 => ", that of labels: are images and labels swapped?",
                0x504b_0304 => ", that of a zip archive: unpack it first",
                _ if magic >> 16 == 0x1f8b => ", that of a gzip archive: it was packed twice",
                _ => "",
            }
        ));
    }
    if header.len() < bytes {
        return Err(format!("truncated: {} bytes are there, its header alone has {bytes}", header.len()));
    }
    Ok(words.map(|n| n as usize).collect())
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    /// In the middle of an archive.
    Cut,
}

/// At most `limit` bytes; `room` is allocated at once, more only as it fills.
fn read_up_to(source: impl Read, limit: u64, room: usize) -> Result<(Vec<u8>, End), Fault> {
    let mut bytes = Vec::with_capacity(room);
    match source.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, End::Clean)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok((bytes, End::Cut)),
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
            Err(format!("the archive is damaged after {} bytes ({e})", bytes.len()))
        }
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let words = std::iter::once(&magic).chain(sizes);
        words.flat_map(|w| w.to_be_bytes()).chain(data.iter().copied()).collect()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn parse_bytes(bytes: &[u8], kind: Kind) -> Result<Parsed, Fault> {
        parse(bytes, bytes.len() as u64, kind)
    }

    #[test]
    fn whole_files_are_read_plain_and_packed() {
        let images = idx(0x803, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let labels = idx(0x801, &[4], &[7, 0, 1, 9]);
        let none = idx(0x803, &[0, 28, 28], &[]);
        for pack in [<[u8]>::to_vec, gz] {
            assert_eq!(parse_bytes(&pack(&images), IMAGES), Ok((vec![2, 1, 3], vec![1, 2, 3, 4, 5, 6])));
            assert_eq!(parse_bytes(&pack(&labels), LABELS), Ok((vec![4], vec![7, 0, 1, 9])));
            assert_eq!(parse_bytes(&pack(&none), IMAGES), Ok((vec![0, 28, 28], vec![])));
        }
        // Archives may be written in pieces.
        let pieces = [gz(&images[..9]), gz(&images[9..])].concat();
        assert_eq!(parse_bytes(&pieces, IMAGES), Ok((vec![2, 1, 3], vec![1, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn every_fault_is_told_apart() {
        let six = [0; 6];
        let images = idx(0x803, &[2, 1, 3], &six);
        let absurd = u32::MAX;
        for (kind, bytes, says) in [
            (IMAGES, vec![], "truncated: 0 bytes are there, its header alone has 16"),
            (LABELS, vec![0, 0, 8], "truncated: 3 bytes are there, its header alone has 8"),
            (IMAGES, images[..15].to_vec(), "truncated: 15 bytes are there, its header alone has 16"),
            (IMAGES, images[..20].to_vec(), "truncated: 4 bytes of data are there, its header promises 6"),
            (IMAGES, gz(&images[..20]), "truncated: 4 bytes of data are there, its header promises 6"),
            (
                IMAGES,
                [&images[..], &[1]].concat(),
                "oversized: its header promises 6 bytes of data, and more follow",
            ),
            (IMAGES, gz(&[&images[..], &[1]].concat()), "oversized: its header promises 6"),
            (IMAGES, [gz(&images), gz(&[1])].concat(), "oversized: its header promises 6"),
            (IMAGES, [gz(&images), vec![1; 20]].concat(), "the archive is damaged"),
            (IMAGES, idx(0x801, &[2], &[0; 2]), "must be 0x00000803, got 0x00000801, that of labels: are"),
            (LABELS, images.clone(), "must be 0x00000801, got 0x00000803, that of images: are"),
            (LABELS, b"<!DOCTYPE html>".to_vec(), "must be 0x00000801, got 0x3c21444f"),
            (IMAGES, b"PK\x03\x04 and so on".to_vec(), "that of a zip archive: unpack it first"),
            (IMAGES, gz(&gz(&images)), "that of a gzip archive: it was packed twice"),
            (IMAGES, idx(0x803, &[2, 0, 3], &[]), "its images have no pixels: its header says [0, 3]"),
            (IMAGES, idx(0x803, &[2, 3, 0], &[]), "its images have no pixels: its header says [3, 0]"),
            (IMAGES, idx(0x803, &[absurd; 3], &six), "values, which 22 bytes on the disk cannot hold"),
            (
                IMAGES,
                idx(0x803, &[absurd, absurd, 1], &six),
                "truncated: 6 bytes of data are there, its header promises 18446744065119617025",
            ),
            (
                LABELS,
                idx(0x801, &[absurd], &six),
                "truncated: 6 bytes of data are there, its header promises 4294967295",
            ),
            (LABELS, gz(&idx(0x801, &[absurd], &six)), "its header promises [4294967295] values, which"),
        ] {
            let message = parse_bytes(&bytes, kind).expect_err(says);
            assert!(message.contains(says), "{says:?} not in {message:?}");
        }
    }

    #[test]
    fn an_archive_made_to_fill_the_memory_is_refused_unopened() {
        let (count, megabyte) = (200u32, vec![0; 1 << 20]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&idx(0x803, &[count, 1024, 1024], &[])).expect("into memory");
        for _ in 0..count {
            encoder.write_all(&megabyte).expect("into memory");
        }
        let bomb = encoder.finish().expect("into memory");
        let message = parse_bytes(&bomb, IMAGES).expect_err("a bomb");
        assert!(message.contains("values, which") && message.contains("cannot hold"), "{message}");
    }

    #[test]
    fn truncation_at_every_byte_is_an_error() {
        for whole in [idx(0x803, &[2, 2, 2], &[9, 8, 7, 6, 5, 4, 3, 2]), idx(0x801, &[3], &[1, 2, 3])] {
            let kind = if whole[3] == 3 { IMAGES } else { LABELS };
            for whole in [gz(&whole), whole] {
                assert!(parse_bytes(&whole, kind).is_ok());
                for n in 0..whole.len() {
                    let message = parse_bytes(&whole[..n], kind).expect_err("cut short");
                    assert!(message.contains("truncated"), "{n} of {}: {message}", whole.len());
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_changes_nothing() {
        let data: Vec<u8> = (0..64).map(|i| i * i).collect();
        let packed = gz(&idx(0x803, &[4, 4, 4], &data));
        let whole = parse_bytes(&packed, IMAGES);
        let mut refused = 0;
        for bit in 0..8 * packed.len() {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse_bytes(&flipped, IMAGES);
            assert!(parsed.is_err() || parsed == whole, "bit {bit}");
            refused += usize::from(parsed.is_err());
        }
        // Time stamp, system and hints in the archive's own header are nobody's business.
        assert!(
            refused >= 8 * (packed.len() - 8),
            "only {refused} of {} flips were noticed",
            8 * packed.len()
        );
    }

    #[test]
    fn messages_name_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("some-labels");
        std::fs::write(&path, gz(&idx(0x801, &[3], &[4, 0, 255]))).expect("writable");
        assert_eq!(read_labels(&path).expect("whole"), [4, 0, 255]);
        for (path, error) in [
            (path.clone(), read_images(&path).map(drop)),
            (path.join("below-a-file"), read_labels(&path.join("below-a-file")).map(drop)),
            (dir.path().to_owned(), read_labels(dir.path()).map(drop)),
        ] {
            let message = error.expect_err("unreadable").to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
    }
}
