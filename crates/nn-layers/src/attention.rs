//! Attention of a sequence to itself, in several heads.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{self, Attention, scaled_dot_product_attention};
use nn_core::{Ctx, Layer, Through, ensure};

use crate::init::{Bias, xavier_uniform};
use crate::linear::Linear;

/// Every token gets a mean of all tokens' values, weighted by how well its query goes with their keys; in `N` heads side
/// by side, each with `D / N` numbers a token.
///
/// Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
///
/// Parameters, as in PyTorch's `nn.MultiheadAttention`: `in_proj_weight [3 · D, D]` and `in_proj_bias [3 · D]`, for queries,
/// keys and values in this order, the weight uniform in `±√(6 / 4D)` at the start, the bias 0; `out_proj.weight [D, D]` and
/// `out_proj.bias [D]`, which starts at 0.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    in_weight: Tensor,
    in_bias: Tensor,
    out: Linear,
    heads: usize,
    dropout: f64,
}

impl MultiHeadAttention {
    /// For tokens of `width` numbers. Units: `dropout` is the probability in [0, 1] of dropping a weight in training.
    ///
    /// # Errors
    /// If `heads` does not divide `width`, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(width: usize, heads: usize, dropout: f64, vb: VarBuilder) -> Result<Self> {
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "MultiHeadAttention: heads must divide the width, got {heads} heads and a width of {width}"
        );
        ensure!(
            (0.0..=1.0).contains(&dropout),
            "MultiHeadAttention: dropout must be in [0, 1], got {dropout}"
        );
        let init = xavier_uniform(width, 3 * width);
        Ok(Self {
            in_weight: vb.get_with_hints((3 * width, width), "in_proj_weight", init)?,
            in_bias: vb.get_with_hints(3 * width, "in_proj_bias", Init::Const(0.0))?,
            out: Linear::new(width, width, Bias::StartsAt(0.0), vb.pp("out_proj"))?,
            heads,
            dropout,
        })
    }
}

impl Layer for MultiHeadAttention {
    /// `[B, T, D]` → `[B, T, D]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let projected = ops::linear(x, &self.in_weight, Some(&self.in_bias))?; // [B, T, 3 · D]
        let split = ops::reshape(&projected, (batch, tokens, 3, self.heads, width / self.heads))?;
        let part = |i| ops::transpose(&ops::select(&split, 2, i)?, 1, 2); // [B, N, T, D / N]
        let attention = Attention { dropout: self.dropout, ..Attention::default() };
        let y = scaled_dot_product_attention(&part(0)?, &part(1)?, &part(2)?, attention, ctx)?;
        ops::flatten(&ops::transpose(&y, 1, 2)?, 2)?.through("out_proj", &self.out, ctx)
    }

    fn multiply_adds(&self, x: &Tensor, _y: &Tensor) -> u64 {
        let &[batch, tokens, width] = x.dims() else { return 0 };
        (batch * tokens * width * (3 * width + 2 * tokens)) as u64
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use nn_core::ParamStore;
    use nn_core::testing::{assert_close, gradcheck, randn};

    use super::*;

    fn layer(heads: usize) -> Result<(ParamStore, MultiHeadAttention)> {
        let store = ParamStore::new(3);
        let layer = MultiHeadAttention::new(6, heads, 0.0, store.vb(DType::F64, &Device::Cpu))?;
        Ok((store, layer))
    }

    /// Token by token and head by head, as the paper writes it.
    #[test]
    fn heads_are_attention_on_slices_of_the_width() -> Result<()> {
        let (store, layer) = layer(2)?;
        let x = randn(1, (2, 5, 6))?;
        let p = store.tensors();
        let rows = |i: usize| {
            let weight = p["in_proj_weight"].narrow(0, i, 3)?.t()?;
            x.broadcast_matmul(&weight)
        };
        let mut heads = Vec::new();
        for head in 0..2 {
            let (q, k, v) = (rows(3 * head)?, rows(6 + 3 * head)?, rows(12 + 3 * head)?); // [B, T, 3]
            let scores = (q.matmul(&k.t()?)? / 3f64.sqrt())?;
            heads.push(ops::softmax(&scores, 2)?.matmul(&v)?);
        }
        let expected = Tensor::cat(&heads, 2)?.broadcast_matmul(&p["out_proj.weight"].t()?)?;
        assert_close(&layer.call(&x, &Ctx::eval())?, &expected, 1e-12, 1e-12)
    }

    #[test]
    fn the_gradient_is_right() -> Result<()> {
        let (_, layer) = layer(3)?;
        gradcheck(|x| layer.call(&x[0], &Ctx::eval()), &[randn(2, (1, 4, 6))?])
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused() {
        let message = layer(4).expect_err("6 is no multiple of 4").to_string();
        assert!(message.contains("4 heads and a width of 6"), "{message}");
    }
}
