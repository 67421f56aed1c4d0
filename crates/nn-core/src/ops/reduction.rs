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
    /// Their sum over the size of the first axis, a scalar: the mean over a batch of what belongs to one example.
    BatchMean,
    /// All of them, in the shape of the targets.
    None,
}

impl Reduction {
    /// The loss from its terms, by Candle's operations.
    pub(super) fn of(self, terms: &Tensor) -> Result<Tensor> {
        self.of_weighted(terms, terms.elem_count() as f64)
    }

    /// [`Reduction::of`] where the mean is over `weight` instead of the number of terms.
    pub(super) fn of_weighted(self, terms: &Tensor, weight: f64) -> Result<Tensor> {
        match self {
            Self::None => Ok(terms.clone()),
            // Not `mean_all`: Candle's backward of it is a division by 0 for no terms.
            _ => terms.sum_all()?.affine(self.factor(weight, terms.dims()), 0.0),
        }
    }

    /// What the sum of terms of shape `dims` is multiplied by, and so is the gradient of each; the mean is over `weight`.
    pub(super) fn factor(self, weight: f64, dims: &[usize]) -> f64 {
        match self {
            Self::Mean => 1.0 / weight,
            Self::BatchMean => 1.0 / dims.first().map_or(1.0, |&batch| batch as f64),
            Self::Sum | Self::None => 1.0,
        }
    }
}

/// A kernel's output that is a single number.
pub(super) fn scalar<T: Element>(x: f64) -> (Vec<T>, Shape) {
    (vec![T::of(x)], ().into())
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
        assert_eq!(Reduction::BatchMean.of(&terms.reshape((1, 3))?)?.to_scalar::<f64>()?, 9.0);
        assert_eq!(Reduction::BatchMean.of(&terms.reshape((3, 1))?)?.to_scalar::<f64>()?, 3.0);
        assert_eq!(Reduction::Mean.of_weighted(&terms, 4.5)?.to_scalar::<f64>()?, 2.0);
        let none = terms.narrow(0, 0, 0)?;
        assert!(Reduction::Mean.of(&none)?.to_scalar::<f64>()?.is_nan());
        assert_eq!(Reduction::Sum.of(&none)?.to_scalar::<f64>()?, 0.0);
        Ok(())
    }
}
