//! Attention of a sequence to itself, in several heads.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{self, Attention, MultiHead, multi_head_attention, self_attention};
use nn_core::{Ctx, Layer, Through, ensure};

use crate::init::{Bias, xavier_uniform};
use crate::linear::{Linear, LinearConfig};

/// Options of [`MultiHeadAttention`]; the defaults are PyTorch's. A dropout alone is one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiHeadAttentionConfig {
    /// The probability in [0, 1] of dropping a weight in training.
    pub dropout: f64,
    /// What `out_proj.weight` starts from; `None` is uniform in `±1/√D`.
    pub out_init: Option<Init>,
}

impl From<f64> for MultiHeadAttentionConfig {
    fn from(dropout: f64) -> Self {
        Self { dropout, ..Self::default() }
    }
}

/// Which tokens a token sees; all of them by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// Token `i` sees tokens `0..=i` alone.
    pub causal: bool,
    /// `[B, S]` of `u8`: what is 0 is padding, which nobody sees.
    pub keys: Option<&'a Tensor>,
    /// Broadcastable to `[B, N, T, S]`. Of `u8`: a token sees those that are not 0. Of floats: added to the scores.
    pub mask: Option<&'a Tensor>,
}

/// What tokens offer to those that see them: keys and values, `[B, S, D]`, of all heads side by side.
#[derive(Clone, Debug)]
pub struct KeyValues {
    keys: Tensor,
    values: Tensor,
}

impl KeyValues {
    /// How many tokens there are.
    ///
    /// # Errors
    /// Never: keys are of rank 3.
    pub fn tokens(&self) -> Result<usize> {
        self.keys.dim(1)
    }

    /// These tokens and then those of `more`.
    ///
    /// # Errors
    /// If batch, heads or widths differ.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        Ok(Self {
            keys: ops::concat(&[&self.keys, &more.keys], 1)?,
            values: ops::concat(&[&self.values, &more.values], 1)?,
        })
    }

    /// Those whose tensors are `f` of these: other sequences of the batch, without a graph.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { keys: f(&self.keys)?, values: f(&self.values)? })
    }
}

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

/// Which rows of the projection are whose.
#[derive(Clone, Copy)]
enum Part {
    Queries,
    Keys,
    Values,
}

impl MultiHeadAttention {
    /// For tokens of `width` numbers.
    ///
    /// # Errors
    /// If `heads` does not divide `width`, the dropout is no probability, or `vb` has the names with other shapes.
    pub fn new(
        width: usize,
        heads: usize,
        cfg: impl Into<MultiHeadAttentionConfig>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let MultiHeadAttentionConfig { dropout, out_init } = cfg.into();
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "MultiHeadAttention: heads must divide the width, got {heads} heads and a width of {width}"
        );
        ensure!(
            (0.0..=1.0).contains(&dropout),
            "MultiHeadAttention: dropout must be in [0, 1], got {dropout}"
        );
        let init = xavier_uniform(width, 3 * width);
        let out = LinearConfig { bias: Bias::StartsAt(0.0), init: out_init };
        Ok(Self {
            in_weight: vb.get_with_hints((3 * width, width), "in_proj_weight", init)?,
            in_bias: vb.get_with_hints(3 * width, "in_proj_bias", Init::Const(0.0))?,
            out: Linear::new(width, width, out, vb.pp("out_proj"))?,
            heads,
            dropout,
        })
    }

    /// Tokens that see each other as `masks` say: `[B, T, D]` → `[B, T, D]`.
    ///
    /// # Errors
    /// If `x` or a mask is of another shape.
    pub fn attend(&self, x: &Tensor, masks: Masks<'_>, ctx: &Ctx) -> Result<Tensor> {
        self.check(x)?;
        let x = ops::linear(x, &self.in_weight, Some(&self.in_bias))?; // [B, T, 3 · D]
        self_attention(&x, self.options(masks), ctx)?.through("out_proj", &self.out, ctx)
    }

    /// Tokens `x [B, T, D]` that see those of `memory` as `masks` say → `[B, T, D]`.
    ///
    /// # Errors
    /// If `x` or a mask is of another shape.
    pub fn attend_to(&self, x: &Tensor, memory: &KeyValues, masks: Masks<'_>, ctx: &Ctx) -> Result<Tensor> {
        let q = self.project(x, Part::Queries)?;
        let y = multi_head_attention(&q, &memory.keys, &memory.values, self.options(masks), ctx)?;
        y.through("out_proj", &self.out, ctx)
    }

    fn options<'a>(&self, Masks { causal, keys, mask }: Masks<'a>) -> MultiHead<'a> {
        let attention = Attention { causal, keys, mask, dropout: self.dropout, scale: None };
        MultiHead { heads: self.heads, attention }
    }

    /// What `memory [B, S, D]` offers: once, for all who see it.
    ///
    /// # Errors
    /// If it is of another shape.
    pub fn key_values(&self, memory: &Tensor) -> Result<KeyValues> {
        Ok(KeyValues { keys: self.project(memory, Part::Keys)?, values: self.project(memory, Part::Values)? })
    }

    /// [`MultiHeadAttention::attend`], causal, for tokens `x [B, T, D]` that follow those in `past` → `[B, T, D]`; they are
    /// in `past` after it.
    ///
    /// # Errors
    /// If `x` is of another shape.
    pub fn continue_after(&self, x: &Tensor, past: &mut Option<KeyValues>, ctx: &Ctx) -> Result<Tensor> {
        let new = self.key_values(x)?;
        let (seen, before) = match past.take() {
            None => (new, 0),
            Some(past) => (past.followed_by(&new)?, past.tokens()?),
        };
        let (_, tokens, _) = x.dims3()?;
        let order = (0..tokens).flat_map(|t| (0..before + tokens).map(move |s| u8::from(s <= before + t)));
        let mask = match (before, tokens) {
            (0, _) | (_, 1) => None,
            _ => Some(Tensor::from_vec(order.collect(), (tokens, before + tokens), x.device())?),
        };
        let masks = Masks { causal: before == 0, mask: mask.as_ref(), ..Masks::default() };
        let y = self.attend_to(x, &seen, masks, ctx)?;
        *past = Some(seen);
        Ok(y)
    }

    /// One of the three projections of `x [B, T, D]`.
    fn project(&self, x: &Tensor, part: Part) -> Result<Tensor> {
        let width = self.check(x)?;
        let rows = |x: &Tensor| ops::narrow(x, 0, part as usize * width, width);
        ops::linear(x, &rows(&self.in_weight)?, Some(&rows(&self.in_bias)?))
    }

    /// The width of tokens, which `x` must have.
    fn check(&self, x: &Tensor) -> Result<usize> {
        let (_, width) = self.in_weight.dims2()?;
        ensure!(
            x.rank() == 3 && x.dims()[2] == width,
            "MultiHeadAttention: tokens must be [B, T, {width}], got {:?}",
            x.dims()
        );
        Ok(width)
    }
}

