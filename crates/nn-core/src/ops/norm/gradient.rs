//! The gradients of a norm: two sums over each plane, then a straight line for each number.
//!
//! With `g = w · dz`, `x̂ = (x − mean) / σ` and means over a set: `dx = (g − mean g − x̂ · mean (g · x̂)) / σ`.

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape};

use super::line::{Line, Tilt};
use super::{Columns, Norm, shared};
use crate::cpu::Element;
use crate::cpu::blank::{Blank, by_columns, by_columns_finding};
use crate::cpu::moments::{Moments, sums};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::ops::fused::BLOCK;
use crate::ops::kernel::{Kernel, View};

/// `[Σ dz, Σ dz · (x − mean)]` over a plane or planes.
type Sums = [f64; 2];

/// The gradient by `x`, from `x`, weight and shift in one, and `dy`.
#[derive(Clone)]
pub(super) struct Gradient {
    pub(super) norm: Norm,
    /// Filled by the forward pass: the gradients by the shift and by the weight of each channel.
    pub(super) sums: Arc<OnceLock<Vec<Sums>>>,
}

/// The arguments as slices, weight and shift apart.
#[derive(Clone, Copy)]
struct Args<'a, T> {
    x: &'a [T],
    w: &'a [T],
    b: &'a [T],
    dy: &'a [T],
}

impl Gradient {
    #[inline(always)]
    fn line<T: Element>(&self, args: Args<'_, T>, set: usize, channel: usize) -> Line<T> {
        self.norm.line(self.norm.moments()[set], args.w[channel], args.b[channel])
    }

    /// The gradients by the numbers of a set, for each of its channels: what multiplies what.
    #[inline(always)]
    fn tilts<T: Element>(
        &self,
        moments: Moments,
        weights: &[T],
        sums: &[Sums],
    ) -> impl Fn(T) -> Tilt<T> + use<T> {
        let inverse = self.norm.inverse_deviation(moments);
        let [s, t] = weights.iter().zip(sums).fold([0.0; 2], |[s, t], (w, sum)| {
            let w = w.to_f64();
            [s + w * sum[0], t + w * sum[1]]
        });
        let b = T::of(-inverse.powi(3) * t / moments.count);
        let c = T::of(-inverse * s / moments.count);
        move |w| Tilt { a: w * T::of(inverse), b, c }
    }

