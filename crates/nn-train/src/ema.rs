//! A running mean of the weights, which often does better than the weights it is the mean of.
//!
//! Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30(4); the exponential form as in
//! `torch.optim.swa_utils.get_ema_multi_avg_fn`.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use nn_core::{ParamStore, ensure};

use crate::optim::lerp;

/// The exponential moving average of parameters: `m ← m + (1 − decay) · (w − m)`, from the weights after the first step
/// on. Buffers, such as the statistics of batch norms, have no mean: they are the model's own.
///
/// [`FitConfig::ema`](crate::FitConfig) makes the loop keep one. In a loop of one's own:
///
/// ```
/// # use candle_core::{DType, Device};
/// # use nn_core::ParamStore;
/// use nn_train::Ema;
///
/// let store = ParamStore::new(0);
/// let layer = candle_nn::linear(4, 2, store.vb(DType::F32, &Device::Cpu))?;
/// let mut ema = Ema::new(&store, 0.999)?;
/// // after every step of the optimiser:
/// ema.update()?;
/// // to evaluate the mean, and go on with the weights:
/// ema.swap()?;
/// ema.swap()?;
/// # let _ = layer;
/// # candle_core::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    /// Name, weight, mean.
    tensors: Vec<(String, Var, Var)>,
    updates: u64,
}

impl Ema {
    /// Of the trainable parameters of `store`.
    ///
    /// # Errors
    /// If `decay` is not in [0, 1).
    pub fn new(store: &ParamStore, decay: f64) -> Result<Self> {
        ensure!((0.0..1.0).contains(&decay), "Ema: decay must be in [0, 1), got {decay}");
        let copy = |(name, var): (String, Var)| Ok((name, var.clone(), Var::from_tensor(&var.copy()?)?));
        let tensors = store.parameters().into_iter().map(copy).collect::<Result<_>>()?;
        Ok(Self { decay, tensors, updates: 0 })
    }

    /// Takes the weights in; call it after every step.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn update(&mut self) -> Result<()> {
        let (first, share) = (self.updates == 0, 1.0 - self.decay);
        self.updates += 1;
        if first {
            return self.tensors.iter().try_for_each(|(_, weight, mean)| mean.set(weight));
        }
        lerp(self.tensors.iter().map(|(_, weight, mean)| (mean, weight.as_tensor())), share)
    }

    /// Puts the means where the weights are and the weights where the means are: for an evaluation, and back.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn swap(&self) -> Result<()> {
        self.tensors.iter().try_for_each(|(_, weight, mean)| {
            let kept = weight.copy()?;
            weight.set(mean)?;
            mean.set(&kept)
        })
    }

    /// The means by the names of their parameters; the tensors themselves, not copies.
    pub fn means(&self) -> BTreeMap<String, Tensor> {
        self.tensors.iter().map(|(name, _, mean)| (name.clone(), mean.as_tensor().clone())).collect()
    }

    /// Takes over what [`Ema::means`] gave out after so many updates.
    ///
    /// # Errors
    /// If names or shapes are not exactly these; it is then left as it was.
    pub fn set(&mut self, means: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        for (name, _, mean) in &self.tensors {
            let Some(theirs) = means.get(name) else { candle_core::bail!("Ema: there is no mean of {name}") };
            let (ours, theirs) = (mean.dims(), theirs.dims());
            ensure!(ours == theirs, "Ema: {name} is {ours:?}, got {theirs:?}");
        }
        let (own, got) = (self.tensors.len(), means.len());
        ensure!(own == got, "Ema: there are {own} parameters, got {got} means");
        for (name, _, mean) in &self.tensors {
            mean.set(&means[name].to_device(mean.device())?.to_dtype(mean.dtype())?)?;
        }
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn store() -> Result<ParamStore> {
        let store = ParamStore::new(1);
        store.vb(DType::F32, &Device::Cpu).get(2, "w")?;
        nn_core::store::buffer(&store.vb(DType::F32, &Device::Cpu), 1, "running", 3.0)?;
        Ok(store)
    }

    fn set(store: &ParamStore, values: [f32; 2]) -> Result<()> {
        store.parameters()[0].1.set(&Tensor::new(&values, &Device::Cpu)?)
    }

    fn weights(store: &ParamStore) -> Result<Vec<f32>> {
        store.parameters()[0].1.to_vec1()
    }

    /// `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(0.75)` over the same weights.
    #[test]
    fn means_follow_pytorch() -> Result<()> {
        let store = store()?;
        let mut ema = Ema::new(&store, 0.75)?;
        for (weights, mean) in
            [([1.0, -2.0], [1.0, -2.0]), ([2.0, 2.0], [1.25, -1.0]), ([-3.0, 0.5], [0.1875, -0.625])]
        {
            set(&store, weights)?;
            ema.update()?;
            assert_eq!(ema.means()["w"].to_vec1::<f32>()?, mean);
        }
        assert_eq!(ema.means().len(), 1);
        Ok(())
    }

    #[test]
    fn means_change_places_with_weights() -> Result<()> {
        let store = store()?;
        let mut ema = Ema::new(&store, 0.5)?;
        for values in [[1.0, 1.0], [3.0, 2.0]] {
            set(&store, values)?;
            ema.update()?;
        }
        ema.swap()?;
        assert_eq!(weights(&store)?, [2.0, 1.5]);
        ema.swap()?;
        assert_eq!((weights(&store)?, ema.means()["w"].to_vec1()?), (vec![3.0, 2.0], vec![2.0f32, 1.5]));
        Ok(())
    }

    #[test]
    fn what_is_taken_over_must_fit() -> Result<()> {
        let store = store()?;
        let mut ema = Ema::new(&store, 0.5)?;
        let tensor = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu);
        let means = |pairs: &[(&str, usize)]| -> Result<BTreeMap<String, Tensor>> {
            pairs.iter().map(|&(name, n)| Ok((name.to_owned(), tensor(n)?))).collect()
        };
        for (pairs, says) in [
            (&[][..], "no mean of w"),
            (&[("w", 3)], "w is [2], got [3]"),
            (&[("w", 2), ("x", 1)], "1 parameters, got 2"),
        ] {
            let error = ema.set(&means(pairs)?, 1).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        ema.set(&means(&[("w", 2)])?, 1)?;
        set(&store, [4.0, 4.0])?;
        ema.update()?;
        assert_eq!(ema.means()["w"].to_vec1::<f32>()?, [2.0, 2.0]);
        assert!(Ema::new(&store, 1.0).expect_err("no decay").to_string().contains("in [0, 1), got 1"));
        Ok(())
    }
}
