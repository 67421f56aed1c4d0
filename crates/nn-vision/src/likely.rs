//! Which model of the zoo a file of weights is for, told from names and shapes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use nn_core::weights::{LoadReport, Mismatch};

use crate::zoo::{Entry, entries};

/// A model, and how well it suits the weights.
#[derive(Clone, Debug)]
pub struct Likely {
    /// The model.
    pub entry: &'static Entry,
    /// For how many classes it has to be built.
    pub num_classes: usize,
    /// What becomes of each name.
    pub report: LoadReport,
}

impl Likely {
    /// The part of all names, the model's and the file's, that both have with the same shape: 1 if none is left over.
    /// Counters of batches do not count, for old files have none.
    pub fn score(&self) -> f64 {
        let LoadReport { matched, missing, unexpected, mismatched } = &self.report;
        let names = matched.iter().chain(missing).chain(unexpected).chain(mismatched.iter().map(|m| &m.name));
        let count = names.filter(|name| !is_counter(name)).count();
        matched.iter().filter(|name| !is_counter(name)).count() as f64 / count.max(1) as f64
    }
}

fn is_counter(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// The models that suit weights of these names and shapes best: those that suit equally well, in the zoo's order.
/// None, where less than a quarter of the names is any model's.
///
/// # Errors
/// If a model cannot be built.
pub fn likely(shapes: &BTreeMap<&str, &[usize]>) -> Result<Vec<Likely>> {
    best(entries().map(|entry| compare(entry, &outline(entry, entry.num_classes)?, shapes)))
}

/// Those with the highest score, if that is worth something.
fn best(models: impl Iterator<Item = Result<Likely>>) -> Result<Vec<Likely>> {
    let mut best = Vec::new();
    let mut best_score = 0.25;
    for likely in models {
        let likely = likely?;
        let score = likely.score();
        if score > best_score {
            best.clear();
            best_score = score;
        }
        if score == best_score {
            best.push(likely);
        }
    }
    Ok(best)
}

/// A model, whose outline this is for its own number of classes, against weights: built for as many as these are for.
fn compare(
    entry: &'static Entry,
    outline_of_its_own: &BTreeMap<String, Vec<usize>>,
    shapes: &BTreeMap<&str, &[usize]>,
) -> Result<Likely> {
    let usual = report(outline_of_its_own, shapes);
    let classes = usual.mismatched.first().and_then(|m| other_classes(m, entry.num_classes));
    match classes.filter(|_| usual.mismatched.len() < usual.matched.len()) {
        Some(num_classes)
            if usual.mismatched.iter().all(|m| other_classes(m, entry.num_classes) == Some(num_classes)) =>
        {
            Ok(Likely { entry, num_classes, report: report(&outline(entry, num_classes)?, shapes) })
        }
        _ => Ok(Likely { entry, num_classes: entry.num_classes, report: usual }),
    }
}

/// For how many classes a head in the file is, that differs from the model's in nothing else.
fn other_classes(m: &Mismatch, num_classes: usize) -> Option<usize> {
    let mut differing = m.model.iter().zip(&m.file).filter(|(model, file)| model != file);
    let (&model, &file) = differing.next()?;
    let alike = m.model.len() == m.file.len() && differing.all(|pair| pair == (&model, &file));
    (alike && model == num_classes).then_some(file)
}

fn report(model: &BTreeMap<String, Vec<usize>>, file: &BTreeMap<&str, &[usize]>) -> LoadReport {
    let mut report = LoadReport::default();
    for (name, shape) in model {
        match file.get(name.as_str()) {
            None => report.missing.push(name.clone()),
            Some(other) if other == shape => report.matched.push(name.clone()),
            Some(other) => report.mismatched.push(Mismatch {
                name: name.clone(),
                model: shape.clone(),
                file: other.to_vec(),
            }),
        }
    }
    let unexpected = file.keys().filter(|name| !model.contains_key(**name));
    report.unexpected = unexpected.map(|name| (*name).to_owned()).collect();
    report
}

/// Names and shapes of a model's parameters and buffers.
fn outline(entry: &Entry, num_classes: usize) -> Result<BTreeMap<String, Vec<usize>>> {
    let shapes = Shapes::default();
    (entry.build)(VarBuilder::from_backend(Box::new(shapes.clone()), DType::F32, Device::Cpu), num_classes)?;
    Ok(std::mem::take(&mut shapes.0.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Notes what a model asks for and gives it tensors that take no memory: one number, seen everywhere.
#[derive(Clone, Default)]
struct Shapes(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl SimpleBackend for Shapes {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("the shape of {name} was not given")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    fn names(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<(&'static str, usize)>> {
        let shapes = shapes.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
        Ok(likely(&shapes)?.iter().map(|likely| (likely.entry.name, likely.num_classes)).collect())
    }

    /// Models that no names and shapes tell apart: they differ in what has no parameters.
    const ALIKE: &[&[&str]] = &[&["lenet5", "lenet5_relu"]];

    #[test]
    fn every_model_knows_its_weights_from_names_and_shapes_alone() -> Result<()> {
        let outlines = entries().map(|entry| Ok((entry, outline(entry, entry.num_classes)?)));
        let outlines = outlines.collect::<Result<Vec<_>>>()?;
        for (entry, own) in &outlines {
            let shapes = own.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
            let found = best(outlines.iter().map(|(entry, outline)| compare(entry, outline, &shapes)))?;
            let found: Vec<&str> = found.iter().map(|likely| likely.entry.name).collect();
            let alike = ALIKE.iter().find(|names| names.contains(&entry.name));
            assert_eq!(found, alike.copied().unwrap_or(&[entry.name]));
        }
        Ok(())
    }

    #[test]
    fn a_few_models_know_their_weights_whatever_the_head() -> Result<()> {
        for (name, classes) in [
            ("lenet5", 7),
            ("cifar_resnet20", 10),
            ("resnet18", 1000),
            ("resnet34", 2),
            ("fcn_mobilenet_v2", 11),
            ("fcn_resnet50", 3),
        ] {
            let entry = find(name).expect("a model of the zoo");
            let found = names(&outline(entry, classes)?)?;
            assert!(found.contains(&(name, classes)), "{name} is taken for {found:?}");
        }
        Ok(())
    }

    #[test]
    fn old_files_without_counters_are_known_and_foreign_ones_not() -> Result<()> {
        let entry = find("resnet18").expect("a model of the zoo");
        let mut old = outline(entry, 1000)?;
        old.retain(|name, _| !is_counter(name));
        let likely = names(&old)?;
        assert_eq!(likely, [("resnet18", 1000)]);
        assert!(names(&BTreeMap::from([("embedding.weight".to_owned(), vec![465, 100])]))?.is_empty());
        Ok(())
    }
}
