//! The three gradients of a convolution, each a matrix product over the same patches as the forward pass.

use candle_core::{Result, Shape};

use super::Plan;
use crate::cpu::Element;
use crate::cpu::bands::{Filled, by_bands};
use crate::cpu::gemm::{Mat, product};
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::vector::sum;
use crate::ops::kernel::{Kernel, View};

/// `dx`, from `dy` and `w`: `wᵀ · dy`, added back to the pixels the patches came from.
#[derive(Clone)]
pub(in crate::ops) struct Input(pub(in crate::ops) Plan);

/// A weight gradient smaller than this is summed in several copies, one for a share of the images.
pub(super) const SMALL: usize = 64 * 1024;
/// How many copies, or blocks of channels, at most; fixed, so that sums do not depend on the threads.
pub(super) const SHARES: usize = 8;

impl Kernel<2> for Input {
    const NAME: &'static str = "conv2d-dx";

    fn forward<T: Element>(&self, [dy, w]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        Ok(self.0.input_gradient(&dy.data, &w.data, None))
    }
}

/// Tasks are already many: cut bands for the cache alone.
const TASKS_ENOUGH: usize = usize::MAX;

impl Plan {
    /// `dx`, onto one number a channel if they are given: a transposed convolution and its bias.
    pub(in crate::ops) fn input_gradient<T: Element>(
        &self,
        dy: &[T],
        w: &[T],
        b: Option<&[T]>,
    ) -> (Vec<T>, Shape) {
        let [h, width] = self.patches.input;
        let shape = (self.batch, self.c_in, h, width).into();
        if self.is_depthwise() {
            return (self.depthwise_input_gradient(dy, w, b), shape);
        }
        if self.is_linear() && b.is_none() {
            return (self.linear_input_gradient(dy, w), shape);
        }
        if let Some(dx) = self.pointwise_input_gradient(dy, w, b) {
            return (dx, shape);
        }
        let turned = || self.turned_input_gradient(T::as_f32(dy)?, T::as_f32(w)?, b.and_then(T::as_f32));
        if let Some(dx) = turned().and_then(T::from_f32) {
            return (dx, shape);
        }
        if self.patches.are_pixels() {
            return (self.pixel_gradient(dy, w, b), shape);
        }
        (self.scattered_gradient(dy, w, b), shape)
    }

    /// `dx` by way of all that every tap contributes to it.
    fn scattered_gradient<T: Element>(&self, dy: &[T], w: &[T], b: Option<&[T]>) -> Vec<T> {
        let plan = self;
        let (o, depth, taps) = (plan.o(), plan.depth(), plan.patches.taps());
        let (plane, positions, w_out) =
            (plan.patches.plane(), plan.patches.positions(), plan.patches.output[1]);
        let block = plan.channel_block(plan.batch * plan.groups);
        let blocks = plan.i() / block.max(1);
        let mut dx = match b {
            None => vec![T::ZERO; plan.batch * plan.c_in * plane],
            Some(b) => {
                let planes = (0..plan.batch).flat_map(|_| b);
                planes.flat_map(|&b| std::iter::repeat_n(b, plane)).collect()
            }
        };
        for_each_chunk(&mut dx, block * plane, plan.multiply_adds(), |task, dx| {
            let (m, first) = (task / blocks, task % blocks * block * taps);
            let dy = plan.group(dy, m, o, positions);
            let w = &w[m % plan.groups * o * depth + first..];
            let w = Mat { data: w, rows: o, cols: block * taps, row: depth, col: 1 };
            let step = plan.band_rows(block * taps, TASKS_ENOUGH);
            for top in (0..plan.patches.output[0]).step_by(step) {
                let rows = top..(top + step).min(plan.patches.output[0]);
                let dy = Mat {
                    data: &dy[top * w_out..],
                    rows: o,
                    cols: rows.len() * w_out,
                    row: positions,
                    col: 1,
                };
                plan.patches.scatter_add(&product(w.t(), dy), rows, dx);
            }
        });
        dx
    }

    /// `dx = wᵀ · dy` where every pixel is its own patch.
    fn pixel_gradient<T: Element>(&self, dy: &[T], w: &[T], b: Option<&[T]>) -> Vec<T> {
        let (i, o, positions) = (self.i(), self.o(), self.patches.positions());
        let matrices = self.batch * self.groups;
        let band = self.band_rows(o, matrices) * self.patches.output[1];
        by_bands([matrices, i, positions], band, self.multiply_adds(), |m, first, empty| {
            let dy = &self.group(dy, m, o, positions)[first..];
            let dy = Mat { data: dy, rows: o, cols: empty.cols(), row: positions, col: 1 };
            let group = m % self.groups;
            let w = Mat::new(&w[group * o * i..(group + 1) * o * i], o, i).t();
            match b {
                None => empty.product(w, dy),
                Some(b) => empty.rows(&b[group * i..(group + 1) * i]).add_product(w, dy),
            }
        })
    }

