//! `fetch`: published weights from the net, into the folders where Python's programs keep theirs.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use nn_vision::Pretrained;
use nn_vision::hub::{Hub, Progress};
use serde::Serialize;

use crate::failure::{self, Advise, failed};
use crate::output::{self, note};

const EXAMPLES: &str = "Examples:
  cargo xtask fetch resnet50
  cargo xtask fetch resnet50@resnet50-0676ba61
  cargo xtask predict resnet50 --weights \"$(cargo xtask fetch resnet50)\" dog.jpg

Files lie where huggingface_hub and torch.hub keep theirs: HF_HOME, TORCH_HOME and XDG_CACHE_HOME move them. HF_ENDPOINT names
a mirror, HF_TOKEN opens what is not for everybody, HF_HUB_OFFLINE=1 asks the net for nothing.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A model, and which of its weights where there are several; see `cargo xtask list pretrained`
    #[arg(value_name = "MODEL[@SOURCE]")]
    weights: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Fetched {
    source: &'static str,
    model: &'static str,
    file: PathBuf,
    licence: &'static str,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let row = row(&args.weights)?;
    let fetched = Fetched { source: row.name, model: row.model, file: file(row)?, licence: row.licence };
    if args.json { output::json(&fetched) } else { output::line(fetched.file.display()) }
}

/// Where the file of a row lies, fetched if it is not there yet.
pub(crate) fn file(row: &'static Pretrained) -> Result<PathBuf> {
    let bar = bar(row.name);
    let hub = Hub::from_env()?;
    let fetched = row.fetch(&hub, |Progress { done, total }| {
        if let Some(bar) = &bar {
            total.into_iter().for_each(|total| bar.set_length(total));
            bar.set_position(done);
        }
    });
    bar.iter().for_each(ProgressBar::finish_and_clear);
    let file = fetched.with_context(|| format!("cannot fetch {}", row.name))?;
    note(format_args!("{}, weights of {}, licence {}", row.name, row.model, row.licence));
    Ok(file)
}

/// Of a model's the first, unless a name follows.
fn row(weights: &str) -> Result<&'static Pretrained> {
    let (model, source) = match weights.split_once('@') {
        Some((model, source)) => (model, Some(source)),
        None => (weights, None),
    };
    let known: Vec<&str> = Pretrained::of(model).map(|row| row.name).collect();
    if known.is_empty() {
        if nn_vision::find(model).is_some() {
            return Err(failed(format!("no trained weights of {model} are known")))
                .advise("`cargo xtask list pretrained` shows those that are");
        }
        let models: Vec<&str> = nn_vision::entries().map(|entry| entry.name).collect();
        return Err(failure::unknown("model", model, &models));
    }
    let row = Pretrained::of(model).find(|row| source.is_none_or(|source| source == row.name));
    row.ok_or_else(|| {
        failure::unknown(&format!("source of weights for {model}"), source.unwrap_or_default(), &known)
    })
}

/// Where standard error is a terminal.
fn bar(name: &'static str) -> Option<ProgressBar> {
    stderr().is_terminal().then(|| {
        let template =
            "  {prefix}  {bar:24.cyan/black.bright}  {bytes} of {total_bytes}, {bytes_per_sec}, {eta}";
        let Ok(style) = ProgressStyle::with_template(template) else {
            unreachable!("a template that is right")
        };
        ProgressBar::new(0).with_style(style.progress_chars("━╸─")).with_prefix(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_named_by_model_and_source() -> Result<()> {
        assert_eq!(row("resnet50")?.name, "resnet50-0676ba61");
        assert_eq!(row("resnet50@resnet50-11ad3fa6")?.name, "resnet50-11ad3fa6");
        for (weights, says) in [
            ("resnet50@resnet50-11ad3fa", "did you mean `resnet50-11ad3fa6`?"),
            ("resnet5", "did you mean `resnet50`?"),
            ("nin", "no trained weights of nin are known"),
        ] {
            let error = failure::report(&row(weights).expect_err("unknown"));
            assert!(error.contains(says), "{error}");
        }
        Ok(())
    }
}
