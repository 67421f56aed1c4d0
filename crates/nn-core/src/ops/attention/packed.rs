//! Attention of tokens to each other, whose queries, keys and values come from one projection: nothing is taken apart.

use candle_core::{Result, Shape, Tensor};

use super::multi_head::{apart, multi_head_attention};
use super::{Fused, MultiHead};
use crate::cpu::Element;
use crate::cpu::attention::{Heads, Passed};
use crate::cpu::strided::gather;
use crate::graph::Operation;
use crate::ops::kernel::{Kernel, Strided, View, apply1, detached, on_cpu, wants_gradient};
use crate::ops::narrow;
use crate::ops::saved::Saved;
use crate::{Ctx, ensure};

const NAME: &str = "self_attention";

/// [`multi_head_attention`] of tokens whose queries, keys and values lie side by side, in this order, as one product with
/// PyTorch's `in_proj_weight` gives them.
///
/// `x [B, T, 3 · N · D]` → `[B, T, N · D]`
///
/// # Errors
/// If `x` is not of rank 3 or does not have three times `heads` equal parts, and those of [`multi_head_attention`].
pub fn self_attention(x: &Tensor, options: MultiHead<'_>, ctx: &Ctx) -> Result<Tensor> {
    let MultiHead { heads, attention } = options;
    ensure!(
        x.rank() == 3 && heads > 0 && x.dims()[2].is_multiple_of(3 * heads),
        "{NAME}: x must be of rank 3 and have 3 · {heads} parts in its last axis, got {:?}",
        x.dims()
    );
    let width = x.dims()[2] / 3;
    let fits = on_cpu(&[x]) && !attention.mask.is_some_and(wants_gradient);
    if !fits {
        let part = |i: usize| narrow(x, 2, i * width, width);
        return multi_head_attention(&part(0)?, &part(1)?, &part(2)?, options, ctx);
    }
    let alone = x.detach();
    let view = |i: usize| {
        let part = alone.narrow(2, i * width, width)?;
        part.reshape(apart(&part, heads))?.transpose(1, 2)
    };
    let (q, k, v) = (view(0)?, view(1)?, view(2)?);
    attention.check(&q, &k, &v)?;
    let fused = Fused { log_sums: Saved::for_gradients_of(&[x]), ..Fused::new(&q, &k, &v, attention, ctx)? };
    apply1(Packed { fused, heads }, x)
}

#[derive(Clone)]
struct Packed {
    fused: Fused,
    heads: usize,
}

impl Packed {
    /// `[B, N, T, D]` of each of the parts of `[B, T, parts · N · D]`, where it lies.
    fn of<'a, T: Element, const PARTS: usize>(&self, x: &Strided<'a, T>) -> [Heads<'a, T>; PARTS] {
        let (&[batch, rows, width], &[outer, row, step]) = (x.dims(), x.strides()) else {
            unreachable!("checked by self_attention")
        };
        let (width, own) = (width / PARTS, width / PARTS / self.heads);
        let (dims, strides) = ([batch, self.heads, rows, own], [outer, own * step, row, step]);
        // Of a tensor without numbers, a part does not begin anywhere.
        std::array::from_fn(|i| Heads { data: x.data.get(i * width * step..).unwrap_or(&[]), dims, strides })
    }
}

