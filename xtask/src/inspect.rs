//! `inspect`: what a file of weights is, what it is for, and what is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Tensor};
use nn_core::weights::WeightFile;
use serde::Serialize;

use crate::likely::{Likely, likely};
use crate::output::{self, Align, Table, dims, thousands};
use crate::provenance;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Weights of any format, or a run's folder
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    format: String,
    /// Keys that lead to the tensors.
    nesting: &'a [String],
    prefix: &'a str,
    /// The library whose names these are, if not ours; the tensors are shown under ours.
    scheme: Option<&'static str>,
    /// Parts beside the tensors.
    ignored: &'a [String],
    metadata: &'a BTreeMap<String, String>,
    /// The network that these weights are of, where a recipe gives its shape.
    network: Option<Likely>,
    /// The models of the zoo that these weights are for.
    models: Vec<Model>,
    numbers: u64,
    bytes: u64,
    tensors: Vec<Row>,
}

/// A model of the zoo that the names and shapes are like.
#[derive(Serialize)]
struct Model {
    name: &'static str,
    num_classes: usize,
    /// Whether the file can be loaded as it is.
    fits: bool,
    matched: usize,
    missing: usize,
    unexpected: usize,
    mismatched: usize,
}

#[derive(Serialize)]
struct Row {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
    /// Of what is finite; nothing where nothing is.
    mean: Option<f64>,
    deviation: Option<f64>,
    /// How many numbers are infinite or none.
    not_finite: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let path = provenance::file(&args.file);
    let mut file = WeightFile::open(&path)?;
    nn_vision::native(&mut file);
    let about = file.about();
    let mut tensors = Vec::new();
    let (mut numbers, mut bytes) = (0, 0);
    for (name, info) in file.tensors() {
        let count: usize = info.shape.iter().product();
        numbers += count as u64;
        bytes += (count * info.element.size()) as u64;
        let Spread { mean, deviation, not_finite } = spread(&file.tensor(name)?)?;
        let (shape, dtype) = (info.shape.to_vec(), info.element.name());
        tensors.push(Row { name: name.to_owned(), shape, dtype, mean, deviation, not_finite });
    }
    let network = likely(&file);
    let report = Report {
        file: &path,
        format: about.format.to_string(),
        nesting: &about.nesting,
        prefix: &about.prefix,
        scheme: about.scheme,
        ignored: &about.ignored,
        metadata: &about.metadata,
        models: if network.is_none() { models(&file)? } else { Vec::new() },
        network,
        numbers,
        bytes,
        tensors,
    };
    if args.json { output::json(&report) } else { output::line(show(&report)) }
}

fn models(file: &WeightFile) -> Result<Vec<Model>> {
    let shapes = file.tensors().map(|(name, info)| (name, info.shape)).collect();
    let model = |likely: nn_vision::Likely| Model {
        name: likely.entry.name,
        num_classes: likely.num_classes,
        fits: likely.report.fits(),
        matched: likely.report.matched.len(),
        missing: likely.report.missing.len(),
        unexpected: likely.report.unexpected.len(),
        mismatched: likely.report.mismatched.len(),
    };
    Ok(nn_vision::likely(&shapes)?.into_iter().map(model).collect())
}

#[derive(Debug, PartialEq)]
struct Spread {
    mean: Option<f64>,
    deviation: Option<f64>,
    not_finite: usize,
}

/// Mean and standard deviation of the numbers there are, not of a population they are drawn from.
fn spread(t: &Tensor) -> Result<Spread> {
    let all = t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let finite = || all.iter().copied().filter(|x| x.is_finite());
    let count = finite().count();
    let average = |sum: f64| (count > 0).then(|| sum / count as f64);
    let mean = average(finite().sum());
    let squares = mean.map_or(0.0, |mean| finite().map(|x| (x - mean).powi(2)).sum());
    Ok(Spread { mean, deviation: average(squares).map(f64::sqrt), not_finite: all.len() - count })
}

fn show(report: &Report<'_>) -> String {
    let mut facts = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.row([name.to_owned(), value]);
        }
    };
    fact("file", report.file.display().to_string());
    fact("format", report.format.clone());
    fact("inside", report.nesting.join(", "));
    fact("prefix", report.prefix.to_owned());
    fact("names", report.scheme.map(|scheme| format!("{scheme}'s, shown as ours")).unwrap_or_default());
    fact("beside", report.ignored.join(", "));
    fact(
        "network",
        report.network.as_ref().map(|Likely { kind, shape }| format!("{kind}: {shape}")).unwrap_or_default(),
    );
    fact("model", report.models.iter().map(describe).collect::<Vec<_>>().join(", or "));
    let size = output::mebibytes(report.bytes);
    fact("tensors", format!("{}, {} numbers, {size}", report.tensors.len(), thousands(report.numbers)));
    for (key, value) in report.metadata {
        fact(key, value.escape_debug().to_string());
    }
    let columns = [
        ("name", Align::Left),
        ("shape", Align::Left),
        ("type", Align::Left),
        ("mean", Align::Right),
        ("deviation", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(&columns);
    let number = |x: Option<f64>| x.map_or_else(String::new, |x| format!("{x:.4e}"));
    for row in &report.tensors {
        let odd = if row.not_finite == 0 { String::new() } else { format!("{} not finite", row.not_finite) };
        table.row([
            row.name.escape_debug().to_string(),
            dims(&row.shape),
            row.dtype.to_owned(),
            number(row.mean),
            number(row.deviation),
            odd,
        ]);
    }
    format!("{facts}\n\n{table}")
}

fn describe(model: &Model) -> String {
    let named = format!("{} for {} classes", model.name, model.num_classes);
    if model.fits {
        return named;
    }
    let Model { matched, missing, unexpected, mismatched, .. } = model;
    format!(
        "like {named}: {matched} names match, {missing} missing, {unexpected} unexpected, {mismatched} mismatched"
    )
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn mean_and_deviation_are_of_what_is_finite() -> Result<()> {
        let t = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu);
        let expected = |mean, deviation, not_finite| Spread { mean, deviation, not_finite };
        assert_eq!(spread(&t(&[1.0, 3.0])?)?, expected(Some(2.0), Some(1.0), 0));
        assert_eq!(spread(&t(&[f32::NAN, 3.0, f32::INFINITY])?)?, expected(Some(3.0), Some(0.0), 2));
        assert_eq!(spread(&Tensor::zeros((0, 2), DType::F32, &Device::Cpu)?)?, expected(None, None, 0));
        assert_eq!(spread(&Tensor::new(7i64, &Device::Cpu)?)?, expected(Some(7.0), Some(0.0), 0));
        Ok(())
    }
}
