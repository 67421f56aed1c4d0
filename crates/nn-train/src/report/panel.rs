//! Panels: what a task has to show in words, under a heading of its own.

use std::fmt::Write;

use super::text::escape;

/// A part of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// What is below it.
    pub content: Content,
}

/// What a [`Panel`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Panel {
    /// Escapes all words.
    pub(super) fn html(&self) -> String {
        let content = match &self.content {
            Content::Text(text) => format!("<pre class=\"words\">{}</pre>", escape(text)),
            Content::Table { head, rows } => table(head, rows),
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
