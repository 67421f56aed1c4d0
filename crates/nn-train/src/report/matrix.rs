//! The confusion matrix as a shaded table, and its worst pairs in words.

use std::fmt::Write;

use super::text::{count, escape, percent};
use crate::metrics::Confusion;

/// Above this many classes the cells are colours without numbers.
const NUMBERED: usize = 24;

/// Pairs that are told in words.
const PAIRS: usize = 5;

/// Of what was found `when`; empty if the matrix is not square.
pub(super) fn html(confusion: &Confusion, when: &str, name: impl Fn(usize) -> String) -> String {
    let counts = &confusion.counts;
    let classes = counts.len();
    if classes == 0 || counts.iter().any(|row| row.len() != classes) {
        return String::new();
    }
    let dense = classes > NUMBERED;
    let mut html = String::from("<h2>Confusion matrix</h2>\n<div class=\"panel\">");
    let _ = write!(
        html,
        "<table class=\"matrix{}\"><thead><tr><th>true \\ predicted</th>",
        if dense { " dense" } else { "" }
    );
    if !dense {
        (0..classes).for_each(|c| write!(html, "<th>{}</th>", escape(&name(c))).unwrap_or(()));
        html.push_str("<th>right</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
    let off_diagonal = |(target, row): (usize, &Vec<u64>)| {
        row.iter().enumerate().filter(move |&(c, _)| c != target).map(|(_, &n)| n).max()
    };
    let worst = counts.iter().enumerate().filter_map(off_diagonal).max().unwrap_or(0);
    for (target, row) in counts.iter().enumerate() {
        let total: u64 = row.iter().sum();
        let _ = write!(html, "<tr><th>{}</th>", escape(&name(target)));
        for (predicted, &n) in row.iter().enumerate() {
            html.push_str(&cell(
                target == predicted,
                n,
                if target == predicted { total } else { worst },
                dense,
            ));
        }
        if !dense {
            let share =
                if total == 0 { "–".to_owned() } else { percent(row[target] as f64 / total as f64) };
            let _ = write!(html, "<td class=\"share\">{share}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>");
    html.push_str(&worst_pairs(counts, when, name));
    html.push_str("</div>\n");
    html
}

/// Shaded by the share of `of`: of the row for right decisions, of the most frequent mistake for wrong ones.
fn cell(right: bool, n: u64, of: u64, dense: bool) -> String {
    let text = if dense { String::new() } else { count(n) };
    match (n, right) {
        (0, false) => format!("<td class=\"none\">{}</td>", if dense { "" } else { "·" }),
        _ => {
            let class = if right { "right" } else { "wrong" };
            // The root lifts rare mistakes into sight.
            let share = (n as f64 / of.max(1) as f64).sqrt();
            format!("<td class=\"{class}\" style=\"--v:{share:.2}\" title=\"{n}\">{text}</td>")
        }
    }
}

fn worst_pairs(counts: &[Vec<u64>], when: &str, name: impl Fn(usize) -> String) -> String {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (target, row) in counts.iter().enumerate() {
        pairs.extend(
            row.iter().enumerate().filter(|&(c, &n)| c != target && n > 0).map(|(c, &n)| (n, target, c)),
        );
    }
    // Stable: among equals the earlier class stays in front.
    pairs.sort_by_key(|&(n, ..)| std::cmp::Reverse(n));
    if pairs.is_empty() {
        return format!("<p class=\"note\">No mistakes {when}.</p>");
    }
    let total: u64 = pairs.iter().map(|&(n, ..)| n).sum();
    let said = pairs.iter().take(PAIRS).map(|&(n, target, c)| {
        format!("{} taken for {} ({}×)", escape(&name(target)), escape(&name(c)), count(n))
    });
    let said: Vec<String> = said.collect();
    let (noun, most) = (if total == 1 { "mistake" } else { "mistakes" }, said.join(", "));
    format!("<p class=\"note\">{} {noun} {when}; most often {most}.</p>", count(total))
}
