//! One file from an address to a path: gone on with where it was cut, verified, and then given its name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::{Error, Result};
use nn_core::ensure;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::Progress;
use crate::pretrained::hexadecimal;

/// What is to be had.
pub(super) struct Wanted<'a> {
    pub(super) url: &'a str,
    pub(super) token: Option<&'a str>,
    /// The digits its SHA-256 begins with, as many as are known.
    pub(super) sha256: &'a str,
    /// In bytes, if it is known.
    pub(super) size: Option<u64>,
}

/// What came of it so far.
struct Partial {
    path: PathBuf,
    file: File,
    hash: Sha256,
    done: u64,
}

const CHUNK: usize = 1 << 18;

/// Who sends more, and has not said how much, never ends.
const MAX_BYTES: u64 = 1 << 40;

/// Brings the file to `path`, which other processes never see half of: until it is whole it has another name.
pub(super) fn download(
    agent: &Agent,
    wanted: &Wanted<'_>,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut partial = Partial::open(path)?;
    if path.is_file() {
        return Ok(()); // another process was quicker
    }
    let mut response = ask(agent, wanted, partial.done)?;
    let status = response.status().as_u16();
    if partial.done > 0 && [200, 206, 416].contains(&status) && !goes_on(&response, partial.done) {
        partial.clear()?;
        if status != 200 {
            response = ask(agent, wanted, 0)?;
        }
    }
    let status = response.status().as_u16();
    ensure!([200, 206].contains(&status), "{}: {}", wanted.url, refusal(status));
    let kind = header(&response, "content-type").unwrap_or_default();
    ensure!(!kind.starts_with("text/html"), "{}: {WEB_PAGE}", wanted.url);
    let length = response.body().content_length();
    let total = wanted.size.or(length.map(|length| partial.done + length));
    ensure!(
        total.is_some() || !wanted.sha256.is_empty(),
        "{}: the server does not say how long the file is, so a part of it could not be told from the whole",
        wanted.url
    );
    partial.receive(response, wanted.url, total, progress)?;
    partial.finish(wanted, path)
}

/// What a server sends in place of a file when it wants to talk to a person.
const WEB_PAGE: &str = "a web page came in place of the file, of a login or a proxy perhaps";

fn ask(agent: &Agent, wanted: &Wanted<'_>, from: u64) -> Result<Response<Body>> {
    let mut request = agent.get(wanted.url);
    if let Some(token) = wanted.token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    request.call().map_err(|e| unreachable(wanted.url, &e))
}

/// Whether the answer is the rest from `from` on.
fn goes_on(response: &Response<Body>, from: u64) -> bool {
    let range = header(response, "content-range").unwrap_or_default();
    response.status() == 206
        && range.strip_prefix("bytes ").is_some_and(|range| range.starts_with(&format!("{from}-")))
}

pub(super) fn header<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

pub(super) fn unreachable(url: &str, error: &ureq::Error) -> Error {
    Error::Msg(format!("{url}: cannot be reached: {error}"))
}

/// What a status that is no success means.
pub(super) fn refusal(status: u16) -> String {
    match status {
        401 => "access is refused (401): if there is such a file, HF_TOKEN must hold a token that may read it".to_owned(),
        403 => "access is forbidden (403): its terms may have to be accepted on its page, by the owner of HF_TOKEN".to_owned(),
        404 => "there is no such file (404)".to_owned(),
        429 => "the server is asked too often (429); try again later".to_owned(),
        _ => format!("the server answers {status}"),
    }
}

impl Partial {
    /// What an earlier attempt left, or nothing yet; no other process has it meanwhile.
    fn open(whole: &Path) -> Result<Self> {
        let mut name = whole.as_os_str().to_owned();
        name.push(".incomplete");
        let path = PathBuf::from(name);
        let open = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            loop {
                let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
                file.lock()?;
                // Who had it meanwhile may have given it its name, or deleted it.
                if is_at(&file, &path)? {
                    return Ok(file);
                }
            }
        };
        let file = open().map_err(|e| cannot_write(&path, &e))?;
        let mut partial = Self { path, file, hash: Sha256::new(), done: 0 };
        partial.reread().map_err(|e| cannot_write(&partial.path, &e))?;
        Ok(partial)
    }

    fn reread(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        self.file.seek(SeekFrom::Start(0))?;
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                n => {
                    self.hash.update(&buffer[..n]);
                    self.done += n as u64;
                }
            }
        }
    }

    fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| cannot_write(&self.path, &e))?;
        (self.hash, self.done) = (Sha256::new(), 0);
        Ok(())
    }

    /// Appends the body of the answer.
    fn receive(
        &mut self,
        response: Response<Body>,
        url: &str,
        total: Option<u64>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let of = || total.map_or(String::new(), |total| format!(" of {total}"));
        progress(Progress { done: self.done, total });
        loop {
            let cut = |done: u64, why: &str| {
                Error::Msg(format!(
                    "{url}: cut after {done}{} bytes{why}; another try goes on from there",
                    of()
                ))
            };
            let n = match body.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| self.done < total) => return Err(cut(self.done, "")),
                Ok(0) => return Ok(()),
                // More than there is: what came is not what was wanted, and goes.
                Ok(_) if self.done > total.unwrap_or(MAX_BYTES) => return Ok(()),
                Ok(n) => n,
                Err(e) => return Err(cut(self.done, &format!(": {e}"))),
            };
            ensure!(self.done > 0 || !is_web_page(&buffer[..n]), "{url}: {WEB_PAGE}");
            self.file.write_all(&buffer[..n]).map_err(|e| cannot_write(&self.path, &e))?;
            self.hash.update(&buffer[..n]);
            self.done += n as u64;
            progress(Progress { done: self.done, total });
        }
    }

    /// Gives the file its name if it is what was wanted; else nothing is left of it.
    fn finish(self, wanted: &Wanted<'_>, path: &Path) -> Result<()> {
        let digest = hexadecimal(&self.hash.finalize());
        let whole = wanted.size.is_none_or(|size| size == self.done);
        if !whole || !digest.starts_with(wanted.sha256) {
            std::fs::remove_file(&self.path).map_err(|e| cannot_write(&self.path, &e))?;
            candle_core::bail!(
                "{}: not the file that was published: {} bytes with SHA-256 {digest} came, and it must begin with {}; \
                 they were deleted",
                wanted.url,
                self.done,
                wanted.sha256
            );
        }
        let name = || {
            self.file.sync_all()?;
            std::fs::rename(&self.path, path)
        };
        name().map_err(|e| cannot_write(path, &e))
    }
}

/// Whether the path still leads to the open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A file that is open is neither deleted nor given another name there.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> std::io::Result<bool> {
    Ok(true)
}

fn is_web_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    ["<!doctype html", "<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|s| s.eq_ignore_ascii_case(tag.as_bytes())))
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::Msg(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waited_for_a_file_that_is_gone_makes_a_new_one() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let whole = dir.path().join("weights");
        let first = Partial::open(&whole)?;
        let (waits, waiting) = channel();
        let second = thread::spawn(move || {
            waits.send(()).expect("the other thread");
            Partial::open(&whole).map(|partial| is_at(&partial.file, &partial.path))
        });
        waiting.recv().expect("the other thread");
        thread::sleep(Duration::from_millis(100));
        std::fs::remove_file(&first.path)?;
        drop(first);
        assert!(second.join().expect("no panic")??);
        Ok(())
    }
}
