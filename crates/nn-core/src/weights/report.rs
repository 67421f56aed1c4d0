//! What became of each name when weights met a model.

use std::fmt;

/// A name both sides have, with different shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The tensor's name.
    pub name: String,
    /// Its shape in the model.
    pub model: Vec<usize>,
    /// Its shape in the file.
    pub file: Vec<usize>,
}

/// The names of a model and of a file, sorted into what they have in common and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// In both, with the same shape.
    pub matched: Vec<String>,
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model.
    pub unexpected: Vec<String>,
    /// In both, with different shapes.
    pub mismatched: Vec<Mismatch>,
}

impl LoadReport {
    /// Whether model and file have exactly the same names and shapes.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Whether the file has all of the model and nothing else. Counters of batches may be missing, as in PyTorch:
    /// files from before 0.4.1 have none, and no result depends on them.
    pub fn fits(&self) -> bool {
        let counter = |name: &String| name.ends_with(".num_batches_tracked");
        self.missing.iter().all(counter) && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl std::error::Error for LoadReport {}

/// How many names of a kind are spelled out; a wholly different model has hundreds.
const SHOWN: usize = 8;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} matched", self.matched.len())?;
        let mismatched: Vec<String> = self
            .mismatched
            .iter()
            .map(|m| format!("{} (model {:?}, file {:?})", m.name, m.model, m.file))
            .collect();
        let groups =
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("mismatched", &mismatched)];
        for (what, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "; {} {what}: {}", names.len(), names[..names.len().min(SHOWN)].join(", "))?;
            if names.len() > SHOWN {
                write!(f, ", … and {} more", names.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
