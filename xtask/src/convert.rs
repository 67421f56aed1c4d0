//! `convert`: weights from any format that is read to safetensors or PyTorch's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::DType;
use nn_core::weights::{self, Outline, WeightFile};
use nn_vision::Pretrained;

use crate::failure::{self, Advise, failed};
use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Weights to read, of any format
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// File to make: *.safetensors, or *.pt, *.pth or *.bin for PyTorch
    #[arg(value_name = "DST")]
    target: PathBuf,
    /// Type of all floats [default: as they are]
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<FloatName>,
    /// Names for the tensors: those of torchvision, timm, … [default: as they are]
    #[arg(long, value_name = "LIBRARY")]
    to: Option<String>,
    /// Note a fact in the metadata, such as licence=MIT; safetensors only
    #[arg(long = "note", value_name = "KEY=VALUE", value_parser = fact)]
    notes: Vec<(String, String)>,
    /// Write over DST if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FloatName {
    F16,
    Bf16,
    F32,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Safetensors,
    Torch,
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let target = target(&args.target)?;
    if target == Target::Torch && !args.notes.is_empty() {
        return Err(failed("PyTorch's format has no place for --note")).advise("convert to *.safetensors");
    }
    if args.target.exists() && !args.force {
        return Err(failed(format!("{} exists and is not written over", args.target.display())))
            .advise("remove it, give DST another name, or add --force");
    }
    let mut file = WeightFile::open(&args.source)?;
    if let Some(library) = &args.to {
        rename(&mut file, library)?;
    }
    let dtype = |dtype: DType| args.dtype.filter(|_| dtype.is_float()).map_or(dtype, DType::from);
    let outline: Outline = file
        .tensors()
        .map(|(name, t)| (name.to_owned(), (dtype(t.element.dtype()), t.shape.to_vec())))
        .collect();
    let tensor = |name: &str| file.tensor(name)?.to_dtype(outline[name].0);
    match target {
        Target::Torch => weights::torch::write_each(&args.target, &outline, tensor)?,
        Target::Safetensors => {
            let metadata = metadata(&file, args)?;
            weights::safetensors::write_each(&args.target, &outline, &metadata, tensor)?;
        }
    }
    let from = &file.about().format;
    output::line(format_args!("{}: {} tensors from {from}", args.target.display(), outline.len()))
}

fn target(path: &Path) -> Result<Target> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => Ok(Target::Safetensors),
        Some("pt" | "pth" | "bin") => Ok(Target::Torch),
        _ => Err(failed(format!("{} does not say what to make", path.display())))
            .advise("let DST end in .safetensors, or in .pt, .pth or .bin for PyTorch"),
    }
}

/// Gives the tensors the names of `library`, whosever they have.
fn rename(file: &mut WeightFile, library: &str) -> Result<()> {
    let known = nn_vision::libraries();
    if !known.contains(&library) {
        return Err(failure::unknown("library", library, &known));
    }
    nn_vision::native(file);
    if !nn_vision::foreign(file, library)? {
        return Err(failed(format!("{} holds no network of which {library}'s names are known", file.name())))
            .advise(
                "`cargo xtask inspect` tells whose weights they are; leave --to out to keep their names",
            );
    }
    Ok(())
}

/// What is known of the source, what it says of itself, and what was noted, which counts most.
fn metadata(file: &WeightFile, args: &Args) -> Result<BTreeMap<String, String>> {
    let name = args.source.file_name().map(|name| name.to_string_lossy().into_owned());
    let sha256 = nn_vision::sha256(&args.source)?;
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
    let facts = known.into_iter().chain(said.clone());
    Ok(facts.chain(args.notes.iter().cloned()).collect())
}

impl From<FloatName> for DType {
    fn from(name: FloatName) -> Self {
        match name {
            FloatName::F16 => Self::F16,
            FloatName::Bf16 => Self::BF16,
            FloatName::F32 => Self::F32,
        }
    }
}