impl Kernel<1> for Packed {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(&self, [x]: [Strided<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let parts = self.of(&x);
        let [b, n, t, d] = parts[0].dims;
        let (y, log_sums) = self.fused.lend(parts, |attention| Ok(attention.forward()))?;
        if self.fused.log_sums.is_wanted() {
            let log_sums = Tensor::from_vec(log_sums, (b, n, t), &candle_core::Device::Cpu)?;
            self.fused.log_sums.keep(log_sums);
        }
        let y = gather(&y, &[b, t, n, d], &[n * t * d, d, t * d, 1]);
        Ok((y, (b, t, n * d).into()))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let Some(log_sums) = self.fused.log_sums.get() else {
            unreachable!("kept by the forward pass of this call")
        };
        Ok([Some(detached(&Gradient(self.clone()), [x, y, dy, log_sums])?)])
    }

    fn operations(&self) -> Vec<Operation> {
        let words = self.fused.scale_and_causal().into_iter();
        words.map(|(scale, causal)| Operation::SelfAttention { heads: self.heads, scale, causal }).collect()
    }
}

/// The gradient of `x`.
#[derive(Clone)]
struct Gradient(Packed);

impl Kernel<4> for Gradient {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 4]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(
        &self,
        [x, y, dy, log_sums]: [Strided<'_, T>; 4],
    ) -> Result<(Vec<T>, Shape)> {
        let Self(packed) = self;
        let ([y], [dy]) = (packed.of(&y), packed.of(&dy));
        let passed = Passed { y, dy, log_sums: log_sums.data };
        let parts = packed.of(&x);
        let [b, n, t, d] = parts[0].dims;
        // Those of queries, keys and values one after the other, each [B, N, T, D].
        let apart = packed.fused.lend(parts, |attention| Ok(attention.backward(&passed)))?;
        let dx = gather(&apart, &[b, t, 3, n, d], &[n * t * d, d, b * n * t * d, t * d, 1]);
        Ok((dx, x.dims().into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::Attention;
    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    fn run(x: &[Tensor], heads: usize, attention: Attention<'_>) -> Result<Tensor> {
        self_attention(&x[0], MultiHead { heads, attention }, &Ctx::train(7))
    }

    /// Taken apart.
    fn oracle(x: &[Tensor], heads: usize, attention: Attention<'_>) -> Result<Tensor> {
        let width = x[0].dim(2)? / 3;
        let part = |i: usize| x[0].narrow(2, i * width, width)?.contiguous();
        multi_head_attention(&part(0)?, &part(1)?, &part(2)?, MultiHead { heads, attention }, &Ctx::train(7))
    }

    #[test]
    fn one_projection_is_three() -> Result<()> {
        for (heads, dims) in
            [(1, [1, 1, 3]), (2, [3, 5, 12]), (3, [2, 70, 72]), (2, [2, 0, 12]), (2, [0, 3, 12])]
        {
            let x = [randn(1, &dims[..])?];
            let mask = randn(4, (heads, dims[1], 1))?;
            let plain = Attention::default();
            for attention in [
                plain,
                Attention { causal: true, dropout: 0.3, ..plain },
                Attention { mask: Some(&mask), scale: Some(0.5), ..plain },
            ] {
                assert_same(|x| run(x, heads, attention), |x| oracle(x, heads, attention), &x, 1e-11)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check_and_views_are_read_where_they_are() -> Result<()> {
        let causal = Attention { causal: true, ..Attention::default() };
        gradcheck(|x| run(x, 2, causal), &[randn(1, (2, 3, 12))?])?;
        gradcheck(|x| run(&[x[0].transpose(0, 1)?.narrow(2, 1, 12)?], 2, causal), &[randn(2, (3, 2, 14))?])?;
        // A mask that is learnt takes the long way.
        let biased = |x: &[Tensor]| run(&x[..1], 2, Attention { mask: Some(&x[1]), ..causal });
        gradcheck(biased, &[randn(3, (1, 3, 12))?, randn(4, (2, 3, 3))?])
    }

    #[test]
    fn types_and_mistakes_are_named() -> Result<()> {
        let x = [randn(1, (2, 3, 12))?];
        assert_types("attention", |x| run(x, 2, Attention::default()), &x)?;
        for (shape, heads) in [(&[3, 12][..], 2), (&[2, 3, 8], 2), (&[2, 3, 12], 0), (&[2, 3, 12], 3)] {
            let x = [Tensor::zeros(shape, DType::F64, &Device::Cpu)?];
            let error = run(&x, heads, Attention::default()).expect_err("refused").to_string();
            let rule =
                format!("x must be of rank 3 and have 3 · {heads} parts in its last axis, got {shape:?}");
            assert!(error.contains(&rule), "{error}");
        }
        Ok(())
    }
}
