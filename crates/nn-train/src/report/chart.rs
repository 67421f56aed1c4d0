//! Line charts as inline SVG; colours come from the page's style sheet.

use std::borrow::Cow;
use std::fmt::Write;

use super::text::headline;

/// A line with a legend entry; `class` chooses its colour in the style sheet.
pub(super) struct Series {
    pub(super) name: Cow<'static, str>,
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) marks: Marks,
}

/// Whether single points are to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// A dot at every point, one an epoch, unless they come too close.
    Dots,
    /// The line only.
    Line,
}

/// How values become heights and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Linear, from 0.
    FromZero,
    /// Shares, written as percentages.
    Percent,
    /// Linear, no further than the values.
    Close,
    /// Logarithmic if all values are positive and spread over more than [`LOG_SPREAD`].
    MaybeLog,
}

/// What stands along the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticks {
    /// The numbers themselves.
    Numbers,
    /// The powers of ten whose exponents they are.
    Powers,
}

/// A chart over epochs, steps or rates.
pub(super) struct Chart {
    /// As it is called within a sentence.
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    /// What the horizontal axis counts, and its ends.
    pub(super) across: &'static str,
    pub(super) begin: f64,
    pub(super) end: f64,
    pub(super) ticks: Ticks,
    /// [`NARROW`] or [`WIDE`].
    pub(super) width: f64,
    pub(super) series: Vec<Series>,
}

/// Of a chart beside others, and of one that has the page to itself.
pub(super) const NARROW: f64 = 430.0;
pub(super) const WIDE: f64 = 1180.0;
const HEIGHT: f64 = 270.0;
/// The plot inside: left, top, and bottom; and how far its right end is from the chart's.
const LEFT: f64 = 54.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 38.0;
const RIGHT: f64 = 12.0;
const LOG_SPREAD: f64 = 25.0;
/// Around a picture by itself, and the height of what stands above it all.
const BORDER: f64 = 16.0;
const HEADLINE: f64 = 28.0;
/// The height of what stands above one of several charts.
const CAPTION: f64 = 22.0;
/// Dots closer to each other than this would hide the line.
const DOT_SPACE: f64 = 12.0;
/// More points than this are thinned out: the plot has about as many pixels.
const MAX_POINTS: usize = 500;

impl Chart {
    /// A `<figure>`; empty if there is nothing to draw.
    pub(super) fn html(&self) -> String {
        let Some((axis, series)) = self.drawn() else { return String::new() };
        let mut html = format!(
            "<figure class=\"chart\"><figcaption>{}{}<span class=\"legend\">",
            headline(self.title),
            axis.note()
        );
        for s in &series {
            let _ = write!(html, "<span><i class=\"{}\"></i>{}</span>", s.class, s.name);
        }
        let _ = write!(
            html,
            "</span></figcaption><svg viewBox=\"0 0 {} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.width,
            headline(self.title)
        );
        self.plot(&mut html, &axis, &series);
        html.push_str("</svg></figure>\n");
        html
    }

