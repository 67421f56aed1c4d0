//! Golden data: what PyTorch computes, kept small, with the script that made it.

use std::fs;

use anyhow::{Context, Result};

use super::{Finding, Tree};

const FOLDER: &str = "tests/golden";
const MAX_BYTES: u64 = 64 * 1024;

/// Files that may be larger, with the reason.
const LARGE: &[(&str, &str)] = &[];

pub(super) fn zoo(tree: &Tree) -> Result<Vec<Finding>> {
    Ok(missing(nn_vision::entries().map(|entry| entry.name), tree))
}

fn missing<'a>(models: impl Iterator<Item = &'a str>, tree: &Tree) -> Vec<Finding> {
    let expected = models.map(|name| format!("{FOLDER}/{name}.safetensors"));
    expected
        .filter(|path| !tree.files.contains(path))
        .map(|path| Finding::new(path, 0, "a model of the zoo without golden data from its reference"))
        .collect()
}

pub(super) fn files(tree: &Tree) -> Result<Vec<Finding>> {
    let mut scripts = String::new();
    for name in tree.in_folder(FOLDER).filter(|name| name.ends_with(".py")) {
        let path = format!("{FOLDER}/{name}");
        scripts +=
            &fs::read_to_string(tree.root.join(&path)).with_context(|| format!("cannot read {path}"))?;
    }
    let mut findings = Vec::new();
    for name in tree.in_folder(FOLDER) {
        let Some(stem) = name.strip_suffix(".safetensors") else { continue };
        let path = format!("{FOLDER}/{name}");
        let size = fs::metadata(tree.root.join(&path)).with_context(|| format!("cannot read {path}"))?.len();
        findings.extend(problems(stem, size, &scripts).into_iter().map(|m| Finding::new(&path, 0, m)));
    }
    Ok(findings)
}

/// What is wrong with the golden file called `stem`, beside scripts of this text.
fn problems(stem: &str, size: u64, scripts: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if size > MAX_BYTES && !LARGE.iter().any(|(name, _)| *name == stem) {
        problems
            .push(format!("{size} bytes; golden data has at most {MAX_BYTES}: smaller sizes prove as much"));
    }
    let names = [format!("\"{stem}\""), format!("'{stem}'"), format!("{stem}.safetensors")];
    if !names.iter().any(|name| scripts.contains(name)) {
        problems.push(format!("no script in {FOLDER} names \"{stem}\": nobody could make it again"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_golden_data_is_seen() {
        let files = vec!["tests/golden/lenet5.safetensors".to_owned()];
        let tree = Tree { root: ".".into(), files, sources: Vec::new() };
        let findings = missing(["lenet5", "vgg11"].into_iter(), &tree);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].path.ends_with("vgg11.safetensors"));
    }

    #[test]
    fn large_golden_files_and_orphans_are_seen() {
        assert!(problems("lenet5", 100, "save(\"lenet5\", x)").is_empty());
        assert!(problems("conv2d", 100, "writes conv2d.safetensors beside itself").is_empty());
        assert!(problems("lenet5", 65_537, "save('lenet5', x)")[0].contains("65537 bytes"));
        assert!(problems("lenet5", 100, "save(\"lenet5_relu\", x)")[0].contains("no script"));
    }
}
