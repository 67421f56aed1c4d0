//! `convert`: weights from any format that is read to safetensors or PyTorch's.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::DType;
use nn_core::weights::{self, Outline, WeightFile};

use crate::failure::{self, Advise, failed};
use crate::{output, provenance};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Weights to read, of any format, or a run's folder
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// File to make: *.safetensors, or *.pt, *.pth or *.bin for PyTorch
    #[arg(value_name = "DST")]
    target: PathBuf,
    /// Type of all floats [default: as they are]
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<FloatName>,
    /// Names for the tensors: those of RetinaFace, timm, torchvision or transformers [default: as they are]
    #[arg(long, value_name = "LIBRARY")]
    to: Option<String>,
    /// Note a fact in the metadata, such as licence=MIT; safetensors only
    #[arg(long = "note", value_name = "KEY=VALUE", value_parser = provenance::fact)]
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

pub(crate) fn run(args: &Args) -> Result<()> {
    let target = target(&args.target)?;
    if target == Target::Torch && !args.notes.is_empty() {
        return Err(failed("PyTorch's format has no place for --note")).advise("convert to *.safetensors");
    }
    if args.target.exists() && !args.force {
        return Err(failed(format!("{} exists and is not written over", args.target.display())))
            .advise("remove it, give DST another name, or add --force");
    }
    let source = provenance::file(&args.source);
    let mut file = WeightFile::open(&source)?;
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
            let mut metadata = provenance::of(&source, &file)?;
            metadata.extend(args.notes.iter().cloned());
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

impl From<FloatName> for DType {
    fn from(name: FloatName) -> Self {
        match name {
            FloatName::F16 => Self::F16,
            FloatName::Bf16 => Self::BF16,
            FloatName::F32 => Self::F32,
        }
    }
}
