//! Random damage to good files without cargo-fuzz: blind, where that one is led by coverage, but any compiler builds it.
//!
//! `cargo run --release --manifest-path fuzz/Cargo.toml -- TARGET SECONDS [SEED]`; `-- TARGET corpus` writes the good files to
//! where cargo-fuzz looks for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use nn_fuzz::{Target, find};

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (Some(target), Some(what)) = (args.first(), args.get(1)) else {
        eprintln!("usage: TARGET SECONDS [SEED], or TARGET corpus");
        return Ok(ExitCode::from(2));
    };
    let (target, seeds) = (find(target), find(target).seeds()?);
    if what == "corpus" {
        return write("corpus", target, &seeds).map(|()| ExitCode::SUCCESS);
    }
    let number = |text: Option<&String>| text.map_or(Ok(1), |text| text.parse().map_err(io::Error::other));
    damage(target, &seeds, number(Some(what))?, number(args.get(2))?)
}

fn write(folder: &str, target: &Target, files: &[Vec<u8>]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target.name);
    fs::create_dir_all(&folder)?;
    for (n, bytes) in files.iter().enumerate() {
        fs::write(folder.join(n.to_string()), bytes)?;
    }
    println!("{}: {} files", folder.display(), files.len());
    Ok(())
}

/// Damages files for so many seconds, or until one makes the reader panic, which is then kept.
fn damage(target: &Target, seeds: &[Vec<u8>], seconds: u64, seed: u64) -> io::Result<ExitCode> {
    let (mut draws, mut count) = (Draws(seed), 0u64);
    let (start, end) = (Instant::now(), Duration::from_secs(seconds));
    while start.elapsed() < end {
        let bytes = draws.damaged(seeds);
        count += 1;
        if catch_unwind(AssertUnwindSafe(|| target.run(&bytes))).is_err() {
            write("artifacts", target, &[bytes])?;
            return Ok(ExitCode::FAILURE);
        }
    }
    println!(
        "{}: {count} damaged files of {} in {seconds} s, no panic (seed {seed})",
        target.name,
        seeds.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// Numbers that sizes are confused by.
const ODD: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One of the files, damaged in one to eight places.
    fn damaged(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            let end = (at + self.below(32)).min(bytes.len());
            match self.below(8) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let part = bytes[at..end].to_vec();
                    let place = self.below(bytes.len());
                    bytes.splice(place..place, part);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    bytes.splice(at..end, other[from..(from + 32).min(other.len())].iter().copied());
                }
                kind => {
                    let (odd, width) = (ODD[self.below(ODD.len())], [1, 2, 4, 8][self.below(4)]);
                    let number =
                        if kind == 6 { odd.to_le_bytes() } else { (odd << (64 - 8 * width)).to_be_bytes() };
                    let end = (at + width).min(bytes.len());
                    bytes[at..end].copy_from_slice(&number[..end - at]);
                }
            }
        }
        bytes
    }
}
