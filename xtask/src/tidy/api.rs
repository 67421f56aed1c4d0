//! Rules about public functions and about what libraries may do.

use super::Finding;
use super::source::Source;

const MAX_PARAMETERS: usize = 5;

/// What only programs do.
const LOUD: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "process::exit"];

pub(super) fn parameters(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in source.functions().into_iter().filter(|f| f.public) {
        let name = &function.name;
        let mut report = |message: String| findings.push(Finding::new(&source.path, function.line, message));
        let count = function.parameters.len();
        if count > MAX_PARAMETERS {
            report(format!(
                "pub fn {name} takes {count} parameters, at most {MAX_PARAMETERS}: group them in a struct"
            ));
        }
        for parameter in &function.parameters {
            let kind = parameter.split_once(':').map_or("", |(_, kind)| kind.trim());
            if matches!(kind, "bool" | "&bool" | "&mut bool" | "Option<bool>") {
                report(format!(
                    "pub fn {name} takes a bool (`{parameter}`): use an enum that says what it means"
                ));
            }
        }
    }
    findings
}

pub(super) fn quiet(source: &Source) -> Vec<Finding> {
    let library = source.path.starts_with("crates/") && source.path.contains("/src/");
    let end = if library { source.tests_start() } else { 0 };
    let uses =
        LOUD.iter().flat_map(|name| source.words(name.trim_end_matches('!')).map(move |at| (*name, at)));
    uses.filter(|&(name, at)| at < end && source.code[at..].starts_with(name))
        .map(|(name, at)| {
            let message = format!("`{name}` in a library crate: return a value or an error");
            Finding::new(&source.path, source.line_of(at), message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: [usize; 0] = [];

    #[test]
    fn bools_and_long_lists_are_seen_on_public_functions() {
        let text = "pub fn f(a: u8, train: bool) {}\nfn g(b: bool) -> bool {}\npub fn h(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\nimpl A { \n    pub const fn ok(&self, a: u8, b: u8, c: u8, d: u8, e: impl Fn(bool) -> bool) -> bool {}\n}\n";
        let findings = parameters(&Source::new("a.rs", text));
        assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [1, 3]);
        assert!(findings[0].message.contains("train: bool") && findings[1].message.contains('6'));
    }

    #[test]
    fn printing_libraries_are_seen() {
        let text = "fn f() { println!(\"x\"); }\nfn g() { std::process::exit(1) }\n#[cfg(test)]\nmod tests { fn t() { eprintln!(\"skipped\"); } }\n";
        let lines = |path| quiet(&Source::new(path, text)).iter().map(|f| f.line).collect::<Vec<_>>();
        assert_eq!(lines("crates/nn-core/src/a.rs"), [1, 2]);
        assert_eq!(lines("xtask/src/a.rs"), CLEAN);
    }
}
