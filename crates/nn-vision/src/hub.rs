//! Published weights from the net: fetched once, verified, and found again where other programs keep theirs.
//!
//! Source: the folders and variables of Python's `huggingface_hub` and `torch.hub`, so that nobody fetches what another has.
//! Differs: a file that is in the cache is taken as it is, and the net not asked whether there is a newer one.

mod download;
mod repository;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use candle_core::{Device, Result};
use nn_core::{ParamStore, ensure};
use ureq::Agent;

use self::download::{Wanted, download};
use crate::pretrained::Origin;
use crate::{Network, Pretrained};

/// Where files are fetched from and where they are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// Of the Hugging Face hub or a mirror of it: `https://huggingface.co`.
    pub endpoint: String,
    /// What that is shown, and nobody else.
    pub token: Option<String>,
    /// The folder of its repositories.
    pub repositories: PathBuf,
    /// The folder of all other files.
    pub checkpoints: PathBuf,
    /// Whether the net may be asked.
    pub access: Access,
}

/// Whether the net may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For what is not in the cache.
    Online,
    /// Never.
    Offline,
}

/// How far a download is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is there, from an earlier attempt too.
    pub done: u64,
    /// The whole, if the server tells.
    pub total: Option<u64>,
}

/// Nobody waits longer for a connection, an answer, or the next bytes of one.
const PATIENCE: Duration = Duration::from_secs(60);

impl Hub {
    /// As the environment has it.
    ///
    /// `HF_ENDPOINT`; `HF_TOKEN`, `HF_TOKEN_PATH`, or the file `token` in `HF_HOME`; `HF_HUB_CACHE`, `HF_HOME` and `TORCH_HOME`,
    /// or the folders `huggingface` and `torch` in `XDG_CACHE_HOME` or in `~/.cache`; `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// If there is neither a home nor a name of another folder.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let cache = path("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
        let within = |name: &str, folder: &str| path(name).or_else(|| Some(cache.as_ref()?.join(folder)));
        let (Some(hugging_face), Some(torch)) =
            (within("HF_HOME", "huggingface"), within("TORCH_HOME", "torch"))
        else {
            candle_core::bail!(
                "Hub: where is the cache? Set HOME or XDG_CACHE_HOME, or HF_HOME and TORCH_HOME"
            )
        };
        let file = path("HF_TOKEN_PATH").unwrap_or_else(|| hugging_face.join("token"));
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(file).ok());
        let offline = variable("HF_HUB_OFFLINE").map(|value| value.to_ascii_uppercase());
        let offline = offline.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.as_str()));
        Ok(Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            repositories: path("HF_HUB_CACHE").unwrap_or_else(|| hugging_face.join("hub")),
            checkpoints: torch.join("hub").join("checkpoints"),
            access: if offline { Access::Offline } else { Access::Online },
        })
    }

    /// The file at `url`, called `name`, from the folder of checkpoints or else from the net; `sha256` are the digits it begins
    /// with, as many as are known.
    fn checkpoint(
        &self,
        url: &str,
        name: &str,
        sha256: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        let path = self.checkpoints.join(name);
        if !path.is_file() {
            self.ensure_online(&path)?;
            let wanted = Wanted { url, token: None, sha256, size: None };
            download(&agent(), &wanted, &path, progress)?;
        }
        Ok(path)
    }

    fn ensure_online(&self, path: &std::path::Path) -> Result<()> {
        ensure!(
            self.access == Access::Online,
            "Hub: {} is not there, and HF_HUB_OFFLINE forbids to fetch it",
            path.display()
        );
        Ok(())
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, token, repositories, checkpoints, access } = self;
        let token = token.as_ref().map(|_| "…");
        let mut out = f.debug_struct("Hub");
        out.field("endpoint", endpoint).field("token", &token).field("access", access);
        out.field("repositories", repositories).field("checkpoints", checkpoints).finish()
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .build()
        .into()
}

impl Pretrained {
    /// The file of weights: from the cache, or else from where it was published. What an interrupted call left is gone on with.
    ///
    /// A file has its name in the cache once it is whole and has the SHA-256 that is known of it, from this table or from the hub.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be had: the message says whether the server cannot be reached, refuses (401, 403),
    /// has no such file (404), sends a web page, sends less than it promised, or something else than was published.
    pub fn fetch(&self, hub: &Hub, mut progress: impl FnMut(Progress)) -> Result<PathBuf> {
        let progress = &mut progress;
        if self.origin == Origin::Hub {
            return hub.repository_file(self.hub.unwrap_or(self.name), "model.safetensors", progress);
        }
        let url = self.url();
        let (_, ending) = url.rsplit_once('/').and_then(|(_, file)| file.split_once('.')).unwrap_or_default();
        ensure!(
            !url.ends_with(".tflite"),
            "Pretrained: {} is published in TensorFlow Lite's format, which has to be converted: {url}",
            self.name
        );
        hub.checkpoint(&url, &format!("{}.{ending}", self.name), self.sha256, progress)
    }

    /// The network with its published weights, which are fetched if need be, and its parameters.
    ///
    /// # Errors
    /// As for [`Self::fetch`]; if the file does not fit the network.
    pub fn network(&self, device: &Device) -> Result<(ParamStore, Network)> {
        self.load(&self.fetch(&Hub::from_env()?, |_| ())?, device)
    }
}