    /// What there is to draw, if anything, and the axis it needs.
    fn drawn(&self) -> Option<(Axis, Vec<&Series>)> {
        let drawn = |s: &&Series| s.points.iter().any(|(_, y)| y.is_finite());
        let series: Vec<&Series> = self.series.iter().filter(drawn).collect();
        let values = || series.iter().flat_map(|s| &s.points).map(|&(_, y)| y).filter(|y| y.is_finite());
        let (lo, hi) =
            values().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), y| (lo.min(y), hi.max(y)));
        (lo <= hi).then(|| (Axis::new(self.scale, lo, hi), series))
    }

    fn plot(&self, svg: &mut String, axis: &Axis, series: &[&Series]) {
        self.frame(svg, axis);
        series.iter().for_each(|s| self.line(svg, axis, s));
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (self.width - RIGHT - LEFT) * (at - self.begin) / (self.end - self.begin)
    }

    /// Whether a dot at each of the points leaves the line visible.
    fn has_room(&self, points: &[(f64, f64)]) -> bool {
        match points {
            [first, .., last] => self.x(last.0) - self.x(first.0) >= DOT_SPACE * (points.len() - 1) as f64,
            _ => true,
        }
    }

    fn frame(&self, svg: &mut String, axis: &Axis) {
        let [left, right, bottom] = [LEFT, self.width - RIGHT, BOTTOM];
        for &tick in &axis.ticks {
            let (y, label) = (axis.y(tick), axis.label(tick));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 8.0,
                y + 4.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        );
        let step = round_step((self.end - self.begin) / (self.width / 60.0)).max(1.0);
        let first = (self.begin / step - 1e-9).ceil() * step;
        let ticks = (0..).map(|i| first + f64::from(i) * step).take_while(|&t| t <= self.end + 1e-9);
        for tick in ticks {
            let label = match self.ticks {
                Ticks::Numbers => tick.to_string(),
                Ticks::Powers => format!("1e{tick}"),
            };
            let x = self.x(tick);
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>",
                bottom + 4.0
            );
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 17.0
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (left + right) / 2.0,
            HEIGHT - 5.0,
            self.across
        );
    }

    fn line(&self, svg: &mut String, axis: &Axis, series: &Series) {
        let every = series.points.len().div_ceil(MAX_POINTS).max(1);
        let last = series.points.len() - 1;
        let mut d = String::new();
        for (i, &(x, y)) in series.points.iter().enumerate() {
            if (i % every == 0 || i == last) && y.is_finite() {
                let _ =
                    write!(d, "{}{:.1} {:.1}", if d.is_empty() { "M" } else { "L" }, self.x(x), axis.y(y));
            }
        }
        let class = series.class;
        let _ = write!(svg, "<path class=\"{class}\" d=\"{d}\"/>");
        // A single point is no line.
        let single = series.points.len() == 1;
        if single || (series.marks == Marks::Dots && self.has_room(&series.points)) {
            for &(x, y) in series.points.iter().filter(|(_, y)| y.is_finite()) {
                let (name, label) = (&series.name, axis.exact(y));
                let (cx, cy) = (self.x(x), axis.y(y));
                let x = (x * 100.0).round() / 100.0;
                let _ = write!(
                    svg,
                    "<circle class=\"dot {class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"><title>{name}, {} {x}: {label}</title></circle>",
                    self.across
                );
            }
        }
    }
}

/// A picture by itself: charts of one width, one below the other, under a headline, which must be escaped.
pub(super) fn picture(headline: &str, charts: &[Chart]) -> String {
    // The headline says what a single one is.
    let caption = if charts.len() > 1 { CAPTION } else { 0.0 };
    let width = charts.first().map_or(WIDE, |chart| chart.width) + 2.0 * BORDER;
    let height = (HEIGHT + caption) * charts.len().max(1) as f64 + HEADLINE + 2.0 * BORDER;
    let style = include_str!("style.css");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{headline}\">\n\
         <style>\n{style}</style>\n<rect class=\"card\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"headline\" x=\"{BORDER}\" y=\"{:.1}\">{headline}</text>\n",
        BORDER + 14.0
    );
    let mut top = BORDER + HEADLINE;
    for chart in charts {
        if caption > 0.0 {
            let _ = write!(svg, "<text x=\"{BORDER}\" y=\"{:.1}\">{}</text>", top + 10.0, chart.title);
        }
        let _ = write!(svg, "<g transform=\"translate({BORDER} {:.1})\">", top + caption);
        if let Some((axis, series)) = chart.drawn() {
            chart.plot(&mut svg, &axis, &series);
        }
        svg.push_str("</g>\n");
        top += HEIGHT + caption;
    }
    svg + "</svg>\n"
}

/// A vertical axis: from the value at the bottom to that at the top, with ticks at round numbers.
#[derive(Debug)]
struct Axis {
    scale: Scale,
    lo: f64,
    hi: f64,
    ticks: Vec<f64>,
    log: bool,
    decimals: usize,
}

impl Axis {
    fn new(scale: Scale, lo: f64, hi: f64) -> Self {
        if scale == Scale::MaybeLog && lo > 0.0 && hi / lo > LOG_SPREAD {
            return Self::logarithmic(scale, lo, hi);
        }
        let lo = if scale == Scale::FromZero || scale == Scale::MaybeLog && lo > 0.0 && lo < hi / 3.0 {
            0.0
        } else {
            lo
        };
        // Equal values still need a height, and get it around them.
        let level = hi - lo <= 1e-12 * hi.abs();
        let margin = if level { hi.abs().max(1e-3) * 0.1 } else { 0.0 };
        let (lo, hi) = (lo - margin, hi + margin);
        let step = round_step((hi - lo) / 5.0);
        let (mut first, mut last) = ((lo / step + 1e-9).floor(), (hi / step - 1e-9).ceil());
        if scale == Scale::Percent {
            let most = if hi - margin <= 1.0 { (1.0 / step).round() } else { last };
            (first, last) = (first.max(0.0), last.min(most));
        }
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        let unit = if scale == Scale::Percent { step * 100.0 } else { step };
        let decimals = (-(unit.log10() + 1e-9).floor()).max(0.0) as usize;
        Self { scale, lo: first * step, hi: last * step, ticks, log: false, decimals }
    }

