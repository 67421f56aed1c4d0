//! Photos for networks that were trained on photos: prepared as the weights' source prepared its own.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use nn_vision::preprocess::{Channels, Normalise, Picture, Preprocessing};
use nn_vision::{Entry, Pretrained, labels};

use crate::failure::{self, Advise, failed};
use crate::model::{Model, inference};
use crate::output;

/// What weights for photos expect, and what their outputs mean.
pub(crate) struct Source {
    entry: &'static Entry,
    row: Option<&'static Pretrained>,
    preprocessing: Preprocessing,
}

impl Source {
    /// The row called `name`, or the one the weights are known to come from, or what is usual for the model; nothing if
    /// the model takes no photos.
    pub(crate) fn find(model: &str, name: Option<&str>, weights: &Path) -> Result<Option<Self>> {
        let Some(entry) = nn_vision::find(model) else { return Ok(None) };
        let Some(usual) = entry.preprocessing() else { return Ok(None) };
        let row = match name {
            Some(name) => Some(named(model, name)?),
            None => Pretrained::identify(model, weights)?,
        };
        let preprocessing = row.map_or(usual, |row| row.preprocessing);
        Ok(Some(Self { entry, row, preprocessing }))
    }

    /// The network as its weights need it.
    pub(crate) fn build(&self, device: &Device) -> Result<Model> {
        let store = inference();
        let build = self.row.and_then(|row| row.build).unwrap_or(self.entry.build);
        let network = build(store.vb(DType::F32, device), self.labels().len())?;
        Ok(Model { layer: network, store, device: device.clone() })
    }

    /// Of the classes, in order.
    pub(crate) fn labels(&self) -> &'static [&'static str] {
        match self.row {
            Some(row) => row.labels,
            None if self.entry.num_classes == labels::CIFAR10.len() => &labels::CIFAR10,
            None => &labels::IMAGENET,
        }
    }

    /// What is done to pictures.
    pub(crate) fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// `[1, 3, H, W]`
    pub(crate) fn read(&self, path: &Path) -> Result<Tensor> {
        let read = || self.preprocessing.apply(&Picture::open(path, Channels::Rgb)?)?.unsqueeze(0);
        // The message alone: it names the file, and several are shown together.
        read().map_err(|e: candle_core::Error| failed(failure::without_backtrace(&e.to_string()).to_owned()))
    }

    /// Says, where that is a guess, how pictures are prepared.
    pub(crate) fn note(&self) {
        if self.row.is_none() {
            let Preprocessing { shorter_side, crop, normalise: Normalise { mean, deviation }, .. } =
                self.preprocessing;
            output::note(format_args!(
                "note: weights of no source in `cargo xtask list pretrained`; pictures are resized to {shorter_side} \
                 pixels, cropped to {crop}×{crop} and normalised by mean {mean:?} and deviation {deviation:?}"
            ));
        }
    }
}

fn named(model: &str, name: &str) -> Result<&'static Pretrained> {
    let known: Vec<&str> = Pretrained::of(model).map(|row| row.name).collect();
    if known.is_empty() {
        return Err(failed(format!("no trained weights of {model} are known"))).advise("leave --source out");
    }
    let row = Pretrained::of(model).find(|row| row.name == name);
    row.ok_or_else(|| failure::unknown(&format!("source of weights for {model}"), name, &known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_by_name_or_taken_as_usual() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let weights = dir.path().join("mine.safetensors");
        std::fs::write(&weights, "weights")?;
        let usual = Source::find("mobilenet_v2", None, &weights)?.expect("a network for photos");
        assert_eq!(usual.preprocessing.normalise, Normalise::IMAGENET);
        assert_eq!(usual.labels()[258], "Samoyed");
        let tensorflow = Source::find("mobilenet_v2", Some("mobilenet_v2_imagenet_dequantized"), &weights)?;
        assert_eq!(tensorflow.expect("a row").preprocessing.normalise, Normalise::HALF);
        assert_eq!(
            Source::find("nin_cifar", None, &weights)?.expect("a network for photos").labels()[9],
            "truck"
        );
        assert!(Source::find("lenet5", None, &weights)?.is_none());
        assert!(Source::find("mlp", None, &weights)?.is_none());
        let error = Source::find("resnet18", Some("resnet18-f37072f"), &weights).err().expect("no such row");
        let text = failure::report(&error);
        assert!(text.contains("did you mean `resnet18-f37072fd`?"), "{text}");
        let error = Source::find("nin", Some("nin"), &weights).err().expect("no rows");
        assert!(failure::report(&error).contains("--source"));
        Ok(())
    }
}
