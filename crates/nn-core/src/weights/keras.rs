//! Weights of Keras, as PyTorch would have them: arrays turned and cut, and called what `torch.nn` calls them.
//!
//! Source: Keras 3, `keras/src/saving/saving_lib.py` (`.weights.h5` and `.keras`: a layer's variables are called by their
//! numbers, and layers by their classes) and `keras/src/legacy/saving/legacy_h5_format.py` (`.h5`).
//! Differs: what is not known stays as it is, under Keras's name, where no model will take it by mistake. That goes for GRUs
//! with `reset_after=False`, which compute something else, and for norms in `.weights.h5` without scale or centre, of which
//! nobody can tell what they have.

mod layout;

use std::collections::BTreeMap;

use self::layout::{Cell, Turned};
use super::file::{About, Format};
use super::flaw::{Read, flaw};
use super::hdf5::{self, Arrays};
use super::storage::{Source, Storage};
use super::strided::Strided;
use super::table::Table;

/// Of a `.keras` archive: the weights and what the model is.
const WEIGHTS: &str = "model.weights.h5";
const CONFIG: &str = "config.json";

/// Whether an archive of these files is one of Keras.
pub(super) fn is_archive(files: &BTreeMap<String, Storage>) -> bool {
    files.contains_key(WEIGHTS) && files.contains_key(CONFIG)
}

pub(super) fn archive(source: &mut Box<dyn Source>, files: &BTreeMap<String, Storage>) -> Read<Table> {
    let Some(weights) = files.get(WEIGHTS).filter(|weights| weights.inflated.is_none()) else {
        return Err(flaw(format!("{WEIGHTS} is packed in the archive; unpack it first")));
    };
    weights.verify(source)?;
    let arrays = hdf5::arrays(source, weights.start, weights.length).map_err(|e| e.at(WEIGHTS))?;
    table(arrays, Format::Keras)
}

pub(super) fn file(source: &mut Box<dyn Source>, length: u64) -> Read<Table> {
    table(hdf5::arrays(source, 0, length)?, Format::Hdf5)
}

/// What an array is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Kernel,
    DepthwiseKernel,
    Embeddings,
    Bias,
    Gamma,
    Beta,
    Mean,
    Variance,
    /// Of a recurrent layer, in one of its directions.
    Cell(CellRole, Way),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellRole {
    Kernel,
    RecurrentKernel,
    Bias,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Forward,
    Backward,
}

fn table(arrays: Arrays, format: Format) -> Read<Table> {
    let Arrays { found, storages, others } = arrays;
    let about = About { ignored: others, ..About::new(format) };
    let mut turned = Turned::new(storages);
    let mut cells: BTreeMap<(String, Way), Cell> = BTreeMap::new();
    for (path, array) in &found {
        let (layer, role) = told(path, &found).unwrap_or_default();
        match role {
            Some(Role::Cell(role, way)) => {
                let cell = cells.entry((layer, way)).or_default();
                *cell.part(role) = Some((path.clone(), array.clone()));
            }
            Some(role) => turned.add(&layer, role, path, array)?,
            None => turned.keep(path, array)?,
        }
    }
    for ((layer, way), cell) in cells {
        turned.add_cell(&layer, way, cell)?;
    }
    let Turned { tensors, storages, joined } = turned;
    Ok(Table { joined, ..Table::new(about, tensors, storages) })
}

/// Which layer an array belongs to, and what it is there.
fn told(path: &str, all: &BTreeMap<String, Strided>) -> Option<(String, Option<Role>)> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [ref layer @ .., "vars", number] => numbered(layer, number, path, all),
        [ref layer @ .., name] => named(layer, name, path, all),
        [] => None,
    }
}

