//! `tidy`: the house rules that a program can check, each a small function over the files.

mod api;
mod golden;
mod graph;
mod layout;
mod links;
mod ops;
mod source;

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result};

use crate::failure::{Advise, failed};
use crate::output;
use source::Source;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 speaks of the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A rule about one Rust file.
type FileRule = fn(&Source) -> Vec<Finding>;

/// A rule about the whole tree.
type TreeRule = fn(&Tree) -> Result<Vec<Finding>>;

const FILE_RULES: &[(&str, FileRule)] = &[
    ("every file opens with a `//!` header", layout::header),
    ("ops and models name their source", layout::provenance),
    ("files of at most 600 lines", layout::file_size),
    ("functions of at most 60 lines", layout::function_size),
    ("no module is called utils, common, helpers, misc, base or prelude", layout::names),
    ("no test is ignored", layout::ignored_tests),
    ("public functions take no bool and at most 5 parameters", api::parameters),
    ("library crates print nothing and never exit", api::quiet),
    ("`unsafe` only in nn-core/src/cpu, with SAFETY", ops::unsafe_code),
    ("`CpuStorage` and `_no_bwd` only in ops/kernel.rs and its folder", ops::bridge),
    ("nothing of candle-nn that has a wrong or missing gradient", ops::banned),
];

const TREE_RULES: &[(&str, TreeRule)] = &[
    ("every op is gradient-checked", ops::gradient_checks),
    ("crates depend downwards", graph::check),
    ("every model of the zoo has golden data", golden::zoo),
    ("golden files are small and have a maker", golden::files),
    ("relative links resolve", links::check),
];

/// The files the rules are about.
pub(crate) struct Tree {
    root: PathBuf,
    /// Every file, from the root, in forward slashes, sorted.
    files: Vec<String>,
    /// The Rust files among them.
    sources: Vec<Source>,
}

impl Tree {
    /// Reads the workspace at `root`, without build output, runs and hidden folders.
    fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        files.sort();
        let mut sources = Vec::new();
        for path in files.iter().filter(|path| path.ends_with(".rs")) {
            let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
            sources.push(Source::new(path, text));
        }
        Ok(Self { root: root.to_owned(), files, sources })
    }

    /// Files directly in `folder`, by name.
    fn in_folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.files
            .iter()
            .filter_map(move |path| path.strip_prefix(folder)?.strip_prefix('/'))
            .filter(|name| !name.contains('/'))
    }
}

const NOT_OURS: &[&str] = &["target", "runs", "fuzz/artifacts", "fuzz/corpus", "fuzz/target"];

fn walk(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<()> {
    let here = root.join(folder);
    for entry in fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if name.starts_with('.') || NOT_OURS.contains(&path.as_str()) || name == "__pycache__" {
            continue;
        }
        if entry.file_type()?.is_dir() { walk(root, &path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Applies every rule to the workspace at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    for (_, rule) in FILE_RULES {
        findings.extend(tree.sources.iter().flat_map(rule));
    }
    for (name, rule) in TREE_RULES {
        findings.extend(rule(&tree).with_context(|| format!("cannot check that {name}"))?);
    }
    findings.sort();
    let rules = FILE_RULES.len() + TREE_RULES.len();
    if findings.is_empty() {
        return output::line(format_args!("tidy: {} files keep {rules} rules", tree.files.len()));
    }
    for finding in &findings {
        output::line(finding)?;
    }
    let count = findings.len();
    Err(failed(format!("tidy found {count} breach{} of the house rules", if count == 1 { "" } else { "es" })))
        .advise("each line above says where, and what the rule is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() -> Result<()> {
        run(&crate::workspace::root())
    }

    #[test]
    fn a_tree_leaves_out_what_is_not_ours() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for path in ["a/x.rs", "target/y.rs", "runs/r/z.rs", ".git/w.rs", "a/target/v.rs"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has a folder"))?;
            fs::write(path, "//! A file.\n")?;
        }
        let tree = Tree::read(dir.path())?;
        assert_eq!(tree.files, ["a/target/v.rs", "a/x.rs"]);
        assert_eq!(tree.in_folder("a").collect::<Vec<_>>(), ["x.rs"]);
        Ok(())
    }

    #[test]
    fn a_broken_rule_fails_the_run_and_says_where() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("lib.rs"), "fn f() {}\n")?;
        let tree = Tree::read(dir.path())?;
        let findings: Vec<_> = tree.sources.iter().flat_map(layout::header).collect();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("lib.rs:1: "), "{}", findings[0]);
        Ok(())
    }
}