    /// Input channels of a task: all of a group's, or few enough for [`SHARES`] tasks if there are few images.
    fn channel_block(&self, tasks: usize) -> usize {
        let i = self.i();
        let wanted = i.div_ceil(SHARES.div_ceil(tasks.max(1))).max(1);
        (wanted..=i).find(|block| i.is_multiple_of(*block)).unwrap_or(i)
    }
}

/// `dw`, from `dy` and `x`: `dy · columnsᵀ`, summed over images and bands.
#[derive(Clone)]
pub(in crate::ops) struct Weight(pub(in crate::ops) Plan);

impl Kernel<2> for Weight {
    const NAME: &'static str = "conv2d-dw";

    fn forward<T: Element>(&self, [dy, x]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let plan = &self.0;
        let [kh, kw] = plan.patches.windows.map(|w| w.kernel);
        let shape = (plan.c_out, plan.i(), kh, kw).into();
        if plan.is_depthwise() {
            return Ok((plan.depthwise_weight_gradient(&dy.data, &x.data), shape));
        }
        if plan.is_linear() {
            return Ok((plan.linear_weight_gradient(&dy.data, &x.data), shape));
        }
        if let Some(dw) = plan.pointwise_weight_gradient(&dy.data, &x.data) {
            return Ok((dw, shape));
        }
        let single = || {
            let (dy, x) = (T::as_f32(&dy.data)?, T::as_f32(&x.data)?);
            plan.winograd_weight_gradient(dy, x).or_else(|| plan.direct_weight_gradient(dy, x))
        };
        if let Some(dw) = single().and_then(T::from_f32) {
            return Ok((dw, shape));
        }
        let (i, o, depth, taps) = (plan.i(), plan.o(), plan.depth(), plan.patches.taps());
        let size = plan.c_out * depth;
        let shares = if size < SMALL { plan.batch.clamp(1, SHARES) } else { 1 };
        let block = if size < SMALL { i } else { i.div_ceil(SHARES) };
        let per_share = plan.batch.div_ceil(shares);
        let dims = [shares * plan.groups, o, depth];
        let mut dw = by_bands(dims, block * taps, plan.multiply_adds(), |m, first, empty| {
            let (share, group) = (m / plan.groups, m % plan.groups);
            let channels = first / taps..(first + empty.cols()) / taps;
            let images = share * per_share..((share + 1) * per_share).min(plan.batch);
            let mut buffer = Vec::new();
            let mut sum = empty.rows(&vec![T::ZERO; o]);
            for image in images {
                let m = image * plan.groups + group;
                let x = plan.group(&x.data, m, i, plan.patches.plane());
                let x = &x[channels.start * plan.patches.plane()..channels.end * plan.patches.plane()];
                let dy = plan.group(&dy.data, m, o, plan.patches.positions());
                sum = plan.add_image(sum, x, dy, &mut buffer);
            }
            sum
        });
        for share in 1..shares {
            let (total, rest) = dw.split_at_mut(size);
            total.iter_mut().zip(&rest[(share - 1) * size..share * size]).for_each(|(t, &d)| *t += d);
        }
        dw.truncate(size);
        Ok((dw, shape))
    }
}

impl Plan {
    /// Adds one image's part of a band of the weight gradient.
    fn add_image<T: Element>(&self, mut sum: Filled<T>, x: &[T], dy: &[T], buffer: &mut Vec<T>) -> Filled<T> {
        let [h_out, w_out] = self.patches.output;
        let depth = x.len() / self.patches.plane().max(1) * self.patches.taps();
        let step = self.band_rows(depth, TASKS_ENOUGH);
        for top in (0..h_out).step_by(step) {
            let rows = top..(top + step).min(h_out);
            let cols = rows.len() * w_out;
            let dy = Mat { data: &dy[top * w_out..], rows: self.o(), cols, row: h_out * w_out, col: 1 };
            sum = sum.add_product(dy, self.patches.columns(x, rows, buffer).t());
        }
        sum
    }
}

/// `db = Σ dy` over images and pixels.
#[derive(Clone)]
pub(in crate::ops) struct Bias {
    channels: usize,
    plane: usize,
}

impl Bias {
    /// Of a bias on a convolution's output.
    pub(super) fn of_output(plan: &Plan) -> Self {
        Self { channels: plan.c_out, plane: plan.patches.positions() }
    }

    /// Of a bias where a convolution has its input: on the output of its transpose.
    pub(in crate::ops) fn of_input(plan: &Plan) -> Self {
        Self { channels: plan.c_in, plane: plan.patches.plane() }
    }
}

impl Kernel<1> for Bias {
    const NAME: &'static str = "conv2d-db";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let mut db = vec![T::ZERO; self.channels];
        for (plane, dy) in dy.data.chunks_exact(self.plane).enumerate() {
            db[plane % self.channels] += T::of(sum(dy, |d| d));
        }
        Ok((db, self.channels.into()))
    }
}
