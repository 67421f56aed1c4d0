//! What layer norm and RMS norm share: rows that are brought to one size, and then scaled and shifted element by element.

use std::sync::{Arc, OnceLock};

use candle_core::{D, Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply3, detached3, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::blank::{Blank, by_chunks_finding};
use crate::cpu::moments::{Moments, sums};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::{self, CHUNK};
use crate::ensure;
use crate::graph::Operation;

/// Elementary operations per element, roughly.
const COST: usize = 8;

/// Rows whose part in the gradient of weight and bias is summed in their own type, before it joins a sum in `f64`.
const MOST_ROWS: usize = 1024;

/// From where a row's numbers are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Centre {
    Mean,
    Zero,
}

/// The normalisation of the last axes.
#[derive(Clone, Copy)]
pub(super) struct RowNorm {
    pub(super) op: &'static str,
    /// How many axes make a row.
    pub(super) axes: usize,
    pub(super) centre: Centre,
    pub(super) eps: f64,
}

impl RowNorm {
    /// `(x − centre) / √(mean of its square + eps) · w + b`
    pub(super) fn of(self, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
        let Self { op, axes, .. } = self;
        ensure!(
            (1..=x.rank()).contains(&axes),
            "{op}: the number of axes must be from 1 to the rank, got {axes} for {:?}",
            x.dims()
        );
        let row = &x.dims()[x.rank() - axes..];
        for (name, t) in [("weight", w), ("bias", b)] {
            let dims = t.map_or(row, Tensor::dims);
            ensure!(dims == row, "{op}: the {name} must be {row:?}, got {dims:?}");
        }
        let ones = || Tensor::ones(row, x.dtype(), x.device());
        let [w, b] = [
            w.map_or_else(ones, |w| Ok(w.clone()))?,
            b.map_or_else(|| ones()?.zeros_like(), |b| Ok(b.clone()))?,
        ];
        if let Some(half) = half_precision(op, &[x, &w, &b])? {
            return self.of(&widen(x)?, Some(&widen(&w)?), Some(&widen(&b)?))?.to_dtype(half);
        }
        if x.elem_count() == 0 {
            return Ok(x.clone());
        }
        if on_cpu(&[x, &w, &b]) {
            let op = Rows { n: w.elem_count(), norm: self, scales: Saved::for_gradients_of(&[x, &w, &b]) };
            apply3(op, x, &w, &b)
        } else {
            self.portable([x, &w, &b])
        }
    }

    /// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
    pub(super) fn portable(self, [x, w, b]: [&Tensor; 3]) -> Result<Tensor> {
        let z = x.reshape(((), w.elem_count()))?;
        let z = match self.centre {
            Centre::Mean => z.broadcast_sub(&z.mean_keepdim(D::Minus1)?)?,
            Centre::Zero => z,
        };
        let z = z.broadcast_div(&(z.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?)?;
        z.reshape(x.shape())?.broadcast_mul(w)?.broadcast_add(b)
    }

    /// What is taken from a row's numbers, and what they are then multiplied with.
    #[inline(always)]
    fn scale<T: Element>(self, row: &[T]) -> [f64; 2] {
        let [centre, square] = match self.centre {
            Centre::Mean => {
                let moments = Moments::of(row);
                [moments.mean, moments.variance()]
            }
            Centre::Zero => [0.0, vector::sum(row, |x| x * x) / row.len() as f64],
        };
        [centre, 1.0 / (square + self.eps).sqrt()]
    }
}

/// Rows of `n` numbers.
#[derive(Clone)]
struct Rows {
    n: usize,
    norm: RowNorm,
    /// [`RowNorm::scale`] of each.
    scales: Saved<Vec<[f64; 2]>>,
}

impl Rows {
    /// Rows of a task.
    fn many(&self) -> usize {
        (CHUNK / self.n).clamp(1, MOST_ROWS)
    }
}

impl Kernel<3> for Rows {
    const NAME: &'static str = "row_norm";

