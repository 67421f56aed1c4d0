//! The most probable classes of an input.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::Format;
use crate::output::{self, Align, Table};

#[derive(Debug, Serialize)]
pub(crate) struct Prediction<'a> {
    class: usize,
    label: &'a str,
    probability: f32,
}

/// The `k` most probable classes; of equals the first.
pub(crate) fn best<'a>(probabilities: &[f32], labels: &[&'a str], k: usize) -> Vec<Prediction<'a>> {
    let all = probabilities.iter().zip(labels).enumerate();
    let mut all: Vec<_> =
        all.map(|(class, (&probability, label))| Prediction { class, label, probability }).collect();
    all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    all.truncate(k);
    all
}

/// What each input was taken for, as JSON or as a table; `what` is what an input is: a file, a text.
pub(crate) fn print(
    what: &'static str,
    answers: &[(String, Vec<Prediction<'_>>)],
    format: Format,
) -> Result<()> {
    if format == Format::Json {
        let object = |(input, predictions)| json!({ what: input, "predictions": predictions });
        let objects = answers.iter().map(|(input, predictions)| object((input, predictions)));
        return output::json(&objects.collect::<Vec<_>>());
    }
    if answers.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[(what, Align::Left), ("class", Align::Left), ("probability", Align::Right)]);
    for (input, predictions) in answers {
        for (i, prediction) in predictions.iter().enumerate() {
            let input = if i == 0 { input.clone() } else { String::new() };
            let percent = format!("{:.2} %", 100.0 * prediction.probability);
            table.row([input, prediction.label.to_owned(), percent]);
        }
    }
    output::line(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_in_order() {
        let classes = ["a", "b", "c"];
        let names = |p: &[f32], k| best(p, &classes, k).iter().map(|p| p.label).collect::<String>();
        assert_eq!(names(&[0.2, 0.5, 0.3], 2), "bc");
        assert_eq!(names(&[0.3, 0.3, 0.4], 9), "cab");
    }
}
