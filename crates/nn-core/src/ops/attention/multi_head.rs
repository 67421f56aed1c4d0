//! Attention of heads that lie side by side in each token, as projections give them: without a copy to take them apart.

use candle_core::{Result, Shape, Tensor};

use super::{Attention, Fused, gradients, scaled_dot_product_attention};
use crate::cpu::Element;
use crate::cpu::attention::{Heads, Passed};
use crate::cpu::strided::gather;
use crate::graph::Operation;
use crate::ops::kernel::{Kernel, Strided, View, apply3, detached, on_cpu, wants_gradient};
use crate::ops::saved::Saved;
use crate::ops::{flatten, reshape, transpose};
use crate::{Ctx, ensure};

const NAME: &str = "multi_head_attention";

/// Options of [`multi_head_attention`].
#[derive(Clone, Copy, Debug)]
pub struct MultiHead<'a> {
    /// How many heads share the numbers of a token.
    pub heads: usize,
    /// Which keys a query sees and how scores become weights.
    pub attention: Attention<'a>,
}

/// [`scaled_dot_product_attention`] of each head, where the heads of a token lie side by side.
///
/// `q [B, T, N · D]`, `k [B, S, N · D]`, `v [B, S, N · E]` → `[B, T, N · E]`
///
/// # Errors
/// If `q`, `k` or `v` is not of rank 3 or does not have `heads` equal parts, and those of [`scaled_dot_product_attention`].
pub fn multi_head_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: MultiHead<'_>,
    ctx: &Ctx,
) -> Result<Tensor> {
    let MultiHead { heads, attention } = options;
    for (name, x) in [("q", q), ("k", k), ("v", v)] {
        ensure!(
            x.rank() == 3 && heads > 0 && x.dims()[2].is_multiple_of(heads),
            "{NAME}: {name} must be of rank 3 and have {heads} heads in its last axis, got {:?}",
            x.dims()
        );
    }
    let fits = on_cpu(&[q, k, v]) && !attention.mask.is_some_and(wants_gradient);
    if !fits {
        let apart = |x: &Tensor| transpose(&reshape(x, apart(x, heads))?, 1, 2);
        let y = scaled_dot_product_attention(&apart(q)?, &apart(k)?, &apart(v)?, attention, ctx)?;
        return flatten(&transpose(&y, 1, 2)?, 2);
    }
    let views = [q, k, v].map(|x| x.detach().reshape(apart(x, heads))?.transpose(1, 2));
    let [vq, vk, vv] = views;
    let (vq, vk, vv) = (vq?, vk?, vv?);
    attention.check(&vq, &vk, &vv)?;
    let log_sums = Saved::for_gradients_of(&[q, k, v]);
    let fused = Fused { log_sums, ..Fused::new(&vq, &vk, &vv, attention, ctx)? };
    apply3(SideBySide { fused, heads }, q, k, v)
}

/// `[B, T, N, D]` of `[B, T, N · D]`.
pub(super) fn apart(x: &Tensor, heads: usize) -> (usize, usize, usize, usize) {
    let dims = x.dims();
    (dims[0], dims[1], heads, dims[2] / heads)
}

#[derive(Clone)]
struct SideBySide {
    fused: Fused,
    heads: usize,
}

impl SideBySide {
    /// `[B, N, T, D]` of `[B, T, N · D]`, where it lies.
    fn of<'a, T: Element>(&self, x: &Strided<'a, T>) -> Heads<'a, T> {
        let (&[batch, rows, width], &[outer, row, step]) = (x.dims(), x.strides()) else {
            unreachable!("checked by multi_head_attention")
        };
        let own = width / self.heads;
        Heads { data: x.data, dims: [batch, self.heads, rows, own], strides: [outer, own * step, row, step] }
    }

    /// `[B, N, T, D]`, as the kernel gives it, as `[B, T, N · D]`.
    fn joined<T: Element>(&self, x: &[T], [batch, rows, width]: [usize; 3]) -> Vec<T> {
        let own = width / self.heads;
        gather(x, &[batch, rows, self.heads, own], &[rows * width, own, rows * own, 1])
    }
}

fn three(x: &[usize]) -> [usize; 3] {
    let Ok(three) = x.try_into() else { unreachable!("of rank 3: checked by multi_head_attention") };
    three
}

