//! The table of models: what there is, from which paper, and how to build it.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer};

use crate::{
    Classifier, Segmenter, Weighted, alexnet, cat_cnn, cifar_resnet, cnn, densenet, fcn, fcn_resnet,
    googlenet, inception, lenet, mobilenet_v1, mobilenet_v2, nin, resnet, vgg, vit,
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
    /// Classes it was made for; 1 means one output, whose sigmoid tells the second of two classes from the first.
    pub num_classes: usize,
    /// Trainable numbers with that many classes.
    pub parameters: usize,
    /// Builds it for a number of classes.
    pub build: fn(VarBuilder<'static>, usize) -> Result<Network>,
}

/// A model that was built.
pub enum Network {
    /// From an image to a logit a class.
    Classifier(Box<dyn Classifier>),
    /// From an image to a score a class and pixel.
    Segmenter(Box<dyn Segmenter>),
    /// Anything else.
    Other(Box<dyn Layer>),
}

impl<C: Classifier + 'static> From<C> for Network {
    fn from(classifier: C) -> Self {
        Self::Classifier(Box::new(classifier))
    }
}

impl Network {
    pub(crate) fn segmenter(segmenter: impl Segmenter + 'static) -> Self {
        Self::Segmenter(Box::new(segmenter))
    }

    /// [`Classifier::all_logits`] or [`Segmenter::all_logits`]; anything else has but one output.
    ///
    /// # Errors
    /// If the input does not suit the model.
    pub fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        match self {
            Self::Classifier(network) => network.all_logits(x, ctx),
            Self::Segmenter(network) => network.all_logits(x, ctx),
            Self::Other(network) => Ok(vec![Weighted::main(network.call(x, ctx)?)]),
        }
    }

    fn layer(&self) -> &dyn Layer {
        match self {
            Self::Classifier(network) => network.as_ref(),
            Self::Segmenter(network) => network.as_ref(),
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

/// The rows of every family of classifiers.
const CLASSIFIERS: &[&[Entry]] = &[
    lenet::ZOO,
    cnn::ZOO,
    cat_cnn::ZOO,
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

/// The rows of every family of segmenters.
const SEGMENTERS: &[&[Entry]] = &[fcn::ZOO, fcn_resnet::ZOO];

/// Every model of this crate.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    classifiers().chain(segmenters())
}

/// Models that name what is in an image.
pub fn classifiers() -> impl Iterator<Item = &'static Entry> {
    CLASSIFIERS.iter().copied().flatten()
}

/// Models that name every pixel of an image.
pub fn segmenters() -> impl Iterator<Item = &'static Entry> {
    SEGMENTERS.iter().copied().flatten()
}

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.name == name)
}
