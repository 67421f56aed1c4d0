//! The names of other libraries: told by themselves when a file is read, given when one is written for them.

use candle_core::Result;
use nn_core::weights::{NameMap, WeightFile};

use crate::{likely, mobilenet_v1, mobilenet_v2, resnet, vgg, vit};

/// Families that have the names of a library here.
const SAME: &[(&str, &[&str])] = &[
    (
        "torchvision",
        &[
            "alexnet",
            "vgg",
            "googlenet",
            "inception_v3",
            "resnet",
            "wide_resnet",
            "resnext",
            "mobilenet_v2",
            "densenet",
            "vit_b",
            "vit_l",
            "fcn_resnet",
        ],
    ),
    ("timm", &["mobilenet_v1", "resnet", "wide_resnet", "resnext", "densenet"]),
];

fn maps() -> impl Iterator<Item = NameMap> {
    let mobilenets = mobilenet_v1::names().into_iter().chain(mobilenet_v2::names());
    vit::names().into_iter().chain(resnet::names()).chain(mobilenets).chain(vgg::names())
}

/// The libraries that [`foreign`] knows.
pub fn libraries() -> Vec<&'static str> {
    let mut names: Vec<&str> = SAME.iter().map(|(library, _)| *library).collect();
    names.extend(maps().map(|map| map.scheme()));
    names.sort_unstable();
    names.dedup();
    names
}

/// Gives the tensors of a file the names we have for them, if they have those of another library; tells of which.
/// A file under our own names stays as it is, as does one without tensors.
pub fn native(file: &mut WeightFile) -> Option<&'static str> {
    file.tensors().next()?;
    maps().find(|map| file.rename(map)).map(|map| map.scheme())
}

/// The way back: gives the tensors of a file under our names those of `library`, cut and shaped as it has them; tells
/// whether it has names for them.
///
/// # Errors
/// If a model cannot be built, to see whether the file is for it.
pub fn foreign(file: &mut WeightFile, library: &str) -> Result<bool> {
    if maps().filter(|map| map.scheme() == library).any(|map| file.rename_back(&map)) {
        return Ok(true);
    }
    let shapes = file.tensors().map(|(name, info)| (name, info.shape)).collect();
    let models = likely(&shapes)?;
    let same = SAME.iter().find(|(name, _)| *name == library).map_or(&[][..], |(_, families)| families);
    let is_same = |model: &str| same.iter().any(|family| model.starts_with(family));
    Ok(models.iter().any(|model| model.report.fits() && is_same(model.entry.name)))
}
