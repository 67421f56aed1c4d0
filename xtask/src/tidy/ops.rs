//! Rules about kernels and gradients.

use std::collections::BTreeMap;

use anyhow::Result;

use super::source::{Source, is_identifier};
use super::{Finding, Tree};

const CPU: &str = "crates/nn-core/src/cpu/";
const OPS: &str = "crates/nn-core/src/ops/";
const BRIDGE: &str = "crates/nn-core/src/ops/kernel.rs";

/// Its parts.
const BRIDGES: &str = "crates/nn-core/src/ops/kernel/";

/// How far above an `unsafe` its reason may stand, in lines: attributes and a long signature fit between.
const SAFETY_REACH: usize = 8;

/// Parts of `candle_nn` that are not used here, and what is.
const BANNED: &[(&[&str], &str)] = &[
    (
        &[
            "BatchNorm",
            "BatchNormConfig",
            "batch_norm",
            "LayerNorm",
            "LayerNormConfig",
            "layer_norm",
            "layer_norm_no_bias",
        ],
        "its norms drop gradients or put NaN into running statistics",
    ),
    (&["RmsNorm", "rms_norm", "rms_norm_non_quant", "GroupNorm", "group_norm"], "its norms drop gradients"),
    (&["Dropout", "dropout"], "its dropout cannot be seeded"),
    (&["ops", "rotary_emb"], "its ops have no backward"),
    (&["loss"], "its losses overflow and know only rank 2"),
    (&["optim", "Optimizer", "SGD", "AdamW", "ParamsAdamW"], "its optimisers have no momentum and no order"),
    (
        &["rnn", "RNN", "LSTM", "LSTMConfig", "LSTMState", "lstm", "GRU", "GRUConfig", "GRUState", "gru"],
        "its recurrent layers start wrong and stack wrong",
    ),
    (&["VarMap"], "its order changes from run to run; `nn_core::ParamStore` keeps names in order"),
];

/// Paths into banned modules that may be used.
const RIGHT: &[&str] = &["candle_nn::ops::sigmoid"];

/// Methods of Candle's `Tensor` whose gradient is wrong or refused.
const BANNED_METHODS: &[&str] = &[
    "max_pool2d",
    "max_pool2d_with_stride",
    "avg_pool2d",
    "avg_pool2d_with_stride",
    "upsample_nearest2d",
    "upsample_bilinear2d",
];

/// Files beside the ops that hold none.
const NO_OP: &[(&str, &str)] = &[
    ("mod", "a list of re-exports"),
    ("kernel", "the bridge; its own tests check a gradient through it"),
    ("window", "output sizes shared by convolution and pooling"),
    ("indexing", "checks of indices; tested through embedding and gather"),
    ("knot", "more arguments and results for an op; checked through recurrent layers"),
    ("saved", "what an op keeps for its backward pass; checked through each"),
    ("precision", "types; checked through every op"),
    ("padding", "an enum; checked through convolution and pooling"),
    ("bins", "which pixels adaptive pooling takes together; checked through each such op"),
    ("pooling", "what the pooling ops share; checked through each"),
    ("pointwise", "the bridge of activations; checked through each"),
    ("loss", "the bridge of losses; checked through each"),
    ("labels", "classes and weights; checked through every loss that takes them"),
    ("norm", "what batch, group and instance norm share; checked through each"),
    ("row_norm", "what layer and RMS norm share; checked through each"),
    ("fused", "an activation inside another op; checked through each"),
    ("reduction", "an enum; checked through every loss"),
    ("oracle", "for tests: a kernel against its portable twin"),
];

/// Whether a file directly among the ops holds none.
pub(super) fn holds_no_op(name: &str) -> bool {
    NO_OP.iter().any(|(exempt, _)| *exempt == name)
}

pub(super) fn unsafe_code(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for line in source.words("unsafe").map(|at| source.line_of(at)) {
        let above = &lines[line.saturating_sub(SAFETY_REACH + 1)..line];
        if !source.path.starts_with(CPU) {
            findings.push(Finding::new(&source.path, line, format!("`unsafe` belongs to {CPU} alone")));
        } else if !above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
            findings.push(Finding::new(&source.path, line, "`unsafe` without `// SAFETY:` above it"));
        }
    }
    findings
}

pub(super) fn bridge(source: &Source) -> Vec<Finding> {
    if source.path == BRIDGE || source.path.starts_with(BRIDGES) {
        return Vec::new();
    }
    let storage = source.words("CpuStorage").map(|at| (at, "`CpuStorage`"));
    let detached = source
        .code
        .match_indices("_no_bwd")
        .map(|(at, _)| (at, "`_no_bwd`, which drops gradients silently,"));
    storage
        .chain(detached)
        .map(|(at, what)| {
            Finding::new(&source.path, source.line_of(at), format!("{what} belongs to {BRIDGE} alone"))
        })
        .collect()
}

/// Times the stock versions beside ours.
const BENCH: &str = "xtask/src/bench/";

