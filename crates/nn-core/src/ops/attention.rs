//! Scaled dot-product attention: each query's mean of the values, weighted by how well it goes with their keys.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.1. Without the matrix of weights in memory, forward or backward: see
//! `cpu/attention.rs`.
//!
//! Why not Candle's: `ops::sdpa` has no CPU form and no gradient (docs/candle-gaps.md); put together from its operations,
//! attention writes its `T × S` matrix several times.
//!
//! Differs: a query that sees no key gives zeros and takes no gradient; PyTorch gives zeros or NaN, depending on the kernel
//! it picks.

mod multi_head;
mod packed;
mod portable;
#[cfg(test)]
mod tests;

use candle_core::{DType, Result, Shape, Tensor};

pub use self::multi_head::{MultiHead, multi_head_attention};
pub use self::packed::self_attention;
use self::portable::portable;
use super::kernel::{Kernel, Strided, View, apply3, detached, lend, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::attention as cpu;
use crate::{Ctx, Mode, ensure};

const NAME: &str = "scaled_dot_product_attention";

/// Which keys a query sees and how scores become weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attention<'a> {
    /// What a product of query and key is multiplied by; `1/√D` if `None`.
    pub scale: Option<f64>,
    /// Query `i` sees keys `0..=i` only, also where there are more keys than queries.
    pub causal: bool,
    /// `[B, S]` of `u8`: a key that is 0 is padding, which no query sees.
    pub keys: Option<&'a Tensor>,
    /// Broadcastable to `[B, N, T, S]`. Of `u8`: a query sees the keys that are not 0. Of the type of `q`: added to the
    /// scaled product, −∞ to hide a key; if it wants a gradient, the weights are held in memory.
    pub mask: Option<&'a Tensor>,
    /// The probability in [0, 1] of a weight to be dropped in training; the others are scaled up. Which are is decided
    /// by the seed, the step and the path of the context and the place of the weight.
    pub dropout: f64,
}

/// `y = softmax(scale · q kᵀ + mask) v`
///
/// `q [B, N, T, D]`, `k [B, M, S, D]`, `v [B, M, S, E]` → `[B, N, T, E]`, where each of the `M` heads of keys and values
/// serves `N / M` heads of queries that follow each other. Views of any strides are read where they are.
///
/// A query that sees no key gives zeros and takes no gradient.
///
/// # Errors
/// If `q`, `k` or `v` is not of rank 4, they do not agree in `B`, `D` or `S`, `M` does not divide `N`, `D` is 0, `keys` is
/// not `[B, S]` of `u8`, `mask` is not broadcastable to `[B, N, T, S]` or of another type than `u8` and that of `q`,
/// `dropout` is not in [0, 1], or the types of `q`, `k` and `v` differ or are not float types.
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    attention: Attention<'_>,
    ctx: &Ctx,
) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[q, k, v])? {
        let mask = match attention.mask {
            Some(mask) if mask.dtype() == half => Some(widen(mask)?),
            mask => mask.cloned(),
        };
        let attention = Attention { mask: mask.as_ref(), ..attention };
        return scaled_dot_product_attention(&widen(q)?, &widen(k)?, &widen(v)?, attention, ctx)?
            .to_dtype(half);
    }
    attention.check(q, k, v)?;
    let fits = on_cpu(&[q, k, v]) && !attention.mask.is_some_and(wants_gradient);
    if fits {
        apply3(Fused::new(q, k, v, attention, ctx)?, q, k, v)
    } else {
        portable(q, k, v, attention, ctx)
    }
}

impl Attention<'_> {
    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
        for (name, x) in [("q", q), ("k", k), ("v", v)] {
            ensure!(x.rank() == 4, "{NAME}: {name} must be of rank 4, got {:?}", x.dims());
        }
        let ((b, n, t, d), (kb, m, s, kd)) = (q.dims4()?, k.dims4()?);
        ensure!(
            (kb, kd) == (b, d) && v.dims()[..3] == [b, m, s],
            "{NAME}: q, k and v must be [B, N, T, D], [B, M, S, D] and [B, M, S, E], got {:?}, {:?} and {:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
        ensure!(
            m > 0 && n % m == 0,
            "{NAME}: the heads of k must divide those of q, got q {:?} and k {:?}",
            q.dims(),
            k.dims()
        );
        ensure!(d > 0, "{NAME}: queries must have numbers, got q {:?}", q.dims());
        ensure!(
            (0.0..=1.0).contains(&self.dropout),
            "{NAME}: dropout must be in [0, 1], got {}",
            self.dropout
        );
        if let Some(keys) = self.keys {
            ensure!(
                keys.dims() == [b, s] && keys.dtype() == DType::U8,
                "{NAME}: keys must be [{b}, {s}] of U8, got {:?} of {:?}",
                keys.dims(),
                keys.dtype()
            );
        }
        if let Some(mask) = self.mask {
            let fits = |(&own, &all): (&usize, &usize)| own == 1 || own == all;
            ensure!(
                mask.rank() <= 4 && mask.dims().iter().rev().zip([b, n, t, s].iter().rev()).all(fits),
                "{NAME}: mask must be broadcastable to {:?}, got {:?}",
                [b, n, t, s],
                mask.dims()
            );
            ensure!(
                mask.dtype() == DType::U8 || mask.dtype() == q.dtype(),
                "{NAME}: mask must be of U8 or {:?}, got {:?}",
                q.dtype(),
                mask.dtype()
            );
        }
        Ok(())
    }

    fn scale(&self, q: &Tensor) -> f64 {
        self.scale.unwrap_or_else(|| (q.dims()[3] as f64).powf(-0.5))
    }

    fn dropped(&self, ctx: &Ctx) -> Option<cpu::Dropped> {
        // Of all 2³² words the fraction `dropout` is below this.
        let limit = (self.dropout * 4_294_967_296.0) as u64;
        let scale = if self.dropout < 1.0 { 1.0 / (1.0 - self.dropout) } else { 1.0 };
        let trains = ctx.mode() == Mode::Train && limit > 0;
        trains.then(|| cpu::Dropped { random: ctx.random(), last: (limit - 1) as u32, scale })
    }
}