    fn logarithmic(scale: Scale, lo: f64, hi: f64) -> Self {
        let decades = lo.log10().floor() as i32..=hi.log10().ceil() as i32;
        let all = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d)));
        let all: Vec<f64> = all.collect();
        let below = all.iter().rposition(|&t| t <= lo).unwrap_or(0);
        let above = all.iter().position(|&t| t >= hi).unwrap_or(all.len() - 1);
        let (lo, hi) = (all[below], all[above]);
        // Over many decades, the powers of ten alone are enough.
        let sparse = above - below > 9;
        let is_power = |t: f64| (t.log10() - t.log10().round()).abs() < 1e-9;
        let ticks = all[below..=above].iter().copied().filter(|&t| !sparse || is_power(t)).collect();
        Self { scale, lo, hi, ticks, log: true, decimals: 0 }
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (value - self.lo) / (self.hi - self.lo)
        };
        BOTTOM - (BOTTOM - TOP) * share
    }

    fn label(&self, tick: f64) -> String {
        let decimals = self.decimals;
        match self.scale {
            Scale::Percent => format!("{:.decimals$} %", tick * 100.0),
            _ if tick == 0.0 && decimals > 4 => "0".to_owned(),
            _ if tick != 0.0 && !(1e-4..1e5).contains(&tick.abs()) => format!("{tick:.0e}"),
            _ if self.log => format!("{tick}"),
            _ => format!("{tick:.decimals$}"),
        }
    }

    fn exact(&self, value: f64) -> String {
        if self.scale == Scale::Percent { format!("{:.2} %", value * 100.0) } else { format!("{value:.4}") }
    }

    fn note(&self) -> &'static str {
        if self.log { " (log)" } else { "" }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= step * (1.0 - 1e-9));
    round.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, lo: f64, hi: f64) -> Vec<String> {
        let axis = Axis::new(scale, lo, hi);
        assert!(axis.lo <= lo + 1e-12 && axis.hi >= hi - 1e-12, "{axis:?} does not hold {lo}..{hi}");
        axis.ticks.iter().map(|&t| axis.label(t)).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        assert_eq!(labels(Scale::Percent, 0.912, 0.991), ["90 %", "92 %", "94 %", "96 %", "98 %", "100 %"]);
        assert_eq!(
            labels(Scale::Percent, 0.9871, 0.9912),
            ["98.7 %", "98.8 %", "98.9 %", "99.0 %", "99.1 %", "99.2 %"]
        );
        assert_eq!(labels(Scale::Percent, 1.0, 1.0), ["90 %", "95 %", "100 %"]);
        assert_eq!(labels(Scale::MaybeLog, 0.05, 0.43), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(labels(Scale::MaybeLog, 0.03, 2.3), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(
            labels(Scale::MaybeLog, 1e-6, 2.3),
            ["1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1", "1"]
        );
        assert_eq!(
            labels(Scale::FromZero, 0.001, 0.001),
            ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]
        );
        assert_eq!(labels(Scale::MaybeLog, 40.0, 41.0), ["40.0", "40.2", "40.4", "40.6", "40.8", "41.0"]);
    }

    #[test]
    fn charts_of_odd_data_are_still_charts() {
        let chart = |points: Vec<(f64, f64)>, epochs| Chart {
            title: "t",
            scale: Scale::MaybeLog,
            across: "epoch",
            begin: 0.0,
            end: epochs,
            ticks: Ticks::Numbers,
            width: NARROW,
            series: vec![Series { name: "n".into(), class: "train", points, marks: Marks::Dots }],
        };
        assert_eq!(chart(vec![], 1.0).html(), "");
        assert_eq!(chart(vec![(1.0, f64::NAN)], 1.0).html(), "");
        for points in [
            vec![(1.0, 0.0)],
            vec![(1.0, -2.0), (2.0, 3.0)],
            vec![(1.0, 1e-30), (2.0, 1e30)],
            vec![(1.0, 5.0); 9000],
        ] {
            let html = chart(points, 2.0).html();
            assert!(html.starts_with("<figure") && html.ends_with("</figure>\n"));
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            assert!(html.len() < 20_000);
        }
    }
}
