//! Where weights are from: what files say of it, and what is known of published ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nn_core::weights::WeightFile;
use nn_vision::Pretrained;

/// The file of weights that is meant: a run's folder stands for its best.
pub(crate) fn file(path: &Path) -> PathBuf {
    let inside = path.join(nn_train::run::MODEL);
    if path.is_dir() && inside.is_file() { inside } else { path.to_owned() }
}

/// What is known of the file at `path`, and what it says of itself, which counts more.
pub(crate) fn of(path: &Path, file: &WeightFile) -> Result<BTreeMap<String, String>> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let sha256 = nn_vision::sha256(path)?;
    let mut known = BTreeMap::new();
    if let Some(row) = Pretrained::all().find(|row| row.has(&sha256)) {
        known.insert("source".to_owned(), row.url());
        known.insert("licence".to_owned(), row.licence.to_owned());
        known.extend(row.accuracy.map(|top1| ("accuracy".to_owned(), format!("{top1} % top-1"))));
    }
    // A file that says where it is from keeps the sum of what it was made from.
    let said = &file.about().metadata;
    if !said.contains_key("source") {
        known.insert("sha256".to_owned(), sha256);
        known.entry("source".to_owned()).or_insert_with(|| name.unwrap_or_default());
    }
    known.extend(said.clone());
    Ok(known)
}

/// The same of the weights a run starts from, as what it ends in says it: `start.sha256` and so on.
pub(crate) fn of_start(path: &Path) -> Result<BTreeMap<String, String>> {
    let known = of(path, &WeightFile::open(path)?)?;
    let kept = ["source", "sha256", "licence", "accuracy"].into_iter();
    Ok(kept.filter_map(|key| Some((format!("start.{key}"), known.get(key)?.clone()))).collect())
}

/// A fact given on the command line: KEY=VALUE.
pub(crate) fn fact(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
