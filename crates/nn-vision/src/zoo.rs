//! The table of models: what there is, from which paper, and how to build it.

use candle_core::Result;
use candle_nn::VarBuilder;
use nn_core::Layer;

use crate::cnn::{CNN, Cnn, CnnConfig};
use crate::lenet::{LENET5, LENET5_RELU, LeNet5, LeNetConfig};

/// One model.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Who published it, and when.
    pub paper: &'static str,
    /// `[C, H, W]` of the images it was made for.
    pub input: [usize; 3],
    /// Classes it was made for.
    pub num_classes: usize,
    /// Trainable numbers with that many classes.
    pub parameters: usize,
    /// Builds it for a number of classes.
    pub build: fn(VarBuilder, usize) -> Result<Box<dyn Layer>>,
}

/// Every model of this crate.
pub const ZOO: &[Entry] = &[
    Entry {
        name: "lenet5",
        paper: "LeCun et al. 1998",
        input: [1, 28, 28],
        num_classes: 10,
        parameters: 61_706,
        build: |vb, num_classes| Ok(Box::new(LeNet5::new(&LeNetConfig { num_classes, ..LENET5 }, vb)?)),
    },
    Entry {
        name: "lenet5_relu",
        paper: "LeCun et al. 1998, with ReLU and max pooling",
        input: [1, 28, 28],
        num_classes: 10,
        parameters: 61_706,
        build: |vb, num_classes| Ok(Box::new(LeNet5::new(&LeNetConfig { num_classes, ..LENET5_RELU }, vb)?)),
    },
    Entry {
        name: "cnn",
        paper: "the tutorials' two-block network",
        input: [1, 28, 28],
        num_classes: 10,
        parameters: 28_938,
        build: |vb, num_classes| Ok(Box::new(Cnn::new(&CnnConfig { num_classes, ..CNN }, vb)?)),
    },
];

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    ZOO.iter().find(|entry| entry.name == name)
}
