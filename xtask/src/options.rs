//! The options of commands that train: a recipe's most wanted keys, and any other with `--set`.

use std::path::{Path, PathBuf};

use crate::data::DataName;
use crate::device::DeviceName;
use crate::recipe::Setting;
use crate::transfer::Frozen;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Data set of pictures [default: the recipe's]
    #[arg(long, value_enum, value_name = "NAME")]
    data: Option<DataName>,
    /// Folder of the data set's files [default: the recipe's, or NN_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Encoding of text files: utf-8, windows-1252, … [default: the recipe's]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Passes over the training examples
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Examples a step
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate after warm-up
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// What everything random is drawn from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where to compute
    #[arg(long, value_enum, value_name = "NAME")]
    device: Option<DeviceName>,
    /// Start from these weights, of any format; a head for other classes is left out
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What stays as the weights have it: none, head-only (all but a new head), until=LAYER (all before a layer)
    #[arg(long, value_name = "WAY")]
    freeze: Option<Frozen>,
    /// Change any key of the recipe, for example --set optimizer.momentum=0.5
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Setting::parse)]
    settings: Vec<Setting>,
}

impl Options {
    /// Those that stand for keys, then `--set`, which has the last word.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let quoted = |name: DataName| format!("\"{}\"", name.facts().name);
        let device = |name: DeviceName| serde_json::to_string(&name).unwrap_or_default();
        let file = |path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            serde_json::to_string(&path).unwrap_or_default()
        };
        let options = [
            self.data.map(|v| Setting::option("--data", "data.name", quoted(v))),
            self.encoding
                .as_ref()
                .map(|v| Setting::option("--encoding", "data.encoding", format!("\"{v}\""))),
            self.epochs.map(|v| Setting::option("--epochs", "train.epochs", v)),
            self.batch_size.map(|v| Setting::option("--batch-size", "train.batch_size", v)),
            self.lr.map(|v| Setting::option("--lr", "schedule.lr", v)),
            self.seed.map(|v| Setting::option("--seed", "train.seed", v)),
            self.device.map(|v| Setting::option("--device", "train.device", device(v))),
            self.weights.as_ref().map(|v| Setting::option("--weights", "train.weights", file(v))),
            self.freeze.as_ref().map(|v| Setting::option("--freeze", "train.freeze", format!("\"{v}\""))),
        ];
        options.into_iter().flatten().chain(self.settings.iter().cloned()).collect()
    }
}
