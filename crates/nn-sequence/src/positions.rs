//! Where a token is, added to what it is.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, §3.5, for sines and cosines; Gehring et al. 2017, arXiv:1705.03122, §3.1, for
//! learned vectors.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, ensure, ops};
use nn_layers::normal;

/// What tells positions apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// `sin(t / 10000^(2i/D))` at the even places `2i` and the cosine of the same at the odd ones.
    #[default]
    Sinusoidal,
    /// A vector each that is learned: parameter `weight [longest, D]`, normal with deviation 0.02 at the start.
    Learned,
}

/// `x + positions`
#[derive(Clone, Debug)]
pub struct PositionalEncoding {
    /// `[longest, D]`
    table: Tensor,
}

impl PositionalEncoding {
    /// For tokens of `width` numbers in sequences of at most `longest`.
    ///
    /// # Errors
    /// If `vb` has the name with another shape.
    pub fn new(longest: usize, width: usize, positions: Positions, vb: VarBuilder) -> Result<Self> {
        let table = match positions {
            Positions::Learned => vb.get_with_hints((longest, width), "weight", normal(0.02))?,
            Positions::Sinusoidal => {
                let place = |i: usize| (i / 2 * 2) as f64 / width as f64;
                let number = |t: usize, i: usize| {
                    let angle = t as f64 * 10_000f64.powf(-place(i));
                    if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }
                };
                let numbers = (0..longest).flat_map(|t| (0..width).map(move |i| number(t, i))).collect();
                Tensor::from_vec(numbers, (longest, width), vb.device())?.to_dtype(vb.dtype())?
            }
        };
        Ok(Self { table })
    }

    /// Tokens `[B, T, D]` of which the first is at position `start` → `[B, T, D]`
    ///
    /// # Errors
    /// If they are of another shape, or go beyond the longest sequence.
    pub fn add(&self, x: &Tensor, start: usize) -> Result<Tensor> {
        let ((_, tokens, _), longest) = (x.dims3()?, self.table.dim(0)?);
        ensure!(
            start <= longest && tokens <= longest - start,
            "PositionalEncoding: there are positions for {longest} tokens, got {tokens} after {start}"
        );
        ops::add(x, &ops::narrow(&self.table, 0, start, tokens)?)
    }
}

impl Layer for PositionalEncoding {
    /// `[B, T, D]` → `[B, T, D]`
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        self.add(x, 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use nn_core::ParamStore;
    use nn_core::testing::{assert_close, randn};

    use super::*;

    #[test]
    fn sines_and_cosines_take_turns() -> Result<()> {
        let store = ParamStore::new(0);
        let layer = PositionalEncoding::new(3, 4, Positions::Sinusoidal, store.vb(DType::F64, &Device::Cpu))?;
        let y = layer.call(&Tensor::zeros((1, 3, 4), DType::F64, &Device::Cpu)?, &Ctx::eval())?;
        let row = |t: f64| [t.sin(), t.cos(), (t / 100.0).sin(), (t / 100.0).cos()];
        let expected = Tensor::new(&[[row(0.0), row(1.0), row(2.0)]], &Device::Cpu)?;
        assert_close(&y, &expected, 1e-14, 1e-14)?;
        assert!(store.tensors().is_empty());
        Ok(())
    }

    #[test]
    fn learned_positions_are_trained_from_where_they_begin() -> Result<()> {
        let store = ParamStore::new(0);
        let layer = PositionalEncoding::new(5, 2, Positions::Learned, store.vb(DType::F64, &Device::Cpu))?;
        let x = randn(1, (2, 3, 2))?;
        let y = layer.add(&x, 2)?;
        let (_, table) = store.parameters().swap_remove(0);
        assert_close(&y, &x.broadcast_add(&table.narrow(0, 2, 3)?)?, 0.0, 0.0)?;
        let grads = nn_core::backward(&y)?;
        let d = grads.get(&table).expect("trained").to_vec2::<f64>()?;
        assert_eq!(d, [[0.0; 2], [0.0; 2], [2.0; 2], [2.0; 2], [2.0; 2]]);
        let error = layer.add(&x, 3).expect_err("too long").to_string();
        assert!(error.contains("for 5 tokens, got 3 after 3"), "{error}");
        Ok(())
    }
}
