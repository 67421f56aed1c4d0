//! Training that starts from weights: which parameters learn, and what becomes of a head for other classes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, TensorId};
use nn_core::weights::WeightFile;
use nn_core::{Freeze, ParamStore};
use nn_train::{Scale, Trainer};
use nn_vision::Network;
use serde::{Deserialize, Serialize};

use crate::failure::{Advise, failed};
use crate::model::{self, Model};

/// What is left as the weights have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Frozen {
    /// Everything learns.
    #[default]
    None,
    /// What comes before this layer is left.
    Until(String),
    /// Only a new last layer learns.
    HeadOnly,
}

impl FromStr for Frozen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "head-only" => Ok(Self::HeadOnly),
            _ => match text.strip_prefix("until=") {
                Some(layer) if !layer.is_empty() => Ok(Self::Until(layer.to_owned())),
                _ => Err(format!(
                    "it must be none, head-only, or until=LAYER such as until=layer4, got {text}"
                )),
            },
        }
    }
}

impl TryFrom<String> for Frozen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Frozen> for String {
    fn from(frozen: Frozen) -> Self {
        frozen.to_string()
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Until(layer) => write!(f, "until={layer}"),
            Self::HeadOnly => f.write_str("head-only"),
        }
    }
}

/// Where a segmenter has its backbone's parameters, and where what it is built on top begins.
const BACKBONE: &str = "backbone.";
const SCORES: &str = "classifier";

/// A model of which a part may be frozen, and whose head is new.
pub(crate) struct Transfer {
    pub(crate) model: Model,
    /// All but the head.
    body: HashSet<TensorId>,
}

impl Transfer {
    /// The model for `num_classes`, its parameters drawn in `store`.
    ///
    /// # Errors
    /// If it has no layer of the name, or no head to renew.
    pub(crate) fn build(
        plan: &model::Plan,
        num_classes: usize,
        frozen: &Frozen,
        store: ParamStore,
        device: &Device,
    ) -> Result<Self> {
        let segmenter = nn_vision::segmenters().any(|entry| entry.name == plan.name);
        store.freeze(match frozen {
            Frozen::None => Freeze::Nothing,
            Frozen::Until(layer) => Freeze::Until(layer.clone()),
            // What is built on a backbone is the head.
            Frozen::HeadOnly if segmenter => Freeze::Until(SCORES.to_owned()),
            Frozen::HeadOnly => Freeze::Everything,
        });
        let mut model = plan.build(num_classes, store, device)?;
        let store = &model.store;
        if let Frozen::Until(layer) = frozen
            && store.parameters().is_empty()
        {
            return Err(failed(format!("freeze: {} has no layer {layer}", plan.name)))
                .advise(format!("there are {}", layers(store).join(", ")));
        }
        let of_backbone =
            |(id, name): (TensorId, String)| (!segmenter || name.starts_with(BACKBONE)).then_some(id);
        let body = ids(store).into_iter().filter_map(of_backbone).collect();
        store.freeze(Freeze::Nothing);
        match &mut model.layer {
            Network::Classifier(network) => network.reset_head(plan.outputs(num_classes), store)?,
            Network::Other(_) if *frozen == Frozen::HeadOnly => {
                return Err(failed(format!("freeze: {} has no head that could be trained alone", plan.name)));
            }
            Network::Segmenter(_) | Network::Other(_) => {}
        }
        Ok(Self { model, body })
    }

    /// Starts from the file's parameters. Where the file's head is for another number of classes, ours is kept; where
    /// the file is for a classifier that is our backbone, the backbone takes it.
    ///
    /// # Errors
    /// If names and shapes are not the model's but for the head; the error lists each that is not.
    pub(crate) fn load(&self, weights: &Path) -> Result<()> {
        let store = &self.model.store;
        let mut file = WeightFile::open(weights)?;
        nn_vision::native(&mut file);
        let mut tensors = file.read()?;
        let head = self.head();
        if let Some(of_backbone) = self.for_backbone(&tensors) {
            tensors = of_backbone;
        }
        let report = store.compare(&tensors);
        let other_classes = !report.mismatched.is_empty()
            && report.mismatched.iter().all(|mismatch| head.contains(&mismatch.name));
        if other_classes {
            let own = store.tensors().into_iter().filter(|(name, _)| head.contains(name));
            for (name, tensor) in own {
                // A variable takes no tensor that shares its memory.
                tensors.insert(name, tensor.copy()?);
            }
        }
        let report = store.compare(&tensors);
        if !report.fits() {
            return model::misfit(&report, &file, weights);
        }
        store.set(&tensors).with_context(|| format!("cannot use {}", weights.display()))
    }

    /// The tensors under the names they have in our backbone, if they are all that it needs, and the rest as it is.
    fn for_backbone(&self, tensors: &BTreeMap<String, Tensor>) -> Option<BTreeMap<String, Tensor>> {
        let own = self.model.store.tensors();
        let mut ours = own.keys().filter_map(|name| name.strip_prefix(BACKBONE)).peekable();
        ours.peek()?;
        let renamed = ours.map(|name| Some((format!("{BACKBONE}{name}"), tensors.get(name)?.clone())));
        let mut renamed = renamed.collect::<Option<BTreeMap<_, _>>>()?;
        for (name, tensor) in &own {
            if !name.starts_with(BACKBONE) {
                renamed.insert(name.clone(), tensor.copy().ok()?);
            }
        }
        Some(renamed)
    }

