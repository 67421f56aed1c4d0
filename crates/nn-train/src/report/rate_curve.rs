//! The learning rate over a run that is still to come, as a picture.

use std::path::Path;

use super::chart::{Chart, Marks, Scale, Series, Ticks, WIDE};
use super::text::escape;
use crate::error::TrainError;

/// Writes the rates at moments of a run, in epochs and in order, as an SVG picture that needs nothing else; `title` stands
/// above it.
///
/// # Errors
/// If the file cannot be written.
pub fn write_rate_curve(file: &Path, title: &str, points: &[(f64, f64)]) -> Result<(), TrainError> {
    let svg = svg(title, points);
    nn_core::atomic_file::write(file, |w| w.write_all(svg.as_bytes())).map_err(TrainError::io(file))
}

fn svg(title: &str, points: &[(f64, f64)]) -> String {
    // The end of the epoch that the last point is in.
    let end = points.last().map_or(1.0, |(epoch, _)| epoch.ceil().max(1.0));
    let rate = Series { name: "".into(), class: "rate", points: points.to_vec(), marks: Marks::Line };
    let chart = Chart {
        title: "learning rate",
        scale: Scale::FromZero,
        across: "epoch",
        begin: 0.0,
        end,
        ticks: Ticks::Numbers,
        width: WIDE,
        series: vec![rate],
    };
    chart.svg(&escape(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_needs_nothing_else() {
        let points: Vec<(f64, f64)> =
            (0..=40).map(|i| (f64::from(i) / 10.0, 0.1 / f64::from(i + 1))).collect();
        let svg = svg("a <b>", &points);
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
        for part in ["a &lt;b&gt;", "<style>", ">0.10</text>", ">4</text>", "epoch", "class=\"rate\""] {
            assert!(svg.contains(part), "{part} is missing");
        }
        assert!(!svg.contains("NaN"));
        assert!(super::svg("none", &[]).ends_with("</svg>\n"));
    }
}
