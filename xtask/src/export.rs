//! `export`: a model with its weights for other programs, as ONNX.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use nn_core::weights::{self, WeightFile};
use nn_core::{Ctx, Freeze, Layer, ParamStore, Random};
use nn_onnx::Input;

use crate::failure::{Advise, failed};
use crate::model::{Model, Plan, inference};
use crate::subject::{self, Subject};
use crate::task::Pictures;
use crate::{output, provenance};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A run's folder, or a model's name, see `cargo xtask list models`
    #[arg(value_name = "RUN_OR_MODEL")]
    model: String,
    /// Weights of any format [default: the run's best; of a model by its name, numbers drawn at random, to try the export]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The ONNX model to make
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Classes the weights were trained for [default: the run's, or the model's own]
    #[arg(long, value_name = "N")]
    num_classes: Option<usize>,
    /// Make a safetensors file with an `input` of three images and the `output` for it, to compare
    #[arg(long, value_name = "FILE")]
    example: Option<PathBuf>,
    /// Note a fact in the metadata, such as licence=MIT
    #[arg(long = "note", value_name = "KEY=VALUE", value_parser = provenance::fact)]
    notes: Vec<(String, String)>,
    /// Write over files that exist
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Chosen { plan, weights, num_classes } = choose(args)?;
    for path in [Some(&args.onnx), args.example.as_ref()].into_iter().flatten() {
        if path.exists() && !args.force {
            return Err(failed(format!("{} exists and is not written over", path.display())))
                .advise("remove it, give another name, or add --force");
        }
    }
    if args.example.as_ref() == Some(&args.onnx) {
        return Err(failed("--onnx and --example name the same file")).advise("give them two names");
    }
    let build = |store| plan.build(args.num_classes.unwrap_or(num_classes), store, &Device::Cpu);
    let mut notes = BTreeMap::from([("model".to_owned(), plan.name.clone())]);
    let model = match &weights {
        Some(path) => {
            let model = build(inference())?;
            model.load(path)?;
            notes.extend(provenance::of(path, &WeightFile::open(path)?)?);
            model
        }
        None => {
            let store = ParamStore::new(0);
            store.freeze(Freeze::Everything);
            let model = build(store)?;
            stir(&model)?;
            model
        }
    };
    notes.extend(args.notes.iter().cloned());
    let input = plan.input();
    let export = nn_onnx::export(&model.layer, Input::Numbers(&input), &notes, &args.onnx)?;
    if let Some(path) = &args.example {
        let x = example(&input)?;
        let y = model.layer.call(&x, &Ctx::eval())?;
        weights::safetensors::write(
            path,
            &BTreeMap::from([("input".to_owned(), x), ("output".to_owned(), y)]),
        )?;
    }
    output::line(format_args!(
        "{}: B×{} → B×{}, {} nodes, {} numbers",
        args.onnx.display(),
        output::dims(&input),
        output::dims(&export.output),
        export.nodes,
        export.numbers
    ))
}

/// What is exported.
struct Chosen {
    plan: Plan,
    weights: Option<PathBuf>,
    num_classes: usize,
}

fn choose(args: &Args) -> Result<Chosen> {
    let plan = subject::plan(&args.model)?;
    let num_classes = plan.num_classes();
    let of_a_run = Path::new(&args.model).is_dir();
    if args.weights.is_none() && !of_a_run {
        return Ok(Chosen { plan, weights: None, num_classes });
    }
    let mut subject = Subject::<Pictures>::find(&args.model, args.weights.as_deref())?;
    // Weights from TensorFlow want its padding, and say so by where they are from.
    subject.follow_weights()?;
    let num_classes = if of_a_run { subject.known()?.len() } else { num_classes };
    Ok(Chosen { plan: subject.recipe.model, weights: Some(subject.weights), num_classes })
}

/// Three images of numbers between −1 and 1.
fn example(input: &[usize; 3]) -> Result<Tensor> {
    let mut draws = Random::new(1).at("example").draws();
    let count = 3 * input.iter().product::<usize>();
    let numbers = (0..count).map(|_| draws.uniform(-1.0, 1.0) as f32).collect();
    let [c, h, w] = *input;
    Ok(Tensor::from_vec(numbers, (3, c, h, w), &Device::Cpu)?)
}

/// Draws what starts as zeros and ones: biases, scales, statistics, heads. Two layers that were mixed up would not show else.
fn stir(model: &Model) -> Result<()> {
    let named = model.store.frozen().into_iter().chain(model.store.buffers());
    for (name, var) in named.filter(|(_, var)| var.rank() > 0 && var.dtype() == DType::F32) {
        let old = var.flatten_all()?.to_vec1::<f32>().with_context(|| name.clone())?;
        if var.rank() > 1 && old.iter().any(|&x| x != 0.0) {
            continue;
        }
        let mut draws = Random::new(0).at(&name).draws();
        let positive = name.ends_with("running_var");
        let change = |old: f32| match positive {
            true => draws.uniform(0.5, 1.5) as f32,
            false => old + 0.1 * draws.normal() as f32,
        };
        let new: Vec<f32> = old.into_iter().map(change).collect();
        var.set(&Tensor::from_vec(new, var.dims(), var.device())?)?;
    }
    Ok(())
}
