//! Additive attention: each query's mean of the values, weighted by what a small network makes of it and their keys.
//!
//! Source: Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, §A.1.2; Luong, Pham & Manning 2015, arXiv:1508.04025, §3.1, "concat".
//!
//! Why not Candle's: it has none, and put together from its operations the `T × S × A` numbers of the network are written
//! several times.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::indexing::checked_lengths;
use super::kernel::{Kernel, Reads, View, apply3, detached, on_cpu, wants_gradient, with_views};
use super::knot::{self, Tied};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::{sum2, sum3};
use crate::ensure;

const NAME: &str = "additive_attention";

/// `y[t] = Σ_s p[t, s] · v[s]`, where `p[t] = softmax over s of w · tanh(q[t] + k[s])`.
///
/// `q [B, T, A]`, `k [B, S, A]`, `w [A]`, `v [B, S, E]` → `[B, T, E]`. Of sequence `b` only the first `lengths[b]` keys are
/// seen, all of them if `None`.
///
/// # Errors
/// If shapes do not belong together, there is nothing to see, there is not one length a sequence, one is not in `1..=S`, or
/// types differ or are no float types.
pub fn additive_attention(
    q: &Tensor,
    k: &Tensor,
    w: &Tensor,
    v: &Tensor,
    lengths: Option<&[usize]>,
) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[q, k, w, v])? {
        return additive_attention(&widen(q)?, &widen(k)?, &widen(w)?, &widen(v)?, lengths)?.to_dtype(half);
    }
    let lengths = check(q, k, w, v, lengths)?;
    if !on_cpu(&[q, k, w, v]) {
        return portable_weights(q, k, w, &lengths)?.matmul(v);
    }
    let (zero, gradients) = knot::tie(w, v)?;
    let op = Additive {
        w: w.detach(),
        v: v.detach(),
        lengths: lengths.into(),
        gradients,
        weights: Saved::for_gradients_of(&[q, k, &zero]),
    };
    apply3(op, q, k, &zero)
}

/// The weights `p [B, T, S]` of [`additive_attention`], 0 for what is not seen: to look at.
///
/// # Errors
/// Those of [`additive_attention`].
pub fn additive_attention_weights(
    q: &Tensor,
    k: &Tensor,
    w: &Tensor,
    lengths: Option<&[usize]>,
) -> Result<Tensor> {
    let lengths = check(q, k, w, k, lengths)?;
    portable_weights(q, k, w, &lengths)
}

fn check(q: &Tensor, k: &Tensor, w: &Tensor, v: &Tensor, lengths: Option<&[usize]>) -> Result<Vec<usize>> {
    let fits = match (q.dims(), k.dims(), w.dims(), v.dims()) {
        (&[b, _, a], &[kb, s, ka], &[wa], &[vb, vs, _]) => [kb, vb, ka, wa, vs] == [b, b, a, a, s] && s > 0,
        _ => false,
    };
    ensure!(
        fits,
        "{NAME}: q, k, w and v must be [B, T, A], [B, S, A], [A] and [B, S, E] with S above 0, got {:?}, {:?}, {:?} and {:?}",
        q.dims(),
        k.dims(),
        w.dims(),
        v.dims()
    );
    checked_lengths(NAME, lengths, k.dims()[0], k.dims()[1])
}

#[derive(Clone)]
struct Additive {
    w: Tensor,
    v: Tensor,
    lengths: Arc<[usize]>,
    /// Those of `w` and `v`.
    gradients: Tied,
    /// `[B, T, S]`
    weights: Saved<Tensor>,
}

