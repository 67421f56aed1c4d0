//! Weights of Keras, as PyTorch would have them: arrays turned and cut, and called what `torch.nn` calls them.
//!
//! Source: Keras 3, `keras/src/saving/saving_lib.py` (`.weights.h5` and `.keras`: a layer's variables are called by their
//! numbers, and layers by their classes) and `keras/src/legacy/saving/legacy_h5_format.py` (`.h5`).
//! Differs: what is not known stays as it is, under Keras's name, where no model will take it by mistake. That goes for GRUs
//! with `reset_after=False`, which compute something else, and without a bias, of which nobody can tell; for attention, whose
//! kernels have an axis for the heads; and for norms in `.weights.h5` without scale or centre, of which nobody can tell what
//! they have.

mod layout;

use std::collections::{BTreeMap, BTreeSet};

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

/// Where a compiled model's optimiser keeps its means; no weights of the model.
const OPTIMIZER: &[&str] = &["optimizer", "optimizer_weights"];

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
    let Arrays { mut found, storages, mut others } = arrays;
    for group in OPTIMIZER {
        let count = found.len();
        found.retain(|path, _| path.strip_prefix(group).is_none_or(|rest| !rest.starts_with('/')));
        if found.len() < count {
            others.push((*group).to_owned());
        }
    }
    let about = About { ignored: others, ..About::new(format) };
    let paths = Paths::new(&found);
    let mut turned = Turned::new(storages);
    let mut cells: BTreeMap<(String, Way), Cell> = BTreeMap::new();
    for (path, array) in &found {
        match paths.told(path) {
            Some((layer, Role::Cell(role, way))) => {
                let cell = cells.entry((layer, way)).or_default();
                if cell.part(role).replace((path.clone(), array.clone())).is_some() {
                    return Err(flaw("its layer has two of its kind").at(path.escape_debug()));
                }
            }
            Some((layer, role)) => turned.add(&layer, role, path, array)?,
            None => turned.keep(path, array)?,
        }
    }
    for ((layer, way), cell) in cells {
        turned.add_cell(&layer, way, cell)?;
    }
    let Turned { tensors, storages, joined } = turned;
    Ok(Table { joined, ..Table::new(about, tensors, storages) })
}

/// The arrays by their paths, and what paths say only together.
struct Paths<'a> {
    all: &'a BTreeMap<String, Strided>,
    /// How many arrays lie in a group.
    members: BTreeMap<&'a str, usize>,
    /// Outer groups whose names tell layers apart: two nested models may each have a `conv1`.
    kept: BTreeSet<&'a str>,
}

impl<'a> Paths<'a> {
    fn new(all: &'a BTreeMap<String, Strided>) -> Self {
        let mut members = BTreeMap::new();
        for (group, _) in all.keys().filter_map(|path| path.rsplit_once('/')) {
            *members.entry(group).or_default() += 1;
        }
        let mut paths = Self { all, members, kept: BTreeSet::new() };
        let (mut owners, mut kept) = (BTreeMap::new(), BTreeSet::new());
        for path in all.keys() {
            let Some((layer, _)) = paths.told(path) else { continue };
            let (group, _) = place(path);
            let owner = *owners.entry(layer).or_insert(group);
            if owner != group {
                kept.extend([owner, group]);
            }
        }
        paths.kept = kept;
        paths
    }