impl Layer for MultiHeadAttention {
    /// `[B, T, D]` → `[B, T, D]`; everyone sees everyone.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.attend(x, Masks::default(), ctx)
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

    /// Tokens a few at a time, and what they see given apart, are the whole with a causal mask.
    #[test]
    fn the_past_and_a_memory_are_as_good_as_the_tokens() -> Result<()> {
        let (_, layer) = layer(2)?;
        let (x, ctx) = (randn(3, (2, 6, 6))?, Ctx::eval());
        let whole = layer.attend(&x, Masks { causal: true, ..Masks::default() }, &ctx)?;
        let mut past = None;
        for (start, len) in [(0, 2), (2, 1), (3, 3)] {
            let y = layer.continue_after(&x.narrow(1, start, len)?, &mut past, &ctx)?;
            assert_close(&y, &whole.narrow(1, start, len)?, 1e-12, 1e-12)?;
        }
        assert_eq!(past.map(|past| past.tokens()).transpose()?, Some(6));
        let memory = layer.key_values(&x)?;
        let y = layer.attend_to(&x.narrow(1, 2, 3)?, &memory, Masks::default(), &ctx)?;
        assert_close(&y, &layer.call(&x, &ctx)?.narrow(1, 2, 3)?, 1e-12, 1e-12)?;
        let keys = Tensor::new(&[[1u8, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]], &Device::Cpu)?;
        let padded = layer.attend(&x, Masks { keys: Some(&keys), ..Masks::default() }, &ctx)?;
        let alone = layer.call(&x.narrow(0, 0, 1)?.narrow(1, 0, 3)?, &ctx)?;
        assert_close(&padded.narrow(0, 0, 1)?.narrow(1, 0, 3)?, &alone, 1e-12, 1e-12)
    }

    #[test]
    fn tokens_of_another_width_are_refused() -> Result<()> {
        let (_, layer) = layer(2)?;
        for shape in [&[2, 6][..], &[1, 2, 5]] {
            let x = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
            let error = layer.call(&x, &Ctx::eval()).expect_err("another shape").to_string();
            assert!(error.contains("tokens must be [B, T, 6]"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused() {
        let message = layer(4).expect_err("6 is no multiple of 4").to_string();
        assert!(message.contains("4 heads and a width of 6"), "{message}");
    }
}