impl Kernel<3> for Additive {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [q, k, _]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (&[batch, queries, inner], &[_, keys, width]) = (q.dims, self.v.dims()) else {
            unreachable!("checked by check")
        };
        // Of each query its weights and then its mean.
        let mut rows = vec![T::ZERO; batch * queries * (keys + width)];
        let work = 8 * batch * queries * keys * inner;
        with_views([&self.w, &self.v], |[w, v]: [View<'_, T>; 2]| {
            for_each_chunk(&mut rows, queries * (keys + width), work, |b, rows| {
                let k = &k.data[b * keys * inner..][..self.lengths[b] * inner];
                let v = &v.data[b * keys * width..][..self.lengths[b] * width];
                vectorised(
                    #[inline(always)]
                    || {
                        for (t, row) in rows.chunks_exact_mut(keys + width).enumerate() {
                            let (p, y) = row.split_at_mut(keys);
                            let p = &mut p[..self.lengths[b]];
                            weights(&q.data[(b * queries + t) * inner..][..inner], k, &w.data, p);
                            for (&p, v) in p.iter().zip(v.chunks_exact(width)) {
                                y.iter_mut().zip(v).for_each(|(y, &v)| *y = p.mul_add(v, *y));
                            }
                        }
                    },
                );
            });
        })?;
        let rows = rows.chunks_exact(keys + width);
        if self.weights.is_wanted() {
            let p: Vec<T> = rows.clone().flat_map(|row| &row[..keys]).copied().collect();
            self.weights.keep(Tensor::from_vec(p, (batch, queries, keys), self.v.device())?);
        }
        Ok((rows.flat_map(|row| &row[keys..]).copied().collect(), (batch, queries, width).into()))
    }

    fn backward(&self, [q, k, zero]: [&Tensor; 3], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let Some(p) = self.weights.get() else { unreachable!("kept by the forward pass") };
        let xs = [q, k, &self.w, &self.v];
        let all = detached(&Gradients(self.lengths.clone()), [q, k, &self.w, &self.v, p, dy])?;
        let mut from = 0;
        let mut parts = xs.map(|x| {
            let part = all.narrow(0, from, x.elem_count()).and_then(|part| part.reshape(x.shape()));
            from += x.elem_count();
            part.map(Some)
        });
        let mut part = |i: usize| std::mem::replace(&mut parts[i], Ok(None));
        self.gradients.put([part(2)?, part(3)?]);
        Ok([part(0)?, part(1)?, wants_gradient(zero).then(|| zero.zeros_like()).transpose()?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }
}

/// The softmax of `w · tanh(q + k[s])`.
#[inline(always)]
fn weights<T: Element>(q: &[T], k: &[T], w: &[T], p: &mut [T]) {
    let mut top = T::NEG_INFINITY;
    for (p, k) in p.iter_mut().zip(k.chunks_exact(q.len().max(1))) {
        *p = T::of(sum3(
            [q, k, w],
            #[inline(always)]
            |q, k, w| w * (q + k).tanh(),
        ));
        top = if *p > top { *p } else { top };
    }
    let mut total = T::ZERO;
    for p in p.iter_mut() {
        *p = (*p - top).exp();
        total += *p;
    }
    p.iter_mut().for_each(|p| *p /= total);
}

/// Those of `q`, `k`, `w` and `v`, one after the other; of each sequence's number of keys.
#[derive(Clone)]
struct Gradients(Arc<[usize]>);

impl Kernel<6> for Gradients {
    const NAME: &'static str = "additive_attention-gradients";

    fn forward<T: Element>(&self, [q, k, w, v, p, dy]: [View<'_, T>; 6]) -> Result<(Vec<T>, Shape)> {
        let (&[batch, queries, inner], &[_, keys, width]) = (q.dims, v.dims) else {
            unreachable!("checked by check")
        };
        let mut all = vec![T::ZERO; q.data.len() + k.data.len() + w.data.len() + v.data.len()];
        let (dq, rest) = all.split_at_mut(q.data.len());
        let (dk, rest) = rest.split_at_mut(k.data.len());
        let (dw, dv) = rest.split_at_mut(inner);
        let mut parts = dq.chunks_mut((queries * inner).max(1));
        let mut tasks: Vec<_> = dk
            .chunks_mut((keys * inner).max(1))
            .zip(dv.chunks_mut((keys * width).max(1)))
            .map(|(dk, dv)| Task { dq: parts.next().unwrap_or_default(), dk, dv, dw: vec![T::ZERO; inner] })
            .collect();
        for_each_chunk(&mut tasks, 1, 20 * batch * queries * keys * inner, |b, task| {
            let seen = self.0[b];
            let k = &k.data[b * keys * inner..][..keys * inner];
            let v = &v.data[b * keys * width..][..keys * width];
            for t in 0..queries {
                let row = b * queries + t;
                let query = Query {
                    q: &q.data[row * inner..][..inner],
                    p: &p.data[row * keys..][..seen],
                    dy: &dy.data[row * width..][..width],
                };
                vectorised(
                    #[inline(always)]
                    || task[0].add(t, query, [k, &w.data, v]),
                );
            }
        });
        for task in &tasks {
            dw.iter_mut().zip(&task.dw).for_each(|(dw, &own)| *dw += own);
        }
        let shape = all.len().into();
        Ok((all, shape))
    }
}

/// Where the gradients of one sequence go.
struct Task<'a, T> {
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
    dw: Vec<T>,
}

/// What belongs to one query.
struct Query<'a, T> {
    q: &'a [T],
    p: &'a [T],
    dy: &'a [T],
}

impl<T: Element> Task<'_, T> {
    /// What query `t` adds.
    #[inline(always)]
    fn add(&mut self, t: usize, query: Query<'_, T>, [k, w, v]: [&[T]; 3]) {
        let Query { q, p, dy } = query;
        let (inner, width) = (q.len(), dy.len());
        let dp: Vec<T> = (0..p.len())
            .map(
                #[inline(always)]
                |s| {
                    T::of(sum2(
                        &v[s * width..][..width],
                        dy,
                        #[inline(always)]
                        |v, dy| v * dy,
                    ))
                },
            )
            .collect();
        let mean = p.iter().zip(&dp).fold(T::ZERO, |sum, (&p, &dp)| p.mul_add(dp, sum));
        let dq = &mut self.dq[t * inner..][..inner];
        for (s, &p) in p.iter().enumerate() {
            let dv = &mut self.dv[s * width..][..width];
            dv.iter_mut().zip(dy).for_each(|(dv, &dy)| *dv = p.mul_add(dy, *dv));
            let ds = p * (dp[s] - mean);
            let (k, dk) = (&k[s * inner..][..inner], &mut self.dk[s * inner..][..inner]);
            for a in 0..inner {
                let tanh = (q[a] + k[a]).tanh();
                let d = ds * w[a] * (-tanh).mul_add(tanh, T::ONE);
                self.dw[a] = ds.mul_add(tanh, self.dw[a]);
                dq[a] += d;
                dk[a] += d;
            }
        }
    }
}

