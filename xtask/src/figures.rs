//! Figures in words, the most telling first.

use nn_train::Figures;

/// Name and value of each figure there is; the loss comes last.
pub(crate) fn rows(figures: &Figures) -> Vec<(&'static str, String)> {
    let mut rows = extra(figures);
    rows.extend(figures.accuracy.map(|share| ("accuracy", percent(share))));
    rows.push(("loss", format!("{:.4}", figures.loss)));
    rows
}

/// Those that only some tasks have: no accuracy and no loss.
pub(crate) fn extra(figures: &Figures) -> Vec<(&'static str, String)> {
    figures.mean_iou.map(|share| ("mean IoU", percent(share))).into_iter().collect()
}

/// `98.70 %`
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
