//! `forward`: one evaluation pass of raw tensors, for checking a model against another framework.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use nn_core::{Ctx, Layer, weights};

use crate::device::DeviceName;
use crate::failure::{Advise, failed};
use crate::model::{Plan, inference};
use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model's name, see `cargo xtask list models`
    model: String,
    /// Weights of any format, with exactly the model's names and shapes
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Safetensors file with a tensor `input` of shape [B, C, H, W]
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Safetensors file to make, with a tensor `output`; a file that exists is not written over
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Classes the weights were trained for [default: the model's own]
    #[arg(long, value_name = "N")]
    num_classes: Option<usize>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    device: DeviceName,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut plan = Plan::named(&args.model)?;
    plan.recognise(&args.weights)?;
    if args.output.exists() {
        return Err(failed(format!("{} exists and is not written over", args.output.display())))
            .advise("remove it, or give --output another name");
    }
    let device = args.device.open()?;
    let input = read_input(args)?.to_device(&device)?;
    let model = plan.build(args.num_classes.unwrap_or(plan.num_classes()), inference(), &device)?;
    model.load(&args.weights)?;
    let output = model.layer.call(&input, &Ctx::eval()).with_context(|| {
        let expected = output::dims(&plan.input());
        format!("{} takes B×{expected}, the input is {}", plan.name, output::dims(input.dims()))
    })?;
    weights::safetensors::write(&args.output, &BTreeMap::from([("output".to_owned(), output.clone())]))?;
    output::line(format_args!(
        "{}: {} → {}",
        args.output.display(),
        output::dims(input.dims()),
        output::dims(output.dims())
    ))
}

/// The tensor `input`, in the model's float type.
fn read_input(args: &Args) -> Result<Tensor> {
    let path = args.input.display();
    let mut tensors = weights::safetensors::read(&args.input).context("cannot read the input")?;
    let Some(input) = tensors.remove("input") else {
        let there = tensors.into_keys().collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "none at all".to_owned() } else { there };
        return Err(failed(format!("{path} has no tensor `input`; it has {there}")))
            .advise("in Python: safetensors.torch.save_file({\"input\": x}, path)");
    };
    if !input.dtype().is_float() {
        return Err(failed(format!("{path}: `input` must hold floats, it holds {:?}", input.dtype())))
            .advise("convert and normalise it as the model's training data were");
    }
    Ok(input.to_dtype(DType::F32)?)
}
