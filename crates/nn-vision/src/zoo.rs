//! The table of models: what there is, from which paper, and how to build it.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer};

use crate::{
    Classifier, alexnet, cifar_resnet, cnn, densenet, googlenet, inception, lenet, mobilenet_v1,
    mobilenet_v2, nin, resnet, vgg, vit,
};

/// One model.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Who published it, and when.
    pub paper: &'static str,
    /// `[C, H, W]` of the images it was made for.
    pub input: [usize; 3],
    /// `[H, W]` of images small enough for a quick test and large enough to reach every parameter.
    pub least: [usize; 2],
    /// Classes it was made for.
    pub num_classes: usize,
    /// Trainable numbers with that many classes.
    pub parameters: usize,
    /// Builds it for a number of classes.
    pub build: fn(VarBuilder, usize) -> Result<Network>,
}

/// A model that was built.
pub enum Network {
    /// From an image to a logit a class.
    Classifier(Box<dyn Classifier>),
    /// Anything else.
    Other(Box<dyn Layer>),
}

impl<C: Classifier + 'static> From<C> for Network {
    fn from(classifier: C) -> Self {
        Self::Classifier(Box::new(classifier))
    }
}

impl Network {
    /// [`Classifier::all_logits`]; anything else has but one output.
    ///
    /// # Errors
    /// If the input does not suit the model.
    pub fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        match self {
            Self::Classifier(network) => network.all_logits(x, ctx),
            Self::Other(network) => Ok(vec![network.call(x, ctx)?]),
        }
    }

    fn layer(&self) -> &dyn Layer {
        match self {
            Self::Classifier(network) => network.as_ref(),
            Self::Other(network) => network.as_ref(),
        }
    }
}

impl Layer for Network {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.layer().call(x, ctx)
    }

    fn kind(&self) -> &'static str {
        self.layer().kind()
    }

    fn multiply_adds(&self, x: &Tensor, y: &Tensor) -> u64 {
        self.layer().multiply_adds(x, y)
    }
}

/// The rows of every family.
const FAMILIES: &[&[Entry]] = &[
    lenet::ZOO,
    cnn::ZOO,
    resnet::ZOO,
    cifar_resnet::ZOO,
    mobilenet_v1::ZOO,
    mobilenet_v2::ZOO,
    vgg::ZOO,
    alexnet::ZOO,
    nin::ZOO,
    densenet::ZOO,
    googlenet::ZOO,
    inception::ZOO,
    vit::ZOO,
];

/// Every model of this crate.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.name == name)
}
