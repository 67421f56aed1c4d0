//! What `bench models` measures.

use anyhow::Result;
use nn_core::Activations;
use nn_vision::Entry;
use serde::Serialize;

use crate::failure;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pass {
    /// A batch in evaluation.
    Inference,
    /// Forward, cross-entropy, backward, a step of SGD with momentum.
    Training,
}

impl Pass {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Training => "training",
        }
    }
}

/// A model in a pass at a batch size.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) entry: &'static Entry,
    pub(super) pass: Pass,
    pub(super) batch: u32,
    pub(super) activations: Activations,
}

/// Those whose peers' timings are known, and the images of a training step.
const TRAINING: &[(&str, u32)] = &[
    ("lenet5", 64),
    ("lenet5_relu", 64),
    ("cnn", 64),
    ("alexnet", 16),
    ("vgg16", 4),
    ("googlenet", 16),
    ("resnet18", 16),
    ("resnet50", 8),
    ("mobilenet_v2", 16),
    ("densenet121", 8),
    ("vit_b_16", 4),
];

/// Of a model that is not listed.
const BATCH: u32 = 8;

/// The rows of these models, or of all that are listed; every model at `batches` if there are any.
pub(super) fn rows(
    names: &[String],
    passes: &[Pass],
    batches: &[u32],
    activations: Activations,
) -> Result<Vec<Row>> {
    let listed = || TRAINING.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names: Vec<String> = if names.is_empty() { listed() } else { names.to_vec() };
    let all: Vec<&str> = nn_vision::classifiers().map(|entry| entry.name).collect();
    let mut rows = Vec::new();
    for &pass in passes {
        for name in &names {
            let entry = nn_vision::classifiers().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| failure::unknown("model", name, &all))?;
            let batches = match pass {
                _ if !batches.is_empty() => batches.to_vec(),
                Pass::Inference => vec![1, 8],
                Pass::Training => {
                    vec![TRAINING.iter().find(|(n, _)| n == name).map_or(BATCH, |&(_, batch)| batch)]
                }
            };
            rows.extend(batches.into_iter().map(|batch| Row { entry, pass, batch, activations }));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_models_exist_and_names_are_checked() -> Result<()> {
        let both = [Pass::Inference, Pass::Training];
        assert_eq!(rows(&[], &both, &[], Activations::Whole)?.len(), 3 * TRAINING.len());
        let one = rows(&["resnet34".to_owned()], &[Pass::Training], &[], Activations::Whole)?;
        assert_eq!((one.len(), one[0].batch), (1, BATCH));
        assert_eq!(rows(&["resnet34".to_owned()], &both, &[2, 3], Activations::Whole)?.len(), 4);
        let error = failure::report(
            &rows(&["resnet35".to_owned()], &both, &[], Activations::Whole).err().expect("no such model"),
        );
        assert!(error.contains("did you mean"), "{error}");
        Ok(())
    }
}
