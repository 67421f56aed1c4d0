//! Rules about files: header, source, size, name, ignored tests.

use super::source::Source;
use super::{Finding, ops};

const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 60;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "base", "prelude"];

/// Files among models that hold none.
const NO_MODEL: &[(&str, &str)] = &[
    ("lib", "a list of modules"),
    ("zoo", "the table of models; each names its paper"),
    ("labels", "names of classes"),
    ("likely", "finds the model that weights are for"),
    ("names", "names of other libraries"),
];

pub(super) fn header(source: &Source) -> Vec<Finding> {
    if source.is_tests() || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(&source.path, 1, "the first line must be a `//!` header that says what the file holds")]
}

pub(super) fn provenance(source: &Source) -> Vec<Finding> {
    let path = source.path.as_str();
    let file_in =
        |folder: &str| path.strip_prefix(folder)?.strip_suffix(".rs").filter(|name| !name.contains('/'));
    let op = file_in("crates/nn-core/src/ops/").is_some_and(|name| !ops::holds_no_op(name));
    let model =
        file_in("crates/nn-vision/src/").is_some_and(|name| !NO_MODEL.iter().any(|(n, _)| *n == name));
    if !(op || model) {
        return Vec::new();
    }
    let header = source.header();
    if header.contains("Source:") || op && header.contains("Why not Candle's:") {
        return Vec::new();
    }
    let wanted = if op { "`Source:` or `Why not Candle's:`" } else { "`Source:`" };
    vec![Finding::new(path, 1, format!("the header needs a line {wanted}"))]
}

pub(super) fn file_size(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if lines <= MAX_FILE {
        return Vec::new();
    }
    vec![Finding::new(&source.path, MAX_FILE + 1, format!("{lines} lines; a file has at most {MAX_FILE}"))]
}

pub(super) fn function_size(source: &Source) -> Vec<Finding> {
    let long = source.functions().into_iter().filter(|f| f.lines > MAX_FUNCTION);
    long.map(|f| {
        let message = format!("fn {} has {} lines; a function has at most {MAX_FUNCTION}", f.name, f.lines);
        Finding::new(&source.path, f.line, message)
    })
    .collect()
}

pub(super) fn names(source: &Source) -> Vec<Finding> {
    let says_nothing = |name: &str| format!("`{name}` says nothing about what is inside");
    let mut findings = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
        findings.push(Finding::new(&source.path, 0, says_nothing(part)));
    }
    for at in source.words("mod") {
        let name = source.code[at + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').nth(1);
        if let Some(name) = name.filter(|name| EMPTY_NAMES.contains(name)) {
            findings.push(Finding::new(&source.path, source.line_of(at), says_nothing(name)));
        }
    }
    findings
}

pub(super) fn ignored_tests(source: &Source) -> Vec<Finding> {
    let attributes = source.code.match_indices("#[ignore");
    attributes
        .map(|(at, _)| {
            Finding::new(
                &source.path,
                source.line_of(at),
                "a test that never runs proves nothing: fix or delete",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: [usize; 0] = [];

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_without_header_is_seen() {
        assert_eq!(lines(header, "a.rs", "use std::fs;\n//! Late.\n"), [1]);
        assert_eq!(lines(header, "a.rs", "//! What it is.\n"), CLEAN);
        assert_eq!(lines(header, "a/tests.rs", "use super::*;\n"), CLEAN);
    }

    #[test]
    fn an_op_or_model_without_source_is_seen() {
        let bare = "//! An op.\n\n// Source: outside the header\n";
        assert_eq!(lines(provenance, "crates/nn-core/src/ops/relu.rs", bare), [1]);
        assert_eq!(
            lines(provenance, "crates/nn-vision/src/vgg.rs", "//! VGG.\n//! Why not Candle's: x\n"),
            [1]
        );
        assert_eq!(lines(provenance, "crates/nn-vision/src/vgg.rs", "//! VGG.\n//! Source: x\n"), CLEAN);
        assert_eq!(
            lines(provenance, "crates/nn-core/src/ops/relu.rs", "//! A.\n//! Why not Candle's: x\n"),
            CLEAN
        );
        assert_eq!(lines(provenance, "crates/nn-core/src/ops/mod.rs", bare), CLEAN);
        assert_eq!(lines(provenance, "crates/nn-core/src/ctx.rs", bare), CLEAN);
    }

    #[test]
    fn long_files_and_functions_are_seen() {
        assert_eq!(lines(file_size, "a.rs", &"\n".repeat(601)), [601]);
        assert_eq!(lines(file_size, "a.rs", &"\n".repeat(600)), CLEAN);
        let function = |body: usize| format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(body));
        assert_eq!(lines(function_size, "a.rs", &function(59)), [2]);
        assert_eq!(lines(function_size, "a.rs", &function(58)), CLEAN);
    }

    #[test]
    fn empty_names_are_seen() {
        assert_eq!(lines(names, "crates/a/src/utils.rs", ""), [0]);
        assert_eq!(lines(names, "crates/a/src/helpers/x.rs", ""), [0]);
        assert_eq!(lines(names, "crates/a/src/x.rs", "pub mod x;\nmod common {}\n"), [2]);
        assert_eq!(lines(names, "crates/a/src/model.rs", "mod baseline;\n"), CLEAN);
    }

    #[test]
    fn ignored_tests_are_seen() {
        assert_eq!(lines(ignored_tests, "a.rs", "\n#[ignore = \"slow\"]\n#[test]\nfn f() {}\n"), [2]);
        assert_eq!(lines(ignored_tests, "a.rs", "// #[ignore]\nlet a = \"#[ignore]\";\n"), CLEAN);
    }
}