/// An array that has a number in its layer, whose class is in its name.
fn numbered(
    layer: &[&str],
    number: &str,
    path: &str,
    all: &BTreeMap<String, Strided>,
) -> Option<(String, Option<Role>)> {
    let mut layer: Vec<&str> = layer.iter().copied().filter(|part| *part != "layers").collect();
    if layer.last() == Some(&"cell") {
        layer.pop();
        let role = match number {
            "0" => CellRole::Kernel,
            "1" => CellRole::RecurrentKernel,
            "2" => CellRole::Bias,
            _ => return None,
        };
        let way = way(&mut layer);
        return Some((layer.join("."), Some(Role::Cell(role, way))));
    }
    let name = layer.last()?;
    let class = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let class = if class.starts_with("conv") { "conv" } else { class };
    let siblings = path.rsplit_once('/').map_or(0, |(group, _)| {
        all.keys().filter(|other| other.rsplit_once('/').is_some_and(|(of, _)| of == group)).count()
    });
    let role = match (class, number, siblings) {
        ("conv" | "dense", "0", 1 | 2) => Role::Kernel,
        ("depthwise_conv" | "depthwise_conv1d" | "depthwise_conv2d", "0", 1 | 2) => Role::DepthwiseKernel,
        ("conv" | "dense" | "depthwise_conv" | "depthwise_conv1d" | "depthwise_conv2d", "1", 2) => Role::Bias,
        ("embedding", "0", 1) => Role::Embeddings,
        ("batch_normalization" | "layer_normalization", "0", 4) | ("layer_normalization", "0", 2) => {
            Role::Gamma
        }
        ("batch_normalization", "1", 4) | ("layer_normalization", "1", 2) => Role::Beta,
        ("batch_normalization", "2", 4) | ("batch_normalization", "0", 2) => Role::Mean,
        ("batch_normalization", "3", 4) | ("batch_normalization", "1", 2) => Role::Variance,
        _ => return None,
    };
    Some((layer.join("."), Some(role)))
}

/// An array that has a name.
fn named(
    layer: &[&str],
    name: &str,
    path: &str,
    all: &BTreeMap<String, Strided>,
) -> Option<(String, Option<Role>)> {
    let layer = layer.strip_prefix(&["model_weights"]).unwrap_or(layer);
    // The layer's group, and in it the path of its variables, which begins with its name again.
    let mut layer: Vec<&str> = match layer {
        [group, inner @ ..] if !inner.is_empty() => match inner.strip_prefix(&[*group]) {
            Some(rest) => std::iter::once(*group).chain(rest.iter().copied()).collect(),
            None => inner.to_vec(),
        },
        layer => layer.to_vec(),
    };
    let name = name.strip_suffix(":0").unwrap_or(name);
    let in_cell = layer.last().is_some_and(|part| part.ends_with("cell"));
    let beside = |other: &str| {
        let (group, last) = path.rsplit_once('/').unwrap_or(("", path));
        let suffix = if last.ends_with(":0") { ":0" } else { "" };
        all.get(&format!("{group}/{other}{suffix}"))
    };
    if in_cell || name == "recurrent_kernel" || beside("recurrent_kernel").is_some() {
        if in_cell {
            layer.pop();
        }
        let role = match name {
            "kernel" => CellRole::Kernel,
            "recurrent_kernel" => CellRole::RecurrentKernel,
            "bias" => CellRole::Bias,
            _ => return None,
        };
        let way = way(&mut layer);
        return Some((layer.join("."), Some(Role::Cell(role, way))));
    }
    let role = match name {
        "kernel" if is_depthwise(&layer, all.get(path)?, beside("bias")) => Role::DepthwiseKernel,
        "kernel" => Role::Kernel,
        "depthwise_kernel" if beside("pointwise_kernel").is_none() => Role::DepthwiseKernel,
        "bias" => Role::Bias,
        "gamma" => Role::Gamma,
        "beta" => Role::Beta,
        "moving_mean" => Role::Mean,
        "moving_variance" => Role::Variance,
        "embeddings" => Role::Embeddings,
        _ => return None,
    };
    (!layer.is_empty()).then(|| (layer.join("."), Some(role)))
}

/// Whether a kernel `[h, w, c, m]` is that of a depthwise convolution: by its bias, or else by the layer's name.
fn is_depthwise(layer: &[&str], kernel: &Strided, bias: Option<&Strided>) -> bool {
    let &[_, _, channels, multiplier] = &kernel.shape[..] else { return false };
    match bias.map(|bias| &bias.shape[..]) {
        Some(&[n]) if n != multiplier => channels.checked_mul(multiplier) == Some(n),
        _ => layer
            .last()
            .is_some_and(|name| name.contains("depthwise") || name.split('_').any(|part| part == "dw")),
    }
}

/// Which way a layer goes through time; the part of a path that says it goes.
fn way(layer: &mut Vec<&str>) -> Way {
    let way = match layer.last() {
        Some(part) if part.starts_with("backward_") => Way::Backward,
        Some(part) if part.starts_with("forward_") => Way::Forward,
        _ => return Way::Forward,
    };
    if layer.len() > 1 {
        layer.pop();
    }
    way
}