    /// Which layer an array belongs to, and what it is there.
    fn told(&self, path: &str) -> Option<(String, Role)> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [ref layer @ .., "vars", number] => self.numbered(layer, number, path),
            _ => self.named(path),
        }
    }

    /// An array that has a number in its layer, whose class is in its name.
    fn numbered(&self, layer: &[&str], number: &str, path: &str) -> Option<(String, Role)> {
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
            return Some((layer.join("."), Role::Cell(role, way)));
        }
        let name = layer.last()?;
        let class = without_number(name);
        let class = if class.starts_with("conv") { "conv" } else { class };
        let siblings = path.rsplit_once('/').and_then(|(group, _)| self.members.get(group)).copied();
        let role = match (class, number, siblings?) {
            ("conv" | "dense", "0", 1 | 2) => Role::Kernel,
            ("depthwise_conv" | "depthwise_conv1d" | "depthwise_conv2d", "0", 1 | 2) => Role::DepthwiseKernel,
            ("conv" | "dense" | "depthwise_conv" | "depthwise_conv1d" | "depthwise_conv2d", "1", 2) => {
                Role::Bias
            }
            ("embedding", "0", 1) => Role::Embeddings,
            ("batch_normalization" | "layer_normalization", "0", 4) | ("layer_normalization", "0", 2) => {
                Role::Gamma
            }
            ("batch_normalization", "1", 4) | ("layer_normalization", "1", 2) => Role::Beta,
            ("batch_normalization", "2", 4) | ("batch_normalization", "0", 2) => Role::Mean,
            ("batch_normalization", "3", 4) | ("batch_normalization", "1", 2) => Role::Variance,
            _ => return None,
        };
        Some((layer.join("."), role))
    }

    /// An array that has a name.
    fn named(&self, path: &str) -> Option<(String, Role)> {
        let (group, inner) = place(path);
        let (_, name) = path.rsplit_once('/').filter(|_| !inner.is_empty())?;
        let mut layer: Vec<&str> = inner.split('/').collect();
        if self.kept.contains(group) && layer.first() != Some(&group) {
            layer.insert(0, group);
        }
        let name = name.strip_suffix(":0").unwrap_or(name);
        // `lstm_cell_1` in files of Keras 2.
        let in_cell = layer.last().is_some_and(|part| without_number(part).ends_with("cell"));
        let beside = |other: &str| {
            let (group, last) = path.rsplit_once('/').unwrap_or(("", path));
            let suffix = if last.ends_with(":0") { ":0" } else { "" };
            self.all.get(&format!("{group}/{other}{suffix}"))
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
            return Some((layer.join("."), Role::Cell(role, way)));
        }
        let bias = beside("bias");
        let depthwise = |kernel| is_depthwise(&layer, kernel, bias);
        let role = match (name, beside("kernel")) {
            ("kernel", Some(kernel)) if depthwise(kernel) => Role::DepthwiseKernel,
            ("kernel" | "bias", Some(kernel)) if !depthwise(kernel) && !is_turned(&layer, kernel, bias) => {
                return None;
            }
            ("kernel", _) => Role::Kernel,
            ("depthwise_kernel", _) if beside("pointwise_kernel").is_none() => Role::DepthwiseKernel,
            ("bias", _) => Role::Bias,
            ("gamma", _) => Role::Gamma,
            ("beta", _) => Role::Beta,
            ("moving_mean", _) => Role::Mean,
            ("moving_variance", _) => Role::Variance,
            ("embeddings", _) => Role::Embeddings,
            _ => return None,
        };
        Some((layer.join("."), role))
    }
}

/// The outermost group of an array that has a name, and its layer's path in there: Keras has a group for each layer of a model,
/// and in it the variables' paths, which begin with that name again, or with those of the layers of a nested model.
fn place(path: &str) -> (&str, &str) {
    let path = path.strip_prefix("model_weights/").unwrap_or(path);
    let layer = path.rsplit_once('/').map_or("", |(layer, _)| layer);
    layer.split_once('/').unwrap_or((layer, layer))
}

/// `conv2d` of `conv2d_3`.
fn without_number(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_')
}

/// What attention calls its products, whose kernels have an axis for the heads.
const PRODUCTS: [&str; 4] = ["query", "key", "value", "attention_output"];

/// Whether a kernel is that of a dense layer or a convolution, which has channels last and a bias for each it leads to; if it is
/// transposed, these are the last but one.
fn is_turned(layer: &[&str], kernel: &Strided, bias: Option<&Strided>) -> bool {
    let &[_, .., to, last] = &kernel.shape[..] else { return true };
    let fits = |bias: &Strided| bias.shape == [last] || bias.shape == [to];
    bias.is_none_or(fits) && !layer.iter().any(|part| PRODUCTS.contains(part))
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

#[cfg(test)]
mod tests;