/// The weights from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable_weights(q: &Tensor, k: &Tensor, w: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let ((batch, queries, inner), keys) = (q.dims3()?, k.dim(1)?);
    let hidden = q.unsqueeze(2)?.broadcast_add(&k.unsqueeze(1)?)?.tanh()?; // [B, T, S, A]
    let scores = hidden.reshape(((), inner))?.matmul(&w.reshape((inner, 1))?)?;
    let scores = scores.reshape((batch, queries, keys))?;
    let unseen = lengths
        .iter()
        .flat_map(|&length| (0..keys).map(move |s| if s < length { 0.0 } else { f64::NEG_INFINITY }));
    let unseen = Tensor::from_vec(unseen.collect(), (batch, 1, keys), q.device())?.to_dtype(q.dtype())?;
    let scores = scores.broadcast_add(&unseen)?;
    let top = scores.max_keepdim(2)?.detach();
    let e = scores.broadcast_sub(&top)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(2)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    fn arguments([batch, queries, keys, inner, width]: [usize; 5]) -> Result<Vec<Tensor>> {
        Ok(vec![
            randn(1, (batch, queries, inner))?,
            randn(2, (batch, keys, inner))?,
            randn(3, inner)?,
            randn(4, (batch, keys, width))?,
        ])
    }

    fn run(x: &[Tensor], lengths: Option<&[usize]>) -> Result<Tensor> {
        additive_attention(&x[0], &x[1], &x[2], &x[3], lengths)
    }

    #[test]
    fn worked_example() -> Result<()> {
        let t = |x: &[f64], shape: &[usize]| Tensor::from_slice(x, shape, &Device::Cpu);
        let (q, k) = (t(&[0.0], &[1, 1, 1])?, t(&[0.0, 30.0, 5.0], &[1, 3, 1])?);
        let v = t(&[4.0, 8.0, 99.0], &[1, 3, 1])?;
        // Scores 0 and ln 3, as tanh 30 is 1: the mean of 4 and three times 8.
        let y = additive_attention(&q, &k, &t(&[3f64.ln()], &[1])?, &v, Some(&[2]))?;
        assert_close(&y, &t(&[7.0], &[1, 1, 1])?, 1e-12, 0.0)?;
        let p = additive_attention_weights(&q, &k, &t(&[3f64.ln()], &[1])?, Some(&[2]))?;
        assert_close(&p, &t(&[0.25, 0.75, 0.0], &[1, 1, 3])?, 1e-12, 0.0)
    }

    #[test]
    fn the_kernel_is_its_portable_twin_and_gradients_check() -> Result<()> {
        for (sizes, lengths) in [
            ([1, 1, 1, 1, 1], None),
            ([2, 3, 4, 5, 6], Some(&[4, 1][..])),
            ([3, 7, 9, 20, 17], Some(&[9, 2, 5])),
            ([2, 0, 3, 2, 2], None),
        ] {
            let portable = |x: &[Tensor]| {
                let lengths = check(&x[0], &x[1], &x[2], &x[3], lengths)?;
                portable_weights(&x[0], &x[1], &x[2], &lengths)?.matmul(&x[3])
            };
            let args = arguments(sizes)?;
            if sizes[1] > 0 {
                assert_same(|x| run(x, lengths), portable, &args, 1e-12)?;
            } else {
                assert_eq!(run(&args, lengths)?.dims(), [2, 0, 2]);
            }
        }
        gradcheck(|x| run(x, Some(&[3, 2])), &arguments([2, 2, 3, 2, 2])?)?;
        assert_types(NAME, |x| run(x, None), &arguments([2, 2, 3, 2, 2])?)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let args = arguments([2, 3, 4, 5, 6])?;
        for (at, shape) in [(0, &[2, 5][..]), (1, &[2, 0, 5]), (2, &[4]), (3, &[2, 3, 6])] {
            let mut args = args.clone();
            args[at] = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
            let error = run(&args, None).expect_err("another shape").to_string();
            assert!(error.contains("with S above 0") && error.contains(&format!("{shape:?}")), "{error}");
        }
        let error = run(&args, Some(&[5, 1])).expect_err("of four").to_string();
        assert!(error.contains("the length of sequence 0 must be in 1..=4, got 5"), "{error}");
        Ok(())
    }
}