/// Outside tests and benches, which show what the stock version gets wrong and how long it takes.
pub(super) fn banned(source: &Source) -> Vec<Finding> {
    if !source.path.contains("/src/") || source.path.starts_with(BENCH) {
        return Vec::new();
    }
    let end = source.tests_start();
    let mut findings = Vec::new();
    for at in source.words("candle_nn").filter(|&at| at < end) {
        let path = use_tree(&source.code[at..]);
        if RIGHT.contains(&path) {
            continue;
        }
        for name in path.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let Some((_, why)) = BANNED.iter().find(|(names, _)| names.contains(&name)) else { continue };
            let message = format!("`candle_nn::{name}` is not used here: {why}");
            findings.push(Finding::new(&source.path, source.line_of(at), message));
        }
    }
    for (method, at) in BANNED_METHODS.iter().flat_map(|m| source.words(m).map(move |at| (m, at))) {
        let called = at > 0 && source.code.as_bytes()[at - 1] == b'.';
        if called && at < end {
            let message = format!("`Tensor::{method}` has a wrong gradient or none: use `nn_core::ops`");
            findings.push(Finding::new(&source.path, source.line_of(at), message));
        }
    }
    findings
}

/// The path or use tree that starts `text`: `a::b`, `a::{b, c::d}`.
fn use_tree(text: &str) -> &str {
    let mut depth = 0usize;
    let end = text.bytes().position(|b| {
        match b {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            _ => return !(is_identifier(b) || b == b':' || depth > 0),
        }
        false
    });
    &text[..end.unwrap_or(text.len())]
}

pub(super) fn gradient_checks(tree: &Tree) -> Result<Vec<Finding>> {
    // An op may keep its parts in a folder of its name; one check among them is enough.
    let mut checked: BTreeMap<&str, bool> = BTreeMap::new();
    for source in &tree.sources {
        let Some(rest) = source.path.strip_prefix(OPS) else { continue };
        let op = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
        *checked.entry(op).or_default() |= source.words("gradcheck").next().is_some();
    }
    let missing = checked.into_iter().filter(|(op, ok)| !ok && !holds_no_op(op));
    Ok(missing
        .map(|(op, _)| {
            let message = "an op without `gradcheck` in its tests: its gradient is a claim nobody checked";
            Finding::new(format!("{OPS}{op}.rs"), 0, message)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: [usize; 0] = [];

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_outside_cpu_or_without_reason_is_seen() {
        let bare = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(lines(unsafe_code, "crates/nn-train/src/a.rs", bare), [2]);
        assert_eq!(lines(unsafe_code, "crates/nn-core/src/cpu/a.rs", bare), [2]);
        let reasoned = "fn f() {\n    // SAFETY: checked above.\n    unsafe { g() }\n}\n";
        assert_eq!(lines(unsafe_code, "crates/nn-core/src/cpu/a.rs", reasoned), CLEAN);
        assert_eq!(lines(unsafe_code, "a.rs", "#![deny(unsafe_code)]\n// unsafe\n"), CLEAN);
    }

    #[test]
    fn the_bridge_is_crossed_in_one_file() {
        let text = "use candle_core::CpuStorage;\nx.apply_op1_no_bwd(&op);\n";
        assert_eq!(lines(bridge, "crates/nn-core/src/ops/relu.rs", text), [1, 2]);
        assert_eq!(lines(bridge, BRIDGE, text), CLEAN);
        assert_eq!(lines(bridge, "crates/nn-core/src/ops/kernel/a.rs", text), CLEAN);
    }

    #[test]
    fn banned_names_are_seen_in_paths_and_trees_but_not_in_tests() {
        let text = "use candle_nn::{Init, VarBuilder};\nuse candle_nn::{\n    Init, layer_norm::LayerNorm};\nlet y = candle_nn::ops::softmax(&x, 1)?;\nlet s = candle_nn::ops::sigmoid(&x)?;\nlet z = x.max_pool2d(2)?;\nlet w = max_pool2d(&x, p)?;\n#[cfg(test)]\nmod tests { use candle_nn::Dropout; }\n";
        let path = "crates/nn-layers/src/a.rs";
        assert_eq!(lines(banned, path, text), [2, 2, 4, 6]);
        assert_eq!(lines(banned, "tests/tests/gaps.rs", text), CLEAN);
        assert_eq!(lines(banned, "xtask/src/bench/ops/norm.rs", text), CLEAN);
    }

    #[test]
    fn an_op_without_gradcheck_is_seen() -> Result<()> {
        let source = |path: &str, text: &str| Source::new(format!("{OPS}{path}"), text);
        let sources = vec![
            source("kernel.rs", ""),
            source("relu.rs", "// gradcheck\n"),
            source("conv2d.rs", "mod backward;\n"),
            source("conv2d/backward.rs", "gradcheck(f, x)?;\n"),
        ];
        let findings = gradient_checks(&Tree { root: ".".into(), files: Vec::new(), sources })?;
        assert_eq!(findings.len(), 1);
        assert!(findings[0].path.ends_with("ops/relu.rs"));
        Ok(())
    }
}
