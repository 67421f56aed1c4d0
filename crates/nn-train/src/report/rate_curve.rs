//! The learning rate, and momentum where it moves, over a run that is still to come, as a picture.

use std::path::Path;

use super::chart::{Chart, Marks, Scale, Series, Ticks, WIDE, picture};
use super::text::escape;
use crate::error::TrainError;

/// Writes the rates at moments of a run, in epochs and in order, as an SVG picture that needs nothing else; `title` stands
/// above it, and below it the momenta, if there are any.
///
/// # Errors
/// If the file cannot be written.
pub fn write_rate_curve(
    file: &Path,
    title: &str,
    rates: &[(f64, f64)],
    momenta: &[(f64, f64)],
) -> Result<(), TrainError> {
    let svg = svg(title, rates, momenta);
    nn_core::atomic_file::write(file, |w| w.write_all(svg.as_bytes())).map_err(TrainError::io(file))
}

fn svg(title: &str, rates: &[(f64, f64)], momenta: &[(f64, f64)]) -> String {
    let mut charts = vec![chart("learning rate", Scale::FromZero, rates)];
    if !momenta.is_empty() {
        charts.push(chart("momentum", Scale::Close, momenta));
    }
    picture(&escape(title), &charts)
}

fn chart(title: &'static str, scale: Scale, points: &[(f64, f64)]) -> Chart {
    // The end of the epoch that the last point is in.
    let end = points.last().map_or(1.0, |(epoch, _)| epoch.ceil().max(1.0));
    let series = Series { name: "".into(), class: "rate", points: points.to_vec(), marks: Marks::Line };
    Chart {
        title,
        scale,
        across: "epoch",
        begin: 0.0,
        end,
        ticks: Ticks::Numbers,
        width: WIDE,
        series: vec![series],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_needs_nothing_else() {
        let points: Vec<(f64, f64)> =
            (0..=40).map(|i| (f64::from(i) / 10.0, 0.1 / f64::from(i + 1))).collect();
        let svg = svg("a <b>", &points, &[]);
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
        for part in ["a &lt;b&gt;", "<style>", ">0.10</text>", ">4</text>", "epoch", "class=\"rate\""] {
            assert!(svg.contains(part), "{part} is missing");
        }
        assert!(!svg.contains("NaN") && !svg.contains("momentum"));
        let both = super::svg("both", &points, &[(0.0, 0.95), (4.0, 0.85)]);
        for part in [">learning rate</text>", ">momentum</text>", ">0.96</text>", ">0.10</text>"] {
            assert!(both.contains(part), "{part} is missing");
        }
        assert!(super::svg("none", &[], &[]).ends_with("</svg>\n"));
    }
}
