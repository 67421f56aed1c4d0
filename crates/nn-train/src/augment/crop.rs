//! A window that slides over the padded picture.
//!
//! Source: He et al. 2015, arXiv:1512.03385, section 4.2 (CIFAR-10: padded by 4 pixels, cropped to 32×32).

use candle_core::Result;
use nn_core::Random;
use serde::{Deserialize, Serialize};

use crate::data::Example;

/// The picture moved by up to `padding` pixels in each direction; what comes in from beyond it is black, in a mask
/// "not known". torchvision's `RandomCrop(size, padding)` for pictures of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels.
    pub padding: u32,
}

impl Default for RandomCrop {
    /// Four, as for CIFAR-10.
    fn default() -> Self {
        Self { padding: 4 }
    }
}

impl RandomCrop {
    /// The example moved as `random` has it.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&self, example: Example, random: Random) -> Result<Example> {
        let [_, height, width] = example.image.size();
        let mut draws = random.draws();
        let mut shift = || {
            let padding = i64::from(self.padding.min(1 << 30));
            i64::from(draws.below(2 * padding as u32 + 1)) - padding
        };
        let place = [shift(), shift()];
        example.moved(
            |image| Ok(image.window(place, [height, width], 0)),
            |mask, ignore| Ok(mask.window(place, [height, width], ignore)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    #[test]
    fn every_place_within_the_padding_is_met() -> Result<()> {
        let example = masked([3, 3]);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..200 {
            let moved = RandomCrop { padding: 1 }.apply(example.clone(), Random::new(0).nth(n))?;
            assert_eq!(moved.image.size(), [1, 3, 3]);
            seen.insert(moved.image.pixels().to_vec());
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![4, 5, 0, 7, 8, 0, 0, 0, 0]) && seen.contains(example.image.pixels()));
        assert_eq!(RandomCrop { padding: 0 }.apply(example.clone(), Random::new(0))?, example);
        Ok(())
    }
}
