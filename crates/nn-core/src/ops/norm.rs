//! What batch, group and instance norm share: sets of numbers, each brought to mean 0 and variance 1 and then scaled and
//! shifted channel by channel.
//!
//! A task takes some sets, measures them and writes them while they are in the cache, so that memory is read once; where
//! there are few sets and they are large, planes are cut into pieces, measured first and written afterwards.

mod gradient;
pub(super) mod line;
mod shared;

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape, Tensor};

use self::gradient::Gradient;
use self::line::Line;
use super::fused::Fused;
use super::kernel::{Kernel, Reads, View, apply3, detached3, on_cpu, wants_gradient};
use crate::cpu::Element;
use crate::cpu::blank::{Blank, Columns, by_columns, by_columns_finding};
use crate::cpu::moments::Moments;
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::{Peers, ensure};

/// Elementary operations per element, roughly.
const COST: usize = 8;

/// Below so many sets, large ones are cut.
const FEW: usize = 8;

/// Planes shorter than this are gathered channel by channel before anything is done with them.
const SHORT: usize = 256;

/// Numbers that a task measures and then finds in the second-level cache: 384 KiB of `f32`.
const CACHED: usize = 6 * CHUNK;

/// Which numbers of `[B, C, P]` belong together: of a slab of rows of `channels` planes, `together` planes from every row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sets {
    slabs: usize,
    rows: usize,
    channels: usize,
    plane: usize,
    together: usize,
}

impl Sets {
    /// A set is a channel of the whole batch.
    pub(super) fn of_batch(dims: &[usize]) -> Self {
        let plane = dims[2..].iter().product();
        Self { slabs: 1, rows: dims[0], channels: dims[1], plane, together: 1 }
    }

    /// A set is one of `groups` groups of neighbouring channels of one example.
    pub(super) fn of_examples(dims: &[usize], groups: usize) -> Self {
        let plane = dims[2..].iter().product();
        Self { slabs: dims[0], rows: 1, channels: dims[1], plane, together: dims[1] / groups }
    }

    /// Numbers of a set.
    pub(super) fn numbers(self) -> usize {
        self.rows * self.width()
    }

    /// Of one set, in one row.
    fn width(self) -> usize {
        self.together * self.plane
    }

    fn columns(self) -> usize {
        self.channels * self.plane
    }

    /// Sets of a slab.
    fn per_slab(self) -> usize {
        self.channels / self.together
    }

    fn total(self) -> usize {
        self.slabs * self.rows * self.columns()
    }

    fn are_few_and_large(self) -> bool {
        self.slabs * self.per_slab() < FEW && self.numbers() > 4 * CHUNK
    }

    fn are_scattered(self) -> bool {
        self.rows > 1 && self.plane < SHORT
    }

    /// Columns of a task that reads so many tensors: whole sets.
    ///
    /// Where sets lie apart, tasks are as large as the cache allows: it takes long stretches to read memory fast.
    fn block(self, tensors: usize) -> usize {
        let task = if self.rows > 1 { (self.total() / FEW).clamp(CHUNK, CACHED / tensors) } else { CHUNK };
        self.width() * (task / self.numbers()).clamp(1, self.per_slab())
    }

    /// The part of row `row` that belongs to a task with `len` columns.
    #[inline(always)]
    fn row<T>(self, data: &[T], at: Columns, row: usize, len: usize) -> &[T] {
        &data[(at.slab * self.rows + row) * self.columns() + at.start..][..len]
    }

    /// The number of a task's first set among all.
    fn first(self, at: Columns) -> usize {
        at.slab * self.per_slab() + at.start / self.width()
    }

    /// The planes of a block one after the other, those of one channel together.
    #[inline(always)]
    fn gather<T: Element>(self, data: &[T], at: Columns, len: usize) -> Vec<T> {
        let mut gathered = Vec::with_capacity(self.rows * len);
        for start in (0..len).step_by(self.plane) {
            for row in 0..self.rows {
                gathered.extend_from_slice(&self.row(data, at, row, len)[start..][..self.plane]);
            }
        }
        gathered
    }

