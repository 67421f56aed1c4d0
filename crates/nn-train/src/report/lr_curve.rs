//! The curve of a learning-rate range test as a page.

use std::fmt::Write;
use std::path::Path;

use super::chart::{Chart, Marks, Scale, Series, Ticks, WIDE};
use super::{END, page};
use crate::error::TrainError;
use crate::lr_find::{LrCurve, LrPoint};

/// Writes the curve as an HTML page that needs nothing else; `title` says of what.
///
/// # Errors
/// If the file cannot be written.
pub fn write_lr_curve(file: &Path, title: &str, curve: &LrCurve) -> Result<(), TrainError> {
    let html = html(title, curve);
    nn_core::atomic_file::write(file, |w| w.write_all(html.as_bytes())).map_err(TrainError::io(file))
}

fn html(title: &str, curve: &LrCurve) -> String {
    let mut html = page(&format!("Learning rates of {title}"));
    let found = curve.suggestion();
    let told = match &found {
        Some(found) => format!(
            "The loss falls fastest at {:.2e}, a rate to train with, and is lowest at {:.2e}: that is too large already.",
            found.steepest, found.lowest
        ),
        None => "The loss did not fall at any rate.".to_owned(),
    };
    let _ = writeln!(html, "<p class=\"sub\">{told}</p>");
    let ends = curve.points.first().zip(curve.points.last());
    if let Some((first, last)) = ends {
        let marked = found.map(|found| found.steepest);
        let (begin, end) = (first.lr.log10(), last.lr.log10().max(first.lr.log10() + 1e-9));
        let chart = Chart {
            title: "loss",
            scale: Scale::MaybeLog,
            across: "learning rate",
            begin,
            end,
            ticks: Ticks::Powers,
            width: WIDE,
            series: series(&curve.points, marked),
        };
        html.push_str(&chart.html());
    }
    html + END
}

/// The losses, their running mean, and a line where the suggestion is.
fn series(points: &[LrPoint], marked: Option<f64>) -> Vec<Series> {
    let top = top(points);
    let line = |name: &'static str, class, of: fn(&LrPoint) -> f64| Series {
        name: name.into(),
        class,
        points: cut(points.iter().map(|p| (p.lr.log10(), of(p))).collect(), top),
        marks: Marks::Line,
    };
    let mut series =
        vec![line("batches", "batches", |p| p.loss), line("running mean", "train", |p| p.smooth)];
    if let Some(lr) = marked {
        let low = points.iter().map(|p| p.smooth).fold(f64::INFINITY, f64::min);
        let points = vec![(lr.log10(), low), (lr.log10(), top)];
        series.push(Series { name: "suggestion".into(), class: "eval", points, marks: Marks::Line });
    }
    series
}

/// A little above all that comes before the loss is lowest: how far it runs away in the end is not worth the height.
fn top(points: &[LrPoint]) -> f64 {
    let lowest =
        (0..points.len()).min_by(|&a, &b| points[a].smooth.total_cmp(&points[b].smooth)).unwrap_or(0);
    1.1 * points.iter().take(lowest + 1).map(|p| p.smooth).fold(0.0, f64::max)
}

/// Without what is above `top`; a curve that leaves there for good ends.
fn cut(mut points: Vec<(f64, f64)>, top: f64) -> Vec<(f64, f64)> {
    let below = points.iter().rposition(|&(_, loss)| loss < top);
    points.truncate(below.map_or(0, |last| last + 2));
    points.iter_mut().for_each(|(_, loss)| *loss = loss.min(top));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_to_do_and_draws_why() {
        let losses = [2.3, 2.3, 2.2, 1.6, 0.9, 0.7, 9.0];
        let point =
            |(i, &smooth): (usize, &f64)| LrPoint { lr: 10f64.powi(i as i32 - 4), loss: smooth, smooth };
        let curve = LrCurve { points: losses.iter().enumerate().map(point).collect() };
        let html = html("<a> on b", &curve);
        for part in [
            "Learning rates of &lt;a&gt; on b",
            "falls fastest at 1.00e-1",
            "lowest at 1.00e1",
            ">1e-3<",
            "suggestion",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        // The loss of 9 at the end is beyond the edge, and the curve goes there.
        assert!(html.contains(">3</text>") && !html.contains(">10</text>"), "{html}");
        assert_eq!(
            cut(vec![(0.0, 9.0), (1.0, 1.0), (2.0, 3.0), (3.0, 4.0)], 2.0),
            [(0.0, 2.0), (1.0, 1.0), (2.0, 2.0)]
        );
        assert!(super::html("a", &LrCurve::default()).contains("did not fall at any rate"));
    }
}
