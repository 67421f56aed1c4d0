//! A table of vectors as a layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ensure, ops};

use crate::init::normal;

/// The vector of each number; see [`ops::embedding`].
///
/// Parameter: `weight [V, D]`, standard normal at the start.
/// Differs from PyTorch's: the row of padding starts like the others; neither trains it.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
    padding: Option<usize>,
}

impl Embedding {
    /// For numbers below `count`, each a vector of `width` numbers; that of `padding` is not trained.
    ///
    /// # Errors
    /// If `padding` is not below `count`, or `vb` has the name with another shape.
    pub fn new(count: usize, width: usize, padding: Option<usize>, vb: VarBuilder) -> Result<Self> {
        ensure!(
            padding.is_none_or(|padding| padding < count),
            "Embedding: padding must be one of the {count} numbers, got {padding:?}"
        );
        Ok(Self { weight: vb.get_with_hints((count, width), "weight", normal(1.0))?, padding })
    }

    /// `[V, D]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl Layer for Embedding {
    /// Any shape, of integers → `[…, D]`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        ops::embedding(x, &self.weight, self.padding)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use nn_core::ParamStore;

    use super::*;

    #[test]
    fn numbers_become_rows_and_mistakes_are_named() -> Result<()> {
        let store = ParamStore::new(0);
        let vb = store.vb(DType::F32, &Device::Cpu);
        let layer = Embedding::new(5, 3, Some(0), vb.clone())?;
        let y = layer.call(&Tensor::new(&[[1u32, 4]], &Device::Cpu)?, &Ctx::eval())?;
        assert_eq!(y.get(0)?.get(1)?.to_vec1::<f32>()?, layer.weight().get(4)?.to_vec1::<f32>()?);
        let error = layer.call(&Tensor::new(&[[1u32, 5]], &Device::Cpu)?, &Ctx::eval()).expect_err("of five");
        assert!(error.to_string().contains("0..5, got 5 at [0, 1]"), "{error}");
        let error = Embedding::new(5, 3, Some(5), vb).expect_err("of five").to_string();
        assert!(error.contains("one of the 5 numbers, got Some(5)"), "{error}");
        Ok(())
    }
}
