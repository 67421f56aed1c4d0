//! Colours taken away.
//!
//! Source: torchvision's `RandomGrayscale`, with Pillow's lightness.

use candle_core::Result;
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::jitter::{each, luma};
use super::probability;
use crate::data::{Example, Image};

/// Three equal channels with a probability; a picture of one channel is grey already.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomGrey {
    /// In [0, 1].
    pub probability: f64,
}

impl Default for RandomGrey {
    /// One in ten.
    fn default() -> Self {
        Self { probability: 0.1 }
    }
}

impl RandomGrey {
    /// # Errors
    /// If the probability is not in [0, 1].
    pub fn check(&self) -> Result<()> {
        probability("RandomGrey", self.probability)
    }

    /// The example, grey if `random` has it so. A mask stays as it is.
    ///
    /// # Errors
    /// If the picture has neither one channel nor three.
    pub fn apply(&self, mut example: Example, random: Random) -> Result<Example> {
        if random.draws().unit() < self.probability {
            grey(&mut example.image)?;
        }
        Ok(example)
    }
}

/// Every channel becomes `0.299·r + 0.587·g + 0.114·b`.
///
/// # Errors
/// If the picture has neither one channel nor three.
pub fn grey(image: &mut Image) -> Result<()> {
    let [channels, ..] = image.size();
    ensure!(channels == 1 || channels == 3, "grey: a picture must have 1 or 3 channels, got {channels}");
    if channels == 1 {
        return Ok(());
    }
    each(image, |[r, g, b]| {
        let light = luma(*r, *g, *b);
        (*r, *g, *b) = (light, light, light);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;
    use crate::data::Target;

    #[test]
    fn three_channels_become_one_and_one_stays() -> Result<()> {
        let image = Image::new(vec![100, 0, 200, 10, 50, 255], [3, 1, 2])?;
        let example = Example { image, target: Target::Class(0) };
        let always = RandomGrey { probability: 1.0 };
        assert_eq!(
            always.apply(example.clone(), Random::new(0))?.image.pixels(),
            [153, 35, 153, 35, 153, 35]
        );
        assert_eq!(RandomGrey { probability: 0.0 }.apply(example.clone(), Random::new(0))?, example);
        assert_eq!(always.apply(masked([2, 2]), Random::new(0))?, masked([2, 2]));
        let error = grey(&mut Image::new(vec![0; 2], [2, 1, 1])?).expect_err("two channels").to_string();
        assert!(error.contains("1 or 3 channels, got 2"), "{error}");
        Ok(())
    }
}