    /// Lets everything but the head learn at `factor` times the rate.
    ///
    /// # Errors
    /// If the factor is negative or not finite.
    pub(crate) fn scale_body(&self, trainer: &mut Trainer, factor: f64) -> Result<()> {
        let scale = Scale { lr: factor, ..Scale::default() };
        Ok(trainer.scale(scale, |_, var| self.body.contains(&var.id()))?)
    }

    /// The names of the head's parameters.
    fn head(&self) -> BTreeSet<String> {
        let all = ids(&self.model.store).into_iter();
        all.filter(|(id, _)| !self.body.contains(id)).map(|(_, name)| name).collect()
    }
}

/// The name of every parameter, by what identifies it.
fn ids(store: &ParamStore) -> HashMap<TensorId, String> {
    let all = store.parameters().into_iter().chain(store.frozen());
    all.map(|(name, var)| (var.id(), name)).collect()
}

/// The outermost layers' names and those within them, in the order of their names.
fn layers(store: &ParamStore) -> Vec<String> {
    let names = store.tensors();
    let layer = |name: &String| {
        let parts: Vec<&str> = name.split('.').collect();
        parts[..parts.len().saturating_sub(1).min(2)].join(".")
    };
    let layers: BTreeSet<String> = names.keys().map(layer).collect();
    layers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure;

    fn build(name: &str, num_classes: usize, frozen: &Frozen, seed: u64) -> Result<Transfer> {
        Transfer::build(&model::Plan::named(name)?, num_classes, frozen, ParamStore::new(seed), &Device::Cpu)
    }

    fn until(layer: &str) -> Frozen {
        Frozen::Until(layer.to_owned())
    }

    fn trained(transfer: &Transfer) -> Vec<String> {
        transfer.model.store.parameters().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn ways_are_read_as_they_are_written() {
        for (text, frozen) in
            [("none", Frozen::None), ("head-only", Frozen::HeadOnly), ("until=layer4", until("layer4"))]
        {
            assert_eq!(text.parse::<Frozen>(), Ok(frozen.clone()));
            assert_eq!(frozen.to_string(), text);
        }
        for text in ["until=", "until", "layer4", ""] {
            assert!(text.parse::<Frozen>().is_err_and(|e| e.contains("until=layer4")));
        }
    }

    #[test]
    fn what_is_asked_for_learns() -> Result<()> {
        assert_eq!(
            trained(&build("cifar_resnet20", 3, &Frozen::HeadOnly, 0)?),
            ["linear.bias", "linear.weight"]
        );
        let last = trained(&build("cifar_resnet20", 3, &until("layer3"), 0)?);
        assert!(
            last.iter().all(|name| name.starts_with("layer3.") || name.starts_with("linear.")),
            "{last:?}"
        );
        assert_eq!(last.len(), 3 * 6 + 2);
        let last = trained(&build("mobilenet_v2", 2, &until("features.17"), 0)?);
        assert!(last.contains(&"features.18.0.weight".to_owned()) && last.len() == 9 + 3 + 2, "{last:?}");
        let all = build("cifar_resnet20", 3, &Frozen::None, 0)?;
        assert!(all.model.store.frozen().is_empty());
        assert_eq!(all.head().into_iter().collect::<Vec<_>>(), ["linear.bias", "linear.weight"]);
        Ok(())
    }

    #[test]
    fn unknown_layers_and_models_without_head_are_refused() {
        let error =
            failure::report(&build("cifar_resnet20", 3, &until("layer4"), 0).err().expect("no layer4"));
        assert!(
            error.contains("cifar_resnet20 has no layer layer4") && error.contains("layer3.0"),
            "{error}"
        );
        let error = build("mlp", 3, &Frozen::HeadOnly, 0).err().expect("no head").to_string();
        assert!(error.contains("mlp has no head"), "{error}");
    }

    #[test]
    fn weights_for_other_classes_leave_the_new_head() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("ten.safetensors");
        build("cifar_resnet20", 10, &Frozen::None, 1)?.model.store.save(&file)?;
        for (classes, kept) in [(3, true), (10, false)] {
            let transfer = build("cifar_resnet20", classes, &Frozen::HeadOnly, 2)?;
            let values = |name: &str| -> Result<Vec<f32>> {
                Ok(transfer.model.store.tensors()[name].flatten_all()?.to_vec1()?)
            };
            let (conv, head) = (values("conv1.weight")?, values("linear.weight")?);
            transfer.load(&file)?;
            assert_ne!(values("conv1.weight")?, conv);
            assert_eq!(values("linear.weight")? == head, kept);
        }
        // The body of another network.
        let body = dir.path().join("body.safetensors");
        let classifier = build("mobilenet_v2", 1000, &Frozen::None, 3)?;
        classifier.model.store.save(&body)?;
        let scene = build("fcn_mobilenet_v2", 11, &Frozen::HeadOnly, 4)?;
        assert!(trained(&scene).iter().all(|name| !name.starts_with(BACKBONE)));
        scene.load(&body)?;
        let name = "features.0.0.weight";
        let values = |transfer: &Transfer, name: &str| -> Result<Vec<f32>> {
            Ok(transfer.model.store.tensors()[name].flatten_all()?.to_vec1()?)
        };
        assert_eq!(values(&scene, &format!("{BACKBONE}{name}"))?, values(&classifier, name)?);
        let error = build("cnn", 10, &Frozen::None, 0)?.load(&file).expect_err("another model's");
        let error = failure::report(&error);
        for part in ["ten.safetensors does not fit", "missing ", "these are weights of `cifar_resnet20`"] {
            assert!(error.contains(part), "{error}");
        }
        Ok(())
    }
}
