//! The crate graph: edges run downwards, and nothing is shared sideways.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Finding, Tree};
use crate::failure::failed;
use crate::workspace;

/// Each crate of the workspace, and the ones it may depend on.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("nn-core", &[]),
    ("nn-layers", &["nn-core"]),
    ("nn-vision", &["nn-core", "nn-layers"]),
    ("nn-sequence", &["nn-core", "nn-layers"]),
    ("nn-train", &["nn-core", "nn-layers"]),
    ("nn-onnx", &["nn-core"]),
    ("xtask", &["nn-core", "nn-layers", "nn-vision", "nn-sequence", "nn-train", "nn-onnx"]),
    ("nn-tests", &["nn-core", "nn-layers", "nn-vision", "nn-sequence", "nn-train", "nn-onnx"]),
];

pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let output = Command::new(workspace::cargo())
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(&tree.root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(edges(&serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?))
}

/// The edges of `cargo metadata` that the table does not have, tests' and build scripts' included.
fn edges(metadata: &Value) -> Vec<Finding> {
    let members: &[Value] = metadata["packages"].as_array().map_or(&[], Vec::as_slice);
    let names: Vec<&str> = members.iter().filter_map(|member| member["name"].as_str()).collect();
    let mut findings = Vec::new();
    for member in members {
        let name = member["name"].as_str().unwrap_or_default();
        let manifest = format!("{name} (Cargo.toml)");
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(manifest, 0, "a crate the table of tidy/graph.rs does not know"));
            continue;
        };
        let dependencies: &[Value] = member["dependencies"].as_array().map_or(&[], Vec::as_slice);
        for on in dependencies.iter().filter_map(|d| d["name"].as_str()).filter(|on| names.contains(on)) {
            // Its own tests may ask a crate for its feature `testing`.
            if on != name && !allowed.contains(&on) {
                findings.push(Finding::new(&manifest, 0, format!("must not depend on {on}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sideways_and_upward_edges_are_seen() {
        let package = |name: &str, on: &[&str]| {
            let dependencies: Vec<Value> = on.iter().map(|name| json!({ "name": name })).collect();
            json!({ "name": name, "dependencies": dependencies })
        };
        let metadata = json!({ "packages": [
            package("nn-core", &["serde", "nn-core", "nn-layers"]),
            package("nn-layers", &["nn-core"]),
            package("nn-train", &["nn-vision"]),
            package("nn-vision", &["nn-layers"]),
            package("nn-new", &[]),
        ] });
        let findings: Vec<String> = edges(&metadata).iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].contains("nn-core") && findings[0].contains("nn-layers"));
        assert!(findings[1].contains("nn-train") && findings[1].contains("nn-vision"));
        assert!(findings[2].contains("nn-new"));
    }
}
