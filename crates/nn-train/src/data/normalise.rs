//! How intensities become a network's inputs.

use candle_core::Result;
use nn_core::ensure;
use serde::{Deserialize, Serialize};

/// What becomes of one channel's intensities: `x = (v / 255 − mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Mean of the training images, on the scale where black is 0 and white 1.
    pub mean: f32,
    /// Standard deviation of the training images, on the same scale.
    pub std: f32,
}

/// Of red, green and blue, by the photos of ImageNet: what most pretrained networks expect.
pub const IMAGENET: [Normalise; 3] = [
    Normalise { mean: 0.485, std: 0.229 },
    Normalise { mean: 0.456, std: 0.224 },
    Normalise { mean: 0.406, std: 0.225 },
];

impl Normalise {
    /// The input that stands for the intensity `v`; the same bits as torchvision's `ToTensor` and `Normalize`.
    pub fn apply(self, v: u8) -> f32 {
        (f32::from(v) / 255.0 - self.mean) / self.std
    }
}

/// What each intensity becomes, channel by channel: looking it up is cheaper than computing it.
#[derive(Clone, Debug)]
pub(crate) struct Inputs(Vec<[f32; 256]>);

impl Inputs {
    /// # Errors
    /// If a mean or deviation is no number to work with.
    pub(crate) fn new(who: &str, normalise: &[Normalise]) -> Result<Self> {
        if let Some(bad) =
            normalise.iter().find(|n| !(n.mean.is_finite() && n.std.is_finite() && n.std > 0.0))
        {
            ensure!(false, "{who}: mean must be finite and std finite and positive, got {bad:?}");
        }
        Ok(Self(normalise.iter().map(|n| std::array::from_fn(|v| n.apply(v as u8))).collect()))
    }

    /// For how many channels.
    pub(crate) fn channels(&self) -> usize {
        self.0.len()
    }

    /// Appends the inputs of an image `[C, H, W]` with as many channels.
    pub(crate) fn extend(&self, inputs: &mut Vec<f32>, pixels: &[u8]) {
        let plane = (pixels.len() / self.channels().max(1)).max(1);
        for (plane, table) in pixels.chunks_exact(plane).zip(&self.0) {
            inputs.extend(plane.iter().map(|&v| table[usize::from(v)]));
        }
    }
}