    fn forward<T: Element>(&self, [x, w, b]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (n, many) = (self.n, self.many());
        let (y, scales) = by_chunks_finding(x.data.len(), many * n, COST * x.data.len(), |i, y| {
            let mut scales = Vec::with_capacity(many);
            vectorised(
                #[inline(always)]
                || {
                    y.fill_parts(
                        n,
                        #[inline(always)]
                        |j, y| {
                            let x = &x.data[(i * many + j) * n..][..n];
                            let scale = self.norm.scale(x);
                            let [centre, by] = scale.map(T::of);
                            y.map3([x, &w.data, &b.data], |x, w, b| ((x - centre) * by).mul_add(w, b));
                            scales.push(scale);
                        },
                    );
                },
            );
            scales
        });
        self.scales.keep(scales.concat());
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x, w, b]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sums = Arc::new(OnceLock::new());
        let parameters = wants_gradient(w) || wants_gradient(b);
        let gradient = Gradient { rows: self.clone(), sums: parameters.then(|| sums.clone()) };
        let dx = detached3(gradient, x, w, dy)?;
        let of = |which: usize, arg: &Tensor| {
            let sums = sums.get().map(|sums: &[Vec<f64>; 2]| sums[which].clone()).unwrap_or_default();
            let tensor = || Tensor::from_vec(sums, arg.dims(), arg.device())?.to_dtype(arg.dtype());
            wants_gradient(arg).then(tensor).transpose()
        };
        Ok([wants_gradient(x).then_some(dx), of(0, w)?, of(1, b)?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        let RowNorm { axes, centre, eps, .. } = self.norm;
        match centre {
            Centre::Mean => vec![Operation::LayerNorm { axes, eps }],
            Centre::Zero => Vec::new(),
        }
    }
}

/// The gradient by `x`, from `x`, `w` and `dy`.
///
/// With `g = w · dy`, `x̂` the scaled row and means over it: `dx = (g − mean g − x̂ · mean (g · x̂)) · scale`, without
/// `mean g` where the centre is zero.
#[derive(Clone)]
struct Gradient {
    rows: Rows,
    /// Filled by the forward pass, if wanted: the gradients by weight and bias.
    sums: Option<Arc<OnceLock<[Vec<f64>; 2]>>>,
}

impl Gradient {
    #[inline(always)]
    fn row<T: Element>(
        &self,
        row: usize,
        [x, w, dy]: [&[T]; 3],
        dx: &mut Blank<'_, T>,
        parts: &mut [Vec<T>; 2],
    ) {
        let Some(scales) = self.rows.scales.get() else { unreachable!("kept by the forward pass") };
        let [centre, by] = scales[row].map(T::of);
        if let [dw, db] = parts
            && !dw.is_empty()
        {
            for (dw, (&x, &dy)) in dw.iter_mut().zip(x.iter().zip(dy)) {
                *dw = ((x - centre) * by).mul_add(dy, *dw);
            }
            for (db, &dy) in db.iter_mut().zip(dy) {
                *db += dy;
            }
        }
        // Filled with g first, while everything is in the first-level cache.
        let g = dx.map2(w, dy, |w, dy| w * dy);
        let [s, t] = sums(
            g,
            x,
            #[inline(always)]
            |g, x| [g, g * (x - centre)],
        );
        let n = x.len() as f64;
        let [_, inverse] = scales[row];
        let b = T::of(-inverse.powi(3) * t / n);
        let c = if self.rows.norm.centre == Centre::Mean { T::of(-inverse * s / n) } else { T::ZERO };
        for (g, &x) in g.iter_mut().zip(x) {
            *g = g.mul_add(by, (x - centre).mul_add(b, c));
        }
    }
}

impl Kernel<3> for Gradient {
    const NAME: &'static str = "row_norm";

    fn forward<T: Element>(&self, [x, w, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let (n, many) = (self.rows.n, self.rows.many());
        let len = if self.sums.is_some() { n } else { 0 };
        let (dx, parts) = by_chunks_finding(x.data.len(), many * n, 2 * COST * x.data.len(), |i, dx| {
            let mut parts = [vec![T::ZERO; len], vec![T::ZERO; len]];
            vectorised(
                #[inline(always)]
                || {
                    dx.fill_parts(
                        n,
                        #[inline(always)]
                        |j, dx| {
                            let row = i * many + j;
                            let [x, dy] = [&x, &dy].map(|x| &x.data[row * n..][..n]);
                            self.row(row, [x, &w.data, dy], dx, &mut parts);
                        },
                    );
                },
            );
            parts
        });
        if let Some(sums) = &self.sums {
            let mut total = [vec![0.0; n], vec![0.0; n]];
            for part in &parts {
                for (total, part) in total.iter_mut().zip(part) {
                    total.iter_mut().zip(part).for_each(|(total, part)| *total += part.to_f64());
                }
            }
            let first = sums.set(total).is_ok();
            debug_assert!(first, "a gradient's kernel runs once");
        }
        Ok((dx, x.dims.into()))
    }
}