    /// The inverse of [`Sets::gather`].
    #[inline(always)]
    fn scatter<T: Element>(self, gathered: &[T], rows: &mut [Blank<'_, T>]) {
        for (row, y) in rows.iter_mut().enumerate() {
            y.fill_parts(
                self.plane,
                #[inline(always)]
                |channel, y| {
                    let from = (channel * self.rows + row) * self.plane;
                    y.map(&gathered[from..][..self.plane], |x| x);
                },
            );
        }
    }

    /// Planes cut into pieces of at most [`CHUNK`]: how many pieces each.
    fn pieces(self) -> usize {
        self.plane.div_ceil(CHUNK)
    }

    /// What `f(elements, set, channel)` finds in each piece, plane by plane.
    fn by_pieces<R: Copy + Send>(
        self,
        none: R,
        f: impl Fn(std::ops::Range<usize>, usize, usize) -> R + Sync + Send,
    ) -> Vec<R> {
        let pieces = self.pieces();
        let mut found = vec![none; self.slabs * self.rows * self.channels * pieces];
        for_each_chunk(&mut found, 1, COST * self.total(), |i, found| {
            let (plane, start) = (i / pieces, i % pieces * CHUNK);
            let (set, channel) = self.of_plane(plane);
            let end = (start + CHUNK).min(self.plane);
            found[0] = f(plane * self.plane + start..plane * self.plane + end, set, channel);
        });
        found
    }

    /// The set and the channel of a plane.
    fn of_plane(self, plane: usize) -> (usize, usize) {
        let (row, channel) = (plane / self.channels, plane % self.channels);
        (row / self.rows * self.per_slab() + channel / self.together, channel)
    }
}

/// How sets are normalised.
#[derive(Clone)]
struct Norm {
    sets: Sets,
    eps: f64,
    fused: Fused,
    /// Whose sets continue those here.
    peers: Option<Arc<dyn Peers>>,
    /// Filled by the forward pass.
    moments: Arc<OnceLock<Vec<Moments>>>,
}

/// Mean and variance, each of `[sets]`, and of how many numbers.
pub(super) struct Statistics {
    pub(super) mean: Tensor,
    pub(super) variance: Tensor,
    pub(super) count: f64,
}

/// `f((x − mean) / √(variance + eps) · w + b)`, and what mean and variance are; `x` must not be empty. Sets go on at
/// `peers`, if there are any.
pub(super) fn normalise(
    [x, w, b]: [&Tensor; 3],
    sets: Sets,
    eps: f64,
    fused: Fused,
    peers: Option<&Arc<dyn Peers>>,
) -> Result<(Tensor, Statistics)> {
    if !on_cpu(&[x, w, b]) {
        ensure!(peers.is_none(), "norm: several processes share their statistics on the CPU alone");
        return portable([x, w, b], sets, eps, fused);
    }
    let norm = Norm { sets, eps, fused, peers: peers.cloned(), moments: Arc::default() };
    let y = apply3(norm.clone(), x, w, b)?;
    let moments = norm.moments();
    let of = |f: fn(&Moments) -> f64| {
        Tensor::from_vec(moments.iter().map(f).collect(), moments.len(), x.device())?.to_dtype(x.dtype())
    };
    let count = moments.first().map_or(0.0, |moments| moments.count);
    let statistics = Statistics { mean: of(|m| m.mean)?, variance: of(|m| m.variance())?, count };
    Ok((y, statistics))
}

impl Norm {
    fn moments(&self) -> &[Moments] {
        let Some(moments) = self.moments.get() else { unreachable!("filled by the forward pass") };
        moments
    }

    /// One over the standard deviation of a set.
    fn inverse_deviation(&self, moments: Moments) -> f64 {
        1.0 / (moments.variance() + self.eps).sqrt()
    }

    /// What becomes of a number of a set in a channel.
    #[inline(always)]
    fn line<T: Element>(&self, moments: Moments, w: T, b: T) -> Line<T> {
        let slope = w * T::of(self.inverse_deviation(moments));
        Line { mean: T::of(moments.mean), slope, shift: b, fused: self.fused }
    }

