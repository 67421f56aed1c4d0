//! The gradients of several batches as those of one.

use candle_core::backprop::GradStore;
use candle_core::{Result, Var};

/// The mean of the gradients of batches, by the weight of each: over how much its loss is the mean.
#[derive(Default)]
pub(crate) struct Gradients {
    mean: Option<GradStore>,
    weight: f64,
}

impl Gradients {
    /// Takes in those of another batch. The first are kept as they are.
    pub(crate) fn add(
        &mut self,
        mut grads: GradStore,
        weight: f64,
        parameters: &[(String, Var)],
    ) -> Result<()> {
        self.weight += weight;
        let Some(mean) = &mut self.mean else {
            self.mean = Some(grads);
            return Ok(());
        };
        let share = if self.weight > 0.0 { weight / self.weight } else { 0.0 };
        for (_, var) in parameters {
            // A parameter that a batch does not use has a gradient of 0 there.
            let new = match (mean.remove(var), grads.remove(var)) {
                (Some(old), Some(new)) => ((old * (1.0 - share))? + (new * share)?)?,
                (Some(old), None) => (old * (1.0 - share))?,
                (None, Some(new)) => (new * share)?,
                (None, None) => continue,
            };
            mean.insert(var, new);
        }
        Ok(())
    }

    /// The mean; `None` if there was no batch.
    pub(crate) fn mean(self) -> Option<GradStore> {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn batches_count_by_their_weights_and_what_is_not_used_is_zero() -> Result<()> {
        let var = || Var::from_tensor(&Tensor::new(&[1f64, 2.0], &Device::Cpu)?);
        let (a, b) = (var()?, var()?);
        let named = [("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())];
        let mut gradients = Gradients::default();
        assert!(Gradients::default().mean().is_none());
        gradients.add((a.as_tensor() * 4.0)?.sum_all()?.backward()?, 3.0, &named)?;
        gradients.add(((a.as_tensor() * 8.0)? + b.as_tensor())?.sum_all()?.backward()?, 1.0, &named)?;
        let mean = gradients.mean().expect("two batches");
        assert_eq!(mean.get(&a).expect("a's").to_vec1::<f64>()?, [5.0, 5.0]);
        assert_eq!(mean.get(&b).expect("b's").to_vec1::<f64>()?, [0.25, 0.25]);
        Ok(())
    }
}