impl Kernel<3> for SideBySide {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(&self, [q, k, v]: [Strided<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let heads = [&q, &k, &v].map(|x| self.of(x));
        let [b, n, t, _] = heads[0].dims;
        let (y, log_sums) = self.fused.lend(heads, |attention| Ok(attention.forward()))?;
        if self.fused.log_sums.is_wanted() {
            let log_sums = Tensor::from_vec(log_sums, (b, n, t), &candle_core::Device::Cpu)?;
            self.fused.log_sums.keep(log_sums);
        }
        let dims = [b, t, v.dims()[2]];
        Ok((self.joined(&y, dims), dims.as_slice().into()))
    }

    fn backward(&self, xs: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let Some(log_sums) = self.fused.log_sums.get() else {
            unreachable!("kept by the forward pass of this call")
        };
        let [q, k, v] = xs;
        let all = detached(&Gradient(self.clone()), [q, k, v, y, dy, log_sums])?;
        gradients(&all, xs)
    }

    fn operations(&self) -> Vec<Operation> {
        let words = self.fused.scale_and_causal().into_iter();
        words.map(|(scale, causal)| Operation::Attention { heads: self.heads, scale, causal }).collect()
    }
}

/// The gradients of `q`, `k` and `v`, one after the other.
#[derive(Clone)]
struct Gradient(SideBySide);

impl Kernel<6> for Gradient {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 6]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(
        &self,
        [q, k, v, y, dy, log_sums]: [Strided<'_, T>; 6],
    ) -> Result<(Vec<T>, Shape)> {
        let passed = Passed { y: self.0.of(&y), dy: self.0.of(&dy), log_sums: log_sums.data };
        let heads = [&q, &k, &v].map(|x| self.0.of(x));
        let apart = self.0.fused.lend(heads, |attention| Ok(attention.backward(&passed)))?;
        let mut all = Vec::with_capacity(apart.len());
        for x in [&q, &k, &v] {
            let dims = three(x.dims());
            let own = &apart[all.len()..][..dims.iter().product()];
            all.extend_from_slice(&self.0.joined(own, dims));
        }
        let len = all.len();
        Ok((all, len.into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    fn run(x: &[Tensor], heads: usize, attention: Attention<'_>) -> Result<Tensor> {
        multi_head_attention(&x[0], &x[1], &x[2], MultiHead { heads, attention }, &Ctx::train(7))
    }

    /// Taken apart by copies.
    fn oracle(x: &[Tensor], heads: usize, attention: Attention<'_>) -> Result<Tensor> {
        let apart = |x: &Tensor| x.reshape(apart(x, heads))?.transpose(1, 2)?.contiguous();
        let [q, k, v] = [&x[0], &x[1], &x[2]].map(apart);
        let y = scaled_dot_product_attention(&q?, &k?, &v?, attention, &Ctx::train(7))?;
        y.transpose(1, 2)?.flatten_from(2)
    }

    fn inputs([b, t, s]: [usize; 3], [d, e]: [usize; 2]) -> Result<[Tensor; 3]> {
        Ok([randn(1, (b, t, d))?, randn(2, (b, s, d))?, randn(3, (b, s, e))?])
    }

    #[test]
    fn heads_side_by_side_are_heads_apart() -> Result<()> {
        for (heads, sizes, widths) in [
            (1, [1, 1, 1], [1, 1]),
            (2, [3, 5, 4], [6, 4]),
            (3, [2, 70, 131], [48, 21]),
            (2, [2, 0, 3], [4, 4]),
        ] {
            let x = inputs(sizes, widths)?;
            let mask = randn(4, (heads, sizes[1], 1))?;
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
        let x = inputs([2, 3, 4], [4, 2])?;
        let causal = Attention { causal: true, ..Attention::default() };
        gradcheck(|x| run(x, 2, causal), &x)?;
        // One projection for all three, and time first.
        let parts = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            (0..3).map(|i| x[0].transpose(0, 1)?.narrow(2, 4 * i, 4)).collect()
        };
        gradcheck(|x| run(&parts(x)?, 2, causal), &[randn(5, (3, 2, 12))?])?;
        // A mask that is learnt takes the long way.
        let biased = |x: &[Tensor]| run(x, 2, Attention { mask: Some(&x[3]), ..causal });
        let [q, k, v] = inputs([1, 2, 3], [4, 4])?;
        gradcheck(biased, &[q, k, v, randn(6, (2, 2, 3))?])
    }

    #[test]
    fn types_and_mistakes_are_named() -> Result<()> {
        let x = inputs([2, 3, 4], [4, 2])?;
        assert_types("attention", |x| run(x, 2, Attention::default()), &x)?;
        for (at, shape, rule) in [
            (0, &[3, 4][..], "q must be of rank 3 and have 2 heads in its last axis, got [3, 4]"),
            (1, &[2, 4, 5], "k must be of rank 3 and have 2 heads"),
            (2, &[2, 5, 2], "q, k and v must be [B, N, T, D]"),
        ] {
            let mut x = x.clone();
            x[at] = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
            let error = run(&x, 2, Attention::default()).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        let error = run(&x, 0, Attention::default()).expect_err("no heads").to_string();
        assert!(error.contains("have 0 heads"), "{error}");
        Ok(())
    }
}