    #[inline(always)]
    fn block<T: Element>(&self, args: Args<'_, T>, at: Columns, dx: &mut [Blank<'_, T>]) -> Vec<Sums> {
        if self.norm.sets.are_scattered() {
            self.scattered(args, at, dx)
        } else {
            self.in_place(args, at, dx)
        }
    }

    #[inline(always)]
    fn in_place<T: Element>(&self, args: Args<'_, T>, at: Columns, dx: &mut [Blank<'_, T>]) -> Vec<Sums> {
        let (sets, len, first) = (self.norm.sets, dx[0].len(), at.start / self.norm.sets.plane);
        let (plane, channels, set) = (sets.plane, sets.together, sets.first(at));
        let line = |p| self.line(args, set + p / channels, first + p);
        let lines: Vec<Line<T>> = (0..len / plane).map(line).collect();
        let mut found = vec![[0.0; 2]; lines.len()];
        for (row, dx) in dx.iter_mut().enumerate() {
            let [x, dy] = [args.x, args.dy].map(|x| sets.row(x, at, row, len));
            dx.fill_parts(
                plane,
                #[inline(always)]
                |p, dx| {
                    let [x, dy] = [x, dy].map(|x| &x[p * plane..][..plane]);
                    let [s, t] = lines[p].begin_gradient(x, dy, dx);
                    found[p] = [found[p][0] + s, found[p][1] + t];
                },
            );
        }
        let mut tilts = Vec::with_capacity(found.len() / channels);
        for (j, sums) in found.chunks(channels).enumerate() {
            let weights = &args.w[first + j * channels..][..channels];
            tilts.push(self.tilts(self.norm.moments()[set + j], weights, sums));
        }
        for (row, dx) in dx.iter_mut().enumerate() {
            let x = sets.row(args.x, at, row, len);
            for (p, (dx, x)) in dx.get_mut().chunks_exact_mut(plane).zip(x.chunks_exact(plane)).enumerate() {
                lines[p].end_gradient(tilts[p / channels](args.w[first + p]), x, dx);
            }
        }
        found
    }

    /// [`Gradient::in_place`] for planes that are gathered first.
    #[inline(always)]
    fn scattered<T: Element>(&self, args: Args<'_, T>, at: Columns, dx: &mut [Blank<'_, T>]) -> Vec<Sums> {
        let (sets, len, first) = (self.norm.sets, dx[0].len(), at.start / self.norm.sets.plane);
        let [x, dy] = [args.x, args.dy].map(|x| sets.gather(x, at, len));
        let mut z = x.clone();
        let n = sets.numbers();
        let mut found = Vec::with_capacity(len / sets.plane);
        for (j, (z, (x, dy))) in
            z.chunks_exact_mut(n).zip(x.chunks_exact(n).zip(dy.chunks_exact(n))).enumerate()
        {
            let channel = first + j;
            let line = self.line(args, channel, channel);
            line.differentiate(z, dy);
            let sums = sums(
                z,
                x,
                #[inline(always)]
                |dz, x| [dz, dz * (x - line.mean)],
            );
            let tilt = self.tilts(self.norm.moments()[channel], &args.w[channel..=channel], &[sums])(
                args.w[channel],
            );
            line.end_gradient(tilt, x, z);
            found.push(sums);
        }
        sets.scatter(&z, dx);
        found
    }

    /// Sums over all pieces first, then the gradients.
    fn in_two_passes<T: Element>(&self, args: Args<'_, T>) -> Result<(Vec<T>, Vec<Sums>)> {
        let (sets, pieces) = (self.norm.sets, self.norm.sets.pieces());
        let parts = sets.by_pieces([0.0; 2], |piece, set, channel| {
            let line = self.line(args, set, channel);
            vectorised(
                #[inline(always)]
                || line.sums(&args.x[piece.clone()], &args.dy[piece], &mut [T::ZERO; BLOCK]),
            )
        });
        let mut found = vec![[0.0; 2]; sets.slabs * sets.channels];
        for (i, part) in parts.iter().enumerate() {
            let plane = i / pieces;
            let sum = &mut found[plane / (sets.rows * sets.channels) * sets.channels + plane % sets.channels];
            *sum = [sum[0] + part[0], sum[1] + part[1]];
        }
        let channels = sets.together;
        let whole = match &self.norm.peers {
            Some(peers) => &shared::sums(&**peers, &found)?,
            None => &found,
        };
        let tilts = whole.chunks(channels).enumerate().map(|(set, sums)| {
            let weights = &args.w[set % sets.per_slab() * channels..][..channels];
            self.tilts(self.norm.moments()[set], weights, sums)
        });
        let tilts: Vec<_> = tilts.collect();
        let planes = sets.slabs * sets.rows * sets.channels;
        let dx = by_columns([planes, 1, sets.plane], CHUNK, self.norm.work(), |at, dx| {
            let (set, channel) = sets.of_plane(at.slab);
            let line = self.line(args, set, channel);
            let x = [args.x, args.dy].map(|x| &x[at.slab * sets.plane + at.start..][..dx[0].len()]);
            let tilt = tilts[set](args.w[channel]);
            vectorised(
                #[inline(always)]
                || line.write_gradient(tilt, x, &mut dx[0], &mut [T::ZERO; BLOCK]),
            );
        });
        Ok((dx, found))
    }

    /// From sums for each channel of each slab to the gradients by shift and weight.
    fn of_parameters(&self, found: &[Sums]) -> Vec<Sums> {
        let sets = self.norm.sets;
        let mut total = vec![[0.0; 2]; sets.channels];
        for (i, [s, t]) in found.iter().enumerate() {
            let (slab, channel) = (i / sets.channels, i % sets.channels);
            let moments = self.norm.moments()[slab * sets.per_slab() + channel / sets.together];
            total[channel][0] += s;
            total[channel][1] += t * self.norm.inverse_deviation(moments);
        }
        total
    }
}

impl Kernel<3> for Gradient {
    const NAME: &'static str = "norm";

    fn forward<T: Element>(&self, [x, wb, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let sets = self.norm.sets;
        let (w, b) = wb.data.split_at(sets.channels);
        let args = Args { x: &x.data, w, b, dy: &dy.data };
        let (dx, found) = if self.norm.takes_two_passes() {
            self.in_two_passes(args)?
        } else {
            let shape = [sets.slabs, sets.rows, sets.columns()];
            let (dx, found) = by_columns_finding(shape, sets.block(2), 2 * self.norm.work(), |at, dx| {
                vectorised(
                    #[inline(always)]
                    || self.block(args, at, dx),
                )
            });
            (dx, found.concat())
        };
        let first = self.sums.set(self.of_parameters(&found)).is_ok();
        debug_assert!(first, "a gradient's kernel runs once");
        Ok((dx, x.dims.into()))
    }
}