/// The op on a CPU.
#[derive(Clone)]
struct Fused {
    scale: f64,
    causal: bool,
    keys: Option<Tensor>,
    /// Of rank 4.
    mask: Option<Tensor>,
    dropped: Option<cpu::Dropped>,
    /// For each query the logarithm of the sum of its exponentials, `[B, N, T]`.
    log_sums: Saved<Tensor>,
}

impl Fused {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor, attention: Attention<'_>, ctx: &Ctx) -> Result<Self> {
        let of_rank_4 = |mask: &Tensor| {
            let dims = [&vec![1; 4 - mask.rank()], mask.dims()].concat();
            mask.detach().contiguous()?.reshape(dims)
        };
        Ok(Self {
            scale: attention.scale(q),
            causal: attention.causal,
            keys: attention.keys.map(Tensor::contiguous).transpose()?,
            mask: attention.mask.map(of_rank_4).transpose()?,
            dropped: attention.dropped(ctx),
            log_sums: Saved::for_gradients_of(&[q, k, v]),
        })
    }

    /// The factor of the products, and whether queries see only what is before them, if there is nothing else to say: no
    /// other mask, and nothing dropped.
    fn scale_and_causal(&self) -> Option<(f64, bool)> {
        let Self { scale, causal, keys, mask, dropped, .. } = self;
        (keys.is_none() && mask.is_none() && dropped.is_none()).then_some((*scale, *causal))
    }

    /// Lends `f` the call as the kernel sees it.
    fn lend<T: Element, R>(
        &self,
        [q, k, v]: [cpu::Heads<'_, T>; 3],
        f: impl FnOnce(&cpu::Attention<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let strides = self.mask.as_ref().map_or([0; 4], |mask| {
            let mut strides = four(mask.stride());
            strides
                .iter_mut()
                .zip(mask.dims())
                .filter(|(_, dim)| **dim == 1)
                .for_each(|(stride, _)| *stride = 0);
            strides
        });
        let (seen, added) = match &self.mask {
            Some(mask) if mask.dtype() == DType::U8 => (Some(mask), None),
            mask => (None, mask.as_ref()),
        };
        let Self { causal, scale, dropped, .. } = *self;
        lend(self.keys.as_ref(), |keys| {
            lend(seen, |seen| {
                lend(added, |added| {
                    let masks = cpu::Masks { causal, keys, seen, added, strides };
                    f(&cpu::Attention { q, k, v, scale, masks, dropped })
                })
            })
        })
    }
}

fn four(x: &[usize]) -> [usize; 4] {
    let Ok(four) = x.try_into() else { unreachable!("of rank 4: checked by scaled_dot_product_attention") };
    four
}

fn heads<'a, T: Element>(x: &Strided<'a, T>) -> cpu::Heads<'a, T> {
    cpu::Heads { data: x.data, dims: four(x.dims()), strides: four(x.strides()) }
}

impl Kernel<3> for Fused {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(&self, [q, k, v]: [Strided<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (y, log_sums) = self.lend([&q, &k, &v].map(heads), |attention| Ok(attention.forward()))?;
        let [b, n, t, _] = four(q.dims());
        if self.log_sums.is_wanted() {
            self.log_sums.keep(Tensor::from_vec(log_sums, (b, n, t), &candle_core::Device::Cpu)?);
        }
        Ok((y, (b, n, t, v.dims()[3]).into()))
    }

    fn backward(&self, xs: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let Some(log_sums) = self.log_sums.get() else {
            unreachable!("kept by the forward pass of this call")
        };
        let [q, k, v] = xs;
        let all = detached(&Gradient(self.clone()), [q, k, v, y, dy, log_sums])?;
        gradients(&all, xs)
    }
}

/// Of `q`, `k` and `v`, where they are wanted; they lie in `all` one after the other.
fn gradients(all: &Tensor, [q, k, v]: [&Tensor; 3]) -> Result<[Option<Tensor>; 3]> {
    let mut first = 0;
    let mut next = |x: &Tensor| {
        let from = first;
        first += x.elem_count();
        wants_gradient(x).then(|| all.narrow(0, from, x.elem_count())?.reshape(x.dims())).transpose()
    };
    Ok([next(q)?, next(k)?, next(v)?])
}

/// The gradients of `q`, `k` and `v`, one after the other.
#[derive(Clone)]
struct Gradient(Fused);

impl Kernel<6> for Gradient {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, _: [View<'_, T>; 6]) -> Result<(Vec<T>, Shape)> {
        unreachable!("the bridge asks for forward_strided")
    }

    fn forward_strided<T: Element>(
        &self,
        [q, k, v, y, dy, log_sums]: [Strided<'_, T>; 6],
    ) -> Result<(Vec<T>, Shape)> {
        let passed = cpu::Passed { y: heads(&y), dy: heads(&dy), log_sums: log_sums.data };
        let all = self.0.lend([&q, &k, &v].map(heads), |attention| Ok(attention.backward(&passed)))?;
        let len = all.len();
        Ok((all, len.into()))
    }
}
