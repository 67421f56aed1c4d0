//! A file of a repository on the Hugging Face hub, in the folders of its Python client.
//!
//! A repository's folder has the contents of files in `blobs`, named by their hash, links to them in `snapshots/COMMIT`, and
//! the commit that a branch stands at in `refs`.

use std::path::{Path, PathBuf};

use candle_core::{Error, Result};
use nn_core::{atomic_file, ensure};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::download::{Wanted, cannot_write, download, header, refusal, unreachable};
use super::{Hub, Progress, agent};

/// The branch that is read.
const BRANCH: &str = "main";
/// Renamed repositories point to their new names.
const MOST_REDIRECTS: usize = 5;

/// What the hub says of a file.
struct Found {
    url: String,
    commit: String,
    /// Of large files the SHA-256.
    etag: String,
    size: Option<u64>,
}

impl Hub {
    /// A file of the repository `OWNER/NAME`: from the cache, or else from the hub.
    pub(super) fn repository_file(
        &self,
        repository: &str,
        file: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        let folder = self.repositories.join(format!("models--{}", repository.replace('/', "--")));
        let reference = folder.join("refs").join(BRANCH);
        let snapshot = |commit: &str| folder.join("snapshots").join(commit).join(file);
        let known = std::fs::read_to_string(&reference).unwrap_or_default();
        let path = snapshot(known.trim());
        if is_hexadecimal(known.trim()) && path.is_file() {
            return Ok(path);
        }
        self.ensure_online(&path)?;
        let agent = agent();
        let found = self.find(&agent, repository, file)?;
        let blob = folder.join("blobs").join(&found.etag);
        if !blob.is_file() {
            let sha256 = if found.etag.len() == 64 { found.etag.as_str() } else { "" };
            let token = self.token.as_deref();
            download(&agent, &Wanted { url: &found.url, token, sha256, size: found.size }, &blob, progress)?;
        }
        let path = snapshot(&found.commit);
        link(&blob, &path).map_err(|e| cannot_write(&path, &e))?;
        std::fs::create_dir_all(folder.join("refs"))
            .and_then(|()| atomic_file::write(&reference, |out| out.write_all(found.commit.as_bytes())))
            .map_err(|e| cannot_write(&reference, &e))?;
        Ok(path)
    }

    /// Asks for a file's commit, hash and size, without the file.
    fn find(&self, agent: &Agent, repository: &str, file: &str) -> Result<Found> {
        let endpoint = self.endpoint.trim_end_matches('/');
        let mut url = format!("{endpoint}/{repository}/resolve/{BRANCH}/{file}");
        for _ in 0..MOST_REDIRECTS {
            let mut request = agent.head(&url).config().max_redirects(0).build();
            if let Some(token) = &self.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|e| unreachable(&url, &e))?;
            match header(&response, "location").filter(|_| response.status().is_redirection()) {
                Some(place) if place.starts_with('/') && !place.starts_with("//") => {
                    url = format!("{}{place}", origin(endpoint));
                }
                _ => return Found::read(&response, url),
            }
        }
        Err(Error::Msg(format!("{url}: redirected too often")))
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |at| &url[..host + at])
}

impl Found {
    fn read(response: &Response<Body>, url: String) -> Result<Self> {
        let status = response.status();
        ensure!(status.is_success() || status.is_redirection(), "{url}: {}", refusal(status.as_u16()));
        let commit = header(response, "x-repo-commit").unwrap_or_default().to_owned();
        let etag = header(response, "x-linked-etag").or_else(|| header(response, "etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        // They become names of files.
        ensure!(
            is_hexadecimal(&commit) && is_hexadecimal(&etag),
            "{url}: the answer is not a hub's: commit {commit:?}, ETag {etag:?}; is HF_ENDPOINT right?"
        );
        let size = header(response, "x-linked-size").and_then(|size| size.parse().ok());
        Ok(Self { url, commit, etag, size })
    }
}

fn is_hexadecimal(text: &str) -> bool {
    (32..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The file under its name in a commit: a link to its contents, or a copy where there are no links.
fn link(blob: &Path, path: &Path) -> std::io::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(name), path);
        // Another process may have been quicker.
        linked.or_else(|e| if path.is_file() { Ok(()) } else { Err(e) })
    }
    #[cfg(not(unix))]
    {
        let mut from = std::fs::File::open(blob)?;
        atomic_file::write(path, |out| std::io::copy(&mut from, out).map(|_| ()))
    }
}
