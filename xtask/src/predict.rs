//! `predict`: what a trained model makes of an input.

pub(crate) mod classes;
pub(crate) mod photo;
pub(crate) mod picture;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::data::DataName;
use crate::device::DeviceName;
use crate::failure::failed;
use crate::subject::{self, Subject};
use crate::task::Task;

const EXAMPLES: &str = "Examples:
  cargo xtask predict runs/lenet5-mnist digit.png
  cargo xtask predict mobilenet_v2 --weights mobilenet_v2.safetensors dog.jpg cat.jpg
  cargo xtask predict runs/sentiment-lstm-rt-polarity \"a film that surprises\"
  cargo xtask predict runs/char-lstm-tinyshakespeare \"ROMEO:\" --seed 7 --temperature 0.8";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A run's folder, or a model's name with --weights
    #[arg(value_name = "RUN_OR_MODEL")]
    pub(crate) subject: String,
    /// What the model is asked about: picture files (PNG, JPEG, BMP, GIF or WebP, of any size), or texts in quotes
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<OsString>,
    /// Weights of any format [default: the run's best]
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Data set the model was trained on: its classes and normalisation [default: the run's, or digits]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) data: Option<DataName>,
    /// Where the weights come from, see `cargo xtask list pretrained`: their classes and normalisation [default: told by
    /// the file's name or content]
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub(crate) source: Option<String>,
    /// Classes to show, most probable first
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// Where to compute
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub(crate) device: DeviceName,
    /// Print one JSON document: an array with an object for each input
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

/// How a text goes on, for models that write; nothing is said by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "For models that write")]
pub(crate) struct Sampling {
    /// What the draws come from [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Below 1, likely continuations become likelier [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) temperature: Option<f64>,
    /// Draw from the K likeliest tokens alone
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f64>,
    /// Tokens to write at most [default: the task's]
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
}

impl Sampling {
    /// # Errors
    /// If there is an option: `task` does not write.
    pub(crate) fn refuse(&self, task: &str) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        Err(failed(format!(
            "--seed, --temperature, --top-k, --top-p and --max-length are for models that write, not for {task}"
        )))
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One document.
    Json,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }

    /// The model that is asked, of a task that reads texts, with its weights.
    ///
    /// # Errors
    /// If there is an option that is for pictures, or the run's model cannot be had.
    pub(crate) fn reader<T: Task>(&self) -> Result<T> {
        let (data, source) = (self.data.map(|_| "--data"), self.source.as_ref().map(|_| "--source"));
        if let Some(option) = data.or(source) {
            return Err(failed(format!("{option} is for pictures, not for {}", T::NAME)));
        }
        let subject = Subject::<T>::find(&self.subject, self.weights.as_deref())?;
        Ok(subject.ready(self.device)?.model)
    }

    /// The inputs as texts.
    ///
    /// # Errors
    /// If one is no UTF-8.
    pub(crate) fn texts<'a>(&'a self) -> Result<Vec<&'a str>> {
        let text = |(n, input): (usize, &'a OsString)| {
            let no_text = || failed(format!("input {}: {} is no UTF-8", n + 1, input.display()));
            input.to_str().ok_or_else(no_text)
        };
        self.inputs.iter().enumerate().map(text).collect()
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    (subject::task(&args.subject)?.predict)(args)
}
