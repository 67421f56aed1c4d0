//! Panels: what a task has to show in words, under a heading of its own.

use std::fmt::Write;

use super::chart::{Chart, Marks, Scale, Series, Ticks, WIDE};
use super::text::escape;

/// A part of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// What is below it.
    pub content: Content,
}

/// What a [`Panel`] shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text as it is, with its line breaks.
    Text(String),
    /// Rows under a head; a row's missing cells are empty.
    Table {
        /// Names of the columns.
        head: Vec<String>,
        /// A cell a column.
        rows: Vec<Vec<String>>,
    },
    /// Two lines over steps, the second in the colour of evaluations.
    Lines {
        /// What the steps are called.
        across: &'static str,
        /// Names and values, from step 0 on.
        lines: [(String, Vec<f64>); 2],
    },
    /// Shares in [0, 1] of rows and columns, darker where they are larger.
    Map {
        /// Names of the columns.
        columns: Vec<String>,
        /// A name, and a share a column.
        rows: Vec<(String, Vec<f32>)>,
    },
}

impl Panel {
    /// Escapes all words.
    pub(super) fn html(&self) -> String {
        let content = match &self.content {
            Content::Text(text) => format!("<pre class=\"words\">{}</pre>", escape(text)),
            Content::Table { head, rows } => table(head, rows),
            Content::Lines { across, lines } => chart(across, lines).html(),
            Content::Map { columns, rows } => map(columns, rows),
        };
        format!("<h2>{}</h2>\n<div class=\"panel\">{content}</div>\n", escape(&self.title))
    }
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<table class=\"rows words\"><thead><tr>");
    head.iter().for_each(|name| write!(html, "<th>{}</th>", escape(name)).unwrap_or(()));
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        row.iter().for_each(|cell| write!(html, "<td>{}</td>", escape(cell)).unwrap_or(()));
        html.push_str("</tr>\n");
    }
    html + "</tbody></table>"
}

fn chart(across: &'static str, lines: &[(String, Vec<f64>); 2]) -> Chart {
    let points = |values: &[f64]| (0..).map(f64::from).zip(values.iter().copied()).collect::<Vec<_>>();
    let series = lines.iter().zip(["train", "eval"]).map(|((name, values), class)| Series {
        name: escape(name).into(),
        class,
        points: points(values),
        marks: Marks::Line,
    });
    let longest = lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let end = longest.saturating_sub(1).max(1) as f64;
    let (begin, ticks) = (0.0, Ticks::Numbers);
    Chart { title: "", scale: Scale::Close, across, begin, end, ticks, width: WIDE, series: series.collect() }
}

fn map(columns: &[String], rows: &[(String, Vec<f32>)]) -> String {
    let mut html = String::from("<table class=\"matrix\"><thead><tr><th></th>");
    columns.iter().for_each(|name| write!(html, "<th>{}</th>", escape(name)).unwrap_or(()));
    html.push_str("</tr></thead><tbody>\n");
    for (name, shares) in rows {
        let _ = write!(html, "<tr><th>{}</th>", escape(name));
        for share in shares {
            let _ = write!(
                html,
                "<td class=\"right\" style=\"--v:{share:.3}\" title=\"{:.0} %\"></td>",
                100.0 * share
            );
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody></table>"
}
