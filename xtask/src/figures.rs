//! Figures in words, the most telling first.

use nn_train::{Figures, Measure};

/// Name and value of each figure there is; the loss comes last.
pub(crate) fn rows(figures: &Figures) -> Vec<(&'static str, String)> {
    let measures = figures.measures().map(|(measure, value)| (measure.title(), measure.text(value)));
    measures.chain([("loss", format!("{:.4}", figures.loss))]).collect()
}

/// The one that decides, if that is neither accuracy nor loss.
pub(crate) fn leading(figures: &Figures) -> Option<(&'static str, String)> {
    let (measure, value) = figures.measures().next().filter(|(measure, _)| *measure != Measure::Accuracy)?;
    Some((measure.title(), measure.text(value)))
}

/// `98.70 %`
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