    /// Measures and writes the sets of a block.
    #[inline(always)]
    fn block<T: Element>(&self, [x, w, b]: [&[T]; 3], at: Columns, y: &mut [Blank<'_, T>]) -> Vec<Moments> {
        let (sets, len, first) = (self.sets, y[0].len(), at.start / self.sets.plane);
        if sets.are_scattered() {
            let mut gathered = sets.gather(x, at, len);
            let mut found = Vec::with_capacity(len / sets.plane);
            for (j, x) in gathered.chunks_exact_mut(sets.numbers()).enumerate() {
                let moments = Moments::of(x);
                self.line(moments, w[first + j], b[first + j]).replace(x);
                found.push(moments);
            }
            sets.scatter(&gathered, y);
            return found;
        }
        let mut found = vec![Moments::NONE; len / sets.width()];
        for row in 0..sets.rows {
            let x = sets.row(x, at, row, len);
            for (found, x) in found.iter_mut().zip(x.chunks_exact(sets.width())) {
                *found = found.join(Moments::of(x));
            }
        }
        let line = |p| self.line(found[p / sets.together], w[first + p], b[first + p]);
        let lines: Vec<Line<T>> = (0..len / sets.plane).map(line).collect();
        for (row, y) in y.iter_mut().enumerate() {
            let x = sets.row(x, at, row, len);
            y.fill_parts(
                sets.plane,
                #[inline(always)]
                |p, y| lines[p].write(&x[p * sets.plane..][..sets.plane], y),
            );
        }
        found
    }

    /// Whether nothing may be written before everything is measured.
    fn takes_two_passes(&self) -> bool {
        self.peers.is_some() || self.sets.are_few_and_large()
    }

    /// Measures all pieces, then writes them.
    fn in_two_passes<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Result<(Vec<T>, Vec<Moments>)> {
        let (sets, pieces) = (self.sets, self.sets.pieces());
        let parts = sets.by_pieces(Moments::NONE, |piece, _, _| {
            vectorised(
                #[inline(always)]
                || Moments::of(&x[piece]),
            )
        });
        let mut found = vec![Moments::NONE; sets.slabs * sets.per_slab()];
        for (i, &part) in parts.iter().enumerate() {
            let set = &mut found[sets.of_plane(i / pieces).0];
            *set = set.join(part);
        }
        if let Some(peers) = &self.peers {
            found = shared::moments(&**peers, &found)?;
        }
        let planes = sets.slabs * sets.rows * sets.channels;
        let y = by_columns([planes, 1, sets.plane], CHUNK, self.work(), |at, y| {
            let (set, channel) = sets.of_plane(at.slab);
            let line = self.line(found[set], w[channel], b[channel]);
            let x = &x[at.slab * sets.plane + at.start..][..y[0].len()];
            vectorised(
                #[inline(always)]
                || line.write(x, &mut y[0]),
            );
        });
        Ok((y, found))
    }

    fn work(&self) -> usize {
        (COST + self.fused.cost()) * self.sets.total()
    }
}

impl Kernel<3> for Norm {
    const NAME: &'static str = "norm";

    fn forward<T: Element>(&self, [x, w, b]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let sets = self.sets;
        let args = [&*x.data, &*w.data, &*b.data];
        let (y, found) = if self.takes_two_passes() {
            self.in_two_passes(args)?
        } else {
            let shape = [sets.slabs, sets.rows, sets.columns()];
            let (y, found) = by_columns_finding(shape, sets.block(1), self.work(), |at, y| {
                vectorised(
                    #[inline(always)]
                    || self.block(args, at, y),
                )
            });
            (y, found.concat())
        };
        let first = self.moments.set(found).is_ok();
        debug_assert!(first, "the forward pass of one call ran twice");
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [x, w, b]: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sums = Arc::new(OnceLock::new());
        let gradient = Gradient { norm: self.clone(), sums: sums.clone() };
        let dx = detached3(gradient, x, &Tensor::cat(&[w, b], 0)?.detach(), dy)?;
        let Some(sums) = sums.get() else { unreachable!("filled by the gradient") };
        let of = |which: usize, arg: &Tensor| {
            let sums: Vec<f64> = sums.iter().map(|sum: &[f64; 2]| sum[which]).collect();
            let tensor = || Tensor::from_vec(sums, arg.dims(), arg.device())?.to_dtype(arg.dtype());
            wants_gradient(arg).then(tensor).transpose()
        };
        Ok([wants_gradient(x).then_some(dx), of(1, w)?, of(0, b)?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }
}

/// [`normalise`] from differentiable Candle operations: other devices, and the kernel's oracle.
pub(super) fn portable(
    [x, w, b]: [&Tensor; 3],
    sets: Sets,
    eps: f64,
    fused: Fused,
) -> Result<(Tensor, Statistics)> {
    let z = x.reshape((sets.slabs, sets.rows, sets.per_slab(), sets.width()))?;
    let mean = z.mean_keepdim((1, 3))?;
    let z = z.broadcast_sub(&mean)?;
    let variance = z.sqr()?.mean_keepdim((1, 3))?;
    let z = z.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let z = z.reshape((sets.slabs * sets.rows, sets.channels, sets.plane))?;
    let per_channel = |t: &Tensor| t.reshape((sets.channels, 1));
    let y = z.broadcast_mul(&per_channel(w)?)?.broadcast_add(&per_channel(b)?)?;
    let [mean, variance] = [mean.flatten_all()?.detach(), variance.flatten_all()?.detach()];
    let statistics = Statistics { mean, variance, count: sets.numbers() as f64 };
    Ok((fused.portable(y.reshape(x.shape())?)?, statistics))
}
