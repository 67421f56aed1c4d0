//! What a loss makes of its terms.

use candle_core::{Result, Shape, Tensor};

use crate::cpu::Element;

/// What a loss makes of its terms, one per element or label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, a scalar; NaN if there are none.
    #[default]
    Mean,
    /// Their sum, a scalar; 0 if there are none.
    Sum,
    /// All of them, in the shape of the targets.
    None,
}

impl Reduction {
    /// The loss from its terms, by Candle's operations.
    pub(super) fn of(self, terms: &Tensor) -> Result<Tensor> {
        match self {
            // Not `mean_all`: Candle's backward of it is a division by 0 for no terms.
            Self::Mean => terms.sum_all()?.affine(self.factor(terms.elem_count()), 0.0),
            Self::Sum => terms.sum_all(),
            Self::None => Ok(terms.clone()),
        }
    }

    /// By what the gradient of the loss is multiplied to give that of each of `count` terms.
    pub(super) fn factor(self, count: usize) -> f64 {
        match self {
            Self::Mean => 1.0 / count as f64,
            Self::Sum | Self::None => 1.0,
        }
    }

    /// The output of a kernel whose terms of shape `dims` sum to `total`.
    pub(super) fn scalar<T: Element>(self, total: f64, count: usize) -> (Vec<T>, Shape) {
        (vec![T::of(total * self.factor(count))], ().into())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn terms_become_their_mean_their_sum_or_stay() -> Result<()> {
        let terms = Tensor::new(&[1f64, 2.0, 6.0], &Device::Cpu)?;
        assert_eq!(Reduction::default().of(&terms)?.to_scalar::<f64>()?, 3.0);
        assert_eq!(Reduction::Sum.of(&terms)?.to_scalar::<f64>()?, 9.0);
        assert_eq!(Reduction::None.of(&terms)?.to_vec1::<f64>()?, [1.0, 2.0, 6.0]);
        let none = terms.narrow(0, 0, 0)?;
        assert!(Reduction::Mean.of(&none)?.to_scalar::<f64>()?.is_nan());
        assert_eq!(Reduction::Sum.of(&none)?.to_scalar::<f64>()?, 0.0);
        Ok(())
    }
}
