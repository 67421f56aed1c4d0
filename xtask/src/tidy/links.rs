//! Links in the README and the book: relative ones must lead somewhere.

use std::fs;

use anyhow::{Context, Result};

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.files.iter().filter(|path| path.ends_with(".md")) {
        let text = fs::read_to_string(tree.root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, target) in relative_links(&text) {
            if !tree.root.join(folder).join(&target).exists() {
                findings.push(Finding::new(path, line, format!("the link to {target} leads nowhere")));
            }
        }
    }
    Ok(findings)
}

/// Line and path of every link that is no URL and no anchor of the same page, outside code blocks.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere {
                links.push((i + 1, target.to_owned()));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_a_reader_sees_them() {
        let text = "[a](docs/a.md) and [b](https://b.example/x.md)\n```\n[c](c.md)\n```\n[d](#here) ![e](e.png \"title\") [f](f.md#part)\n";
        let expected = [(1, "docs/a.md"), (5, "e.png"), (5, "f.md")];
        assert_eq!(relative_links(text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn a_dead_link_is_seen() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("docs"))?;
        fs::write(dir.path().join("docs/a.md"), "[r](../README.md)\n[gone](b.md)\n")?;
        fs::write(dir.path().join("README.md"), "[a](docs/a.md)\n")?;
        let findings = check(&Tree::read(dir.path())?)?;
        assert_eq!(findings, [Finding::new("docs/a.md", 2, "the link to b.md leads nowhere")]);
        Ok(())
    }
}
