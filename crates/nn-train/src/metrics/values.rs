//! How far numbers are from what they should be.

use std::ops::AddAssign;

use candle_core::{DType, Result, Tensor};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

/// Sums over foretold values, of which the usual errors are made; the same as scikit-learn's over all values in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueErrors {
    count: u64,
    /// `Σ |ŷ − y|`
    absolute: f64,
    /// `Σ (ŷ − y)²`
    squared: f64,
    /// `Σ |ŷ − y| / |y|`
    relative: f64,
    /// Mean of `y`, and `Σ (y − mean)²`.
    mean: f64,
    spread: f64,
}

impl ValueErrors {
    /// Of `predicted` and `truth` of one shape, both in the unit the errors are to have.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn of(predicted: &Tensor, truth: &Tensor) -> Result<Self> {
        ensure!(
            predicted.dims() == truth.dims(),
            "ValueErrors: there must be a true value for each, got {:?} and {:?}",
            predicted.dims(),
            truth.dims()
        );
        let numbers = |t: &Tensor| t.detach().flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let mut errors = Self::default();
        for (predicted, truth) in numbers(predicted)?.into_iter().zip(numbers(truth)?) {
            errors += Self::of_one(predicted, truth);
        }
        Ok(errors)
    }

    /// Of one value.
    pub fn of_one(predicted: f64, truth: f64) -> Self {
        let absolute = (predicted - truth).abs();
        // scikit-learn's least denominator.
        let relative = absolute / truth.abs().max(f64::EPSILON);
        Self { count: 1, absolute, squared: absolute * absolute, relative, mean: truth, spread: 0.0 }
    }

    fn mean_of(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }

    /// `Σ |ŷ − y| / n`
    pub fn mae(&self) -> Option<f64> {
        self.mean_of(self.absolute)
    }

    /// `√(Σ (ŷ − y)² / n)`
    pub fn rmse(&self) -> Option<f64> {
        self.mean_of(self.squared).map(f64::sqrt)
    }

    /// `Σ |ŷ − y| / |y| / n`, a share; enormous where a true value is 0.
    pub fn mape(&self) -> Option<f64> {
        self.mean_of(self.relative)
    }

    /// `1 − Σ (ŷ − y)² / Σ (y − mean)²`. Of values that are all the same it is 1 if each is foretold, else 0; of fewer
    /// than two there is none.
    pub fn r2(&self) -> Option<f64> {
        (self.count > 1).then(|| match (self.spread > 0.0, self.squared > 0.0) {
            (true, _) => 1.0 - self.squared / self.spread,
            (false, true) => 0.0,
            (false, false) => 1.0,
        })
    }
}

impl AddAssign for ValueErrors {
    /// Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances", §2: the
    /// spread of both is that of each and of their means.
    fn add_assign(&mut self, other: Self) {
        let count = self.count + other.count;
        let share = other.count as f64 / count.max(1) as f64;
        let apart = other.mean - self.mean;
        self.spread += other.spread + apart * apart * self.count as f64 * share;
        self.mean += apart * share;
        self.count = count;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.relative += other.relative;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn errors_of_four_values() -> Result<()> {
        let predicted = Tensor::new(&[[2f32, 3.0], [5.0, 8.0]], &Device::Cpu)?;
        let truth = Tensor::new(&[[1f32, 3.0], [5.0, 10.0]], &Device::Cpu)?;
        let errors = ValueErrors::of(&predicted, &truth)?;
        // Errors 1, 0, 0, 2; squares of distances to the mean 4.75.
        let spread = 3.75f64.powi(2) + 1.75f64.powi(2) + 0.25f64.powi(2) + 5.25f64.powi(2);
        assert_eq!((errors.mae(), errors.rmse()), (Some(0.75), Some(1.25f64.sqrt())));
        assert!((errors.mape().expect("values") - 0.3).abs() < 1e-12);
        assert!((errors.r2().expect("values") - (1.0 - 5.0 / spread)).abs() < 1e-12);
        let error = ValueErrors::of(&predicted, &truth.flatten_all()?).expect_err("shapes").to_string();
        assert!(error.contains("got [2, 2] and [4]"), "{error}");
        Ok(())
    }

    #[test]
    fn of_nothing_or_a_constant() {
        let mut errors = ValueErrors::default();
        assert_eq!([errors.mae(), errors.rmse(), errors.mape(), errors.r2()], [None; 4]);
        errors += ValueErrors::of_one(3.0, 3.0);
        assert_eq!((errors.mae(), errors.r2()), (Some(0.0), None));
        errors += ValueErrors::of_one(3.0, 3.0);
        assert_eq!(errors.r2(), Some(1.0));
        errors += ValueErrors::of_one(4.0, 3.0);
        assert_eq!(errors.r2(), Some(0.0));
    }
}
