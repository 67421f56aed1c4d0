//! `diff`: in what two files of weights differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use candle_core::{DType, Tensor};
use nn_core::weights::{Element, TensorInfo, WeightFile};
use serde::Serialize;

use crate::output::{self, Align, Table, dims};
use crate::provenance;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Weights of any format, or a run's folder
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Weights of any format, or a run's folder
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Names in both whose numbers are the same.
    equal: usize,
    differences: Vec<Difference>,
    /// Of all numbers.
    largest: f64,
}

#[derive(Serialize)]
struct Difference {
    name: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    OnlyInA,
    OnlyInB,
    Shape { a: Vec<usize>, b: Vec<usize> },
    Type { a: &'static str, b: &'static str, largest: f64 },
    Numbers { largest: f64, differ: usize, of: usize },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut files =
        [WeightFile::open(provenance::file(&args.a))?, WeightFile::open(provenance::file(&args.b))?];
    bring_together(&mut files);
    let [a, b] = [0, 1].map(|n: usize| files[n].tensors().collect::<BTreeMap<&str, TensorInfo<'_>>>());
    let mut report = Report { equal: 0, differences: Vec::new(), largest: 0.0 };
    let names: BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
    for name in names {
        let kind = match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) if a.shape != b.shape => {
                Some(Kind::Shape { a: a.shape.to_vec(), b: b.shape.to_vec() })
            }
            (Some(a), Some(b)) => {
                let compared = compare(&files[0].tensor(name)?, &files[1].tensor(name)?)?;
                report.largest = report.largest.max(compared.largest);
                compared.kind(a.element, b.element)
            }
            (Some(_), None) => Some(Kind::OnlyInA),
            (None, _) => Some(Kind::OnlyInB),
        };
        match kind {
            None => report.equal += 1,
            Some(kind) => report.differences.push(Difference { name: name.to_owned(), kind }),
        }
    }
    if args.json { output::json(&report) } else { output::line(show(&report)) }
}

/// Gives both our names, where they differ and some are another library's.
fn bring_together(files: &mut [WeightFile; 2]) {
    let [a, b] = files.each_ref().map(WeightFile::tensors);
    if a.map(|(name, _)| name).eq(b.map(|(name, _)| name)) {
        return;
    }
    for (file, which) in files.iter_mut().zip(["A", "B"]) {
        if let Some(library) = nn_vision::native(file) {
            output::note(format_args!("note: the names of {which} are {library}'s, and shown as ours"));
        }
    }
}

struct Compared {
    largest: f64,
    differ: usize,
    of: usize,
}

impl Compared {
    fn kind(self, a: Element, b: Element) -> Option<Kind> {
        let Self { largest, differ, of } = self;
        if a != b {
            return Some(Kind::Type { a: a.name(), b: b.name(), largest });
        }
        (differ > 0).then_some(Kind::Numbers { largest, differ, of })
    }
}

/// Numbers that both are not, or are infinite on the same side, are the same.
fn compare(a: &Tensor, b: &Tensor) -> Result<Compared> {
    let [a, b] = [a, b].map(|t| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>());
    let (a, b) = (a?, b?);
    let mut compared = Compared { largest: 0.0, differ: 0, of: a.len() };
    for (x, y) in a.iter().zip(&b) {
        if x != y && !(x.is_nan() && y.is_nan()) {
            compared.differ += 1;
            let off = (x - y).abs();
            compared.largest = compared.largest.max(if off.is_nan() { f64::INFINITY } else { off });
        }
    }
    Ok(compared)
}

fn show(report: &Report) -> String {
    let equal = format!("{} tensors are the same", report.equal);
    if report.differences.is_empty() {
        return equal;
    }
    let mut table = Table::new(&[("name", Align::Left), ("difference", Align::Left)]);
    for Difference { name, kind } in &report.differences {
        let text = match kind {
            Kind::OnlyInA => "only in A".to_owned(),
            Kind::OnlyInB => "only in B".to_owned(),
            Kind::Shape { a, b } => format!("shape {} and {}", dims(a), dims(b)),
            Kind::Type { a, b, largest } => format!("type {a} and {b}, at most {largest:.3e} apart"),
            Kind::Numbers { largest, differ, of } => {
                format!("{differ} of {of} numbers, at most {largest:.3e} apart")
            }
        };
        table.row([name.escape_debug().to_string(), text]);
    }
    format!("{table}\n\n{equal}, {} differ", report.differences.len())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_largest_difference_counts_infinities_and_what_is_no_number() -> Result<()> {
        let t = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu);
        let nan = f32::NAN;
        let compared = compare(&t(&[1.0, nan, f32::INFINITY, 2.0])?, &t(&[1.5, nan, f32::INFINITY, 2.0])?)?;
        assert_eq!((compared.largest, compared.differ, compared.of), (0.5, 1, 4));
        let compared = compare(&t(&[nan, 1.0])?, &t(&[0.0, 1.0])?)?;
        assert_eq!((compared.largest, compared.differ), (f64::INFINITY, 1));
        Ok(())
    }
}
