//! The loss step by step from differentiable Candle operations: other devices, and the kernel's oracle.

use candle_core::{Result, Tensor};

use super::{Crf, CrfWeights};
use crate::ops::gather::one_hot;
use crate::ops::log_sum_exp;

pub(super) fn portable(crf: &Crf, emissions: &Tensor, weights: &CrfWeights) -> Result<Tensor> {
    let CrfWeights { transitions, start, end } = weights;
    let (batch, steps, classes) = emissions.dims3()?;
    let device = emissions.device();
    let mut ahead = emissions.narrow(1, 0, 1)?.squeeze(1)?.broadcast_add(start)?; // [B, C]
    for t in 1..steps {
        let all = log_sum_exp(&ahead.unsqueeze(2)?.broadcast_add(&transitions.unsqueeze(0)?)?, 1)?;
        let next = (all + emissions.narrow(1, t, 1)?.squeeze(1)?)?;
        let inside: Vec<u8> = crf.lengths.iter().map(|&length| u8::from(t < length)).collect();
        let inside = Tensor::from_vec(inside, (batch, 1), device)?.broadcast_as((batch, classes))?;
        ahead = inside.contiguous()?.where_cond(&next, &ahead)?;
    }
    let total = log_sum_exp(&ahead.broadcast_add(end)?, 1)?; // [B]
    crf.reduction.of(&(total - score(crf, emissions, weights)?)?)
}

/// Of each sequence's labels, `[B]`: sums of what they choose.
fn score(crf: &Crf, emissions: &Tensor, weights: &CrfWeights) -> Result<Tensor> {
    let (batch, steps, classes) = emissions.dims3()?;
    let (dtype, device) = (emissions.dtype(), emissions.device());
    let labels = Tensor::from_slice(&crf.labels, (batch, steps), device)?;
    let inside =
        crf.lengths.iter().flat_map(|&length| (0..steps).map(move |t| f64::from(u8::from(t < length))));
    let inside = Tensor::from_vec(inside.collect(), (batch, steps, 1), device)?.to_dtype(dtype)?;
    let chosen = one_hot(&labels, classes, dtype)?.broadcast_mul(&inside)?; // [B, T, C]
    let pairs = chosen.narrow(1, 0, steps - 1)?.transpose(1, 2)?.contiguous()?;
    let pairs = pairs.matmul(&chosen.narrow(1, 1, steps - 1)?.contiguous()?)?; // [B, C, C]
    let last = crf.lengths.iter().enumerate().map(|(b, &length)| crf.labels[b * steps + length - 1]);
    let last = one_hot(&Tensor::from_iter(last, device)?, classes, dtype)?; // [B, C]
    let first = chosen.narrow(1, 0, 1)?.squeeze(1)?;
    let transitions = pairs.broadcast_mul(&weights.transitions)?.sum(2)?.sum(1)?;
    let ends = (first.broadcast_mul(&weights.start)? + last.broadcast_mul(&weights.end)?)?.sum(1)?;
    chosen.mul(emissions)?.sum(2)?.sum(1)? + transitions + ends
}
