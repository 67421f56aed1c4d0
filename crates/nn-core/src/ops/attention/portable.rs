//! Attention from differentiable Candle operations: other devices, masks with a gradient, and the kernel's oracle.

use candle_core::{DType, Result, Tensor};

use super::Attention;
use crate::Ctx;
use crate::cpu::attention as cpu;

pub(super) fn portable(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    attention: Attention<'_>,
    ctx: &Ctx,
) -> Result<Tensor> {
    let (b, n, t, _) = q.dims4()?;
    let s = k.dim(2)?;
    if q.elem_count() * k.elem_count() * v.elem_count() == 0 {
        return Tensor::zeros((b, n, t, v.dim(3)?), q.dtype(), q.device());
    }
    let [k, v] = [repeat(k, n)?, repeat(v, n)?];
    let q = (q.contiguous()? * attention.scale(q))?;
    let mut scores = q.matmul(&k.t()?)?; // [B, N, T, S]
    match attention.mask {
        Some(mask) if mask.dtype() == DType::U8 => scores = hide(&scores, mask)?,
        Some(mask) => scores = scores.broadcast_add(mask)?,
        None => {}
    }
    if attention.causal {
        let count = |n: usize| Tensor::arange(0u32, n as u32, q.device());
        scores = hide(&scores, &count(t)?.unsqueeze(1)?.broadcast_ge(&count(s)?)?)?;
    }
    if let Some(keys) = attention.keys {
        scores = hide(&scores, &keys.reshape((b, 1, 1, s))?)?;
    }
    drop_some(&softmax(&scores)?, attention.dropped(ctx))?.matmul(&v)
}

/// Heads of keys or values, each as often as heads of queries use it.
fn repeat(x: &Tensor, n: usize) -> Result<Tensor> {
    let (b, m, s, d) = x.dims4()?;
    x.unsqueeze(2)?.broadcast_as((b, m, n / m, s, d))?.contiguous()?.reshape((b, n, s, d))
}

/// Scores, −∞ where `seen` is 0.
fn hide(scores: &Tensor, seen: &Tensor) -> Result<Tensor> {
    let hidden = Tensor::new(f64::NEG_INFINITY, scores.device())?.to_dtype(scores.dtype())?;
    seen.broadcast_as(scores.shape())?.where_cond(scores, &hidden.broadcast_as(scores.shape())?)
}

/// Softmax over the keys, zeros where they are all hidden.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let top = scores.max_keepdim(3)?.detach();
    let top = top.eq(f64::NEG_INFINITY)?.where_cond(&top.zeros_like()?, &top)?;
    let e = scores.broadcast_sub(&top)?.exp()?;
    let total = e.sum_keepdim(3)?;
    let empty = total.eq(0f64)?.to_dtype(total.dtype())?;
    e.broadcast_div(&(total + empty)?)
}

/// Weights with some of them dropped.
fn drop_some(weights: &Tensor, dropped: Option<cpu::Dropped>) -> Result<Tensor> {
    let Some(dropped) = dropped else { return Ok(weights.clone()) };
    let (b, n, t, s) = weights.dims4()?;
    let factors: Vec<f64> = (0..b * n * t * s).map(|i| dropped.factor(i / s, i % s, s)).collect();
    let factors = Tensor::from_vec(factors, weights.shape(), weights.device())?;
    weights.mul(&factors.to_dtype(weights.dtype())?)
}
