//! Left and right exchanged.
//!
//! Source: Krizhevsky, Sutskever & Hinton 2012, section 4.1.

use candle_core::Result;
use nn_core::Random;
use serde::{Deserialize, Serialize};

use super::probability;
use crate::data::Example;

/// Mirrored with a probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HorizontalFlip {
    /// In [0, 1].
    pub probability: f64,
}

impl Default for HorizontalFlip {
    /// One in two.
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl HorizontalFlip {
    /// # Errors
    /// If the probability is not in [0, 1].
    pub fn check(&self) -> Result<()> {
        probability("HorizontalFlip", self.probability)
    }

    /// The example or its mirror image, as `random` has it.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&self, example: Example, random: Random) -> Result<Example> {
        if random.draws().unit() >= self.probability {
            return Ok(example);
        }
        example.moved(|image| Ok(image.mirrored()), |mask, _| Ok(mask.mirrored()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::masked;

    #[test]
    fn a_share_is_mirrored() -> Result<()> {
        let example = masked([2, 3]);
        let turned = |probability: f64| {
            let flip = HorizontalFlip { probability };
            let flipped = (0..1000).map(|n| flip.apply(example.clone(), Random::new(0).nth(n)));
            flipped.filter(|e| e.as_ref().is_ok_and(|e| e.image.pixels() == [2, 1, 0, 5, 4, 3])).count()
        };
        assert_eq!((turned(0.0), turned(1.0)), (0, 1000));
        assert!((200..300).contains(&turned(0.25)));
        Ok(())
    }
}
