//! Examples that are in memory as two tensors.
//!
//! Source: `torch.utils.data.TensorDataset`.

use candle_core::{Result, Tensor};
use nn_core::{Random, ensure};

use super::{Batch, Dataset};

/// Inputs `[N, …]` and targets `[N, …]`, of which each row is an example.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// use nn_train::data::{Dataset, Loader, LoaderConfig, TensorSet};
///
/// let inputs = Tensor::rand(0f32, 1.0, (100, 3, 8, 8), &Device::Cpu)?;
/// let targets = Tensor::zeros(100, candle_core::DType::U32, &Device::Cpu)?;
/// let loader = Loader::new(TensorSet::new(inputs, targets)?.into(), LoaderConfig::default(), nn_core::Random::new(0))?;
/// assert_eq!(loader.data().len(), 100);
/// # candle_core::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorSet {
    inputs: Tensor,
    targets: Tensor,
}

impl TensorSet {
    /// # Errors
    /// If one of them is a single number, or they have not as many rows.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        ensure!(
            inputs.rank() > 0 && targets.rank() > 0 && inputs.dims()[0] == targets.dims()[0],
            "TensorSet: inputs and targets must have as many rows, got {:?} and {:?}",
            inputs.dims(),
            targets.dims()
        );
        Ok(Self { inputs: inputs.detach().contiguous()?, targets: targets.detach().contiguous()? })
    }
}

impl Dataset for TensorSet {
    type Batch = Batch;

    fn len(&self) -> usize {
        self.inputs.dims()[0]
    }

    fn batch(&self, indices: &[usize], _random: Random) -> Result<Batch> {
        let places: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
        let places = Tensor::new(places, self.inputs.device())?;
        let rows = |of: &Tensor| of.index_select(&places.to_device(of.device())?, 0);
        Ok(Batch { inputs: rows(&self.inputs)?, targets: rows(&self.targets)? })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rows_are_examples() -> Result<()> {
        let inputs = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu)?;
        let set = TensorSet::new(inputs.clone(), Tensor::new(&[7u32, 8, 9], &Device::Cpu)?)?;
        let batch = set.batch(&[2, 0, 2], Random::new(0))?;
        assert_eq!(batch.inputs.to_vec2::<f32>()?, [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        assert_eq!((set.len(), batch.targets.to_vec1::<u32>()?), (3, vec![9, 7, 9]));
        let two = Tensor::new(&[1u32, 2], &Device::Cpu)?;
        for targets in [two.clone(), two.get(0)?] {
            let error = TensorSet::new(inputs.clone(), targets).expect_err("not as many").to_string();
            assert!(error.contains("as many rows, got [3, 2] and"), "{error}");
        }
        Ok(())
    }
}
