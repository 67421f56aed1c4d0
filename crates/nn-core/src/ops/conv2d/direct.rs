//! The convolutions that need no patches: forward, and both gradients as convolutions of their own; that of the input goes any
//! way a forward pass does.

use super::Plan;
use super::backward::{SHARES, SMALL};
use super::ending::Ending;
use crate::cpu::bands::by_bands;
use crate::cpu::direct::{self, add_weight_gradient, pitch};
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::patches::Patches;
use crate::ops::window::Window;

/// Numbers of a band's padded input and tiles that stay in the second-level cache.
const NEAR: usize = 128 * 1024;

impl Plan {
    /// Output rows of a band: few enough for the cache and for [`super::TASKS`] bands, if not slivers.
    fn direct_rows(&self) -> usize {
        let [h_out, _] = self.patches.output;
        let per_row = (self.i() + self.o()) * pitch(&self.patches);
        let for_tasks = h_out.div_ceil(super::TASKS.div_ceil(self.batch * self.groups));
        let not_slivers = 4 * self.patches.windows[0].span();
        (NEAR / per_row.max(1)).min(for_tasks.max(not_slivers)).clamp(1, h_out)
    }

    pub(super) fn direct_forward(&self, x: &[f32], w: &[f32], end: Ending<f32>) -> Option<Vec<f32>> {
        let p = &self.patches;
        if self.batch == 0 || !direct::suits(p) {
            return None;
        }
        let (o, depth, w_out) = (self.o(), self.depth(), p.output[1]);
        let dims = [self.batch * self.groups, o, p.positions()];
        let band = self.direct_rows() * w_out;
        Some(by_bands(dims, band, self.multiply_adds(), |m, first, empty| {
            let group = m % self.groups;
            let x = self.group(x, m, self.i(), p.plane());
            let w = &w[group * o * depth..(group + 1) * o * depth];
            let rows = first / w_out..(first + empty.cols()) / w_out;
            let lines = direct::forward(p, x, w, rows);
            end.of(group * o..(group + 1) * o)
                .after(empty, |empty, b| empty.lines(&lines, [w_out, pitch(p)], b))
        }))
    }

    /// `dx` is `dy`, padded to the full overlap, convolved with the kernel turned around and its channels exchanged.
    pub(super) fn turned_input_gradient(&self, dy: &[f32], w: &[f32], b: Option<&[f32]>) -> Option<Vec<f32>> {
        let turn = |w: &Window| -> Option<Window> {
            let full = w.span() - 1;
            Some(Window { padding: [full.checked_sub(w.padding[0])?, full.checked_sub(w.padding[1])?], ..*w })
        };
        let p = &self.patches;
        let windows = [turn(&p.windows[0])?, turn(&p.windows[1])?];
        let patches = Patches { input: p.output, windows, output: p.input };
        let turned = Plan { c_in: self.c_out, c_out: self.c_in, patches, ..*self };
        if p.windows.iter().any(|w| w.stride != 1) || !direct::suits(&patches) {
            return None;
        }
        turned.single_forward(dy, &self.turned_kernel(w), b.map_or(Ending::Nothing, Ending::Bias))
    }

    /// `[groups · o, i, kh, kw]` → `[groups · i, o, kh, kw]`, rows and columns back to front.
    fn turned_kernel(&self, w: &[f32]) -> Vec<f32> {
        let (i, o, taps) = (self.i(), self.o(), self.patches.taps());
        let mut turned = Vec::with_capacity(w.len());
        for group in w.chunks_exact(o * i * taps) {
            for channel in 0..i {
                for kernel in group.chunks_exact(i * taps) {
                    turned.extend(kernel[channel * taps..(channel + 1) * taps].iter().rev());
                }
            }
        }
        turned
    }

    pub(super) fn direct_weight_gradient(&self, dy: &[f32], x: &[f32]) -> Option<Vec<f32>> {
        let p = &self.patches;
        if self.batch == 0 || !direct::suits(p) {
            return None;
        }
        let (i, o, depth) = (self.i(), self.o(), self.depth());
        let size = self.c_out * depth;
        // Small gradients: a copy for each share of the images. Large ones: a task for each block of outputs.
        let (shares, block) =
            if size < SMALL { (self.batch.min(SHARES), o) } else { (1, o.div_ceil(SHARES)) };
        let blocks = o.div_ceil(block);
        let per_share = self.batch.div_ceil(shares);
        let mut dw = vec![0.0; shares * size];
        let task = |t: usize, dw: &mut [f32]| {
            let (share, group, first) =
                (t / (self.groups * blocks), t / blocks % self.groups, t % blocks * block);
            let images = share * per_share..((share + 1) * per_share).min(self.batch);
            let group = |image: usize| image * self.groups + group;
            let xs: Vec<_> = images.clone().map(|n| self.group(x, group(n), i, p.plane())).collect();
            let wanted = first * p.positions()..(first + dw.len() / depth) * p.positions();
            let dys: Vec<_> =
                images.map(|n| &self.group(dy, group(n), o, p.positions())[wanted.clone()]).collect();
            add_weight_gradient(p, &xs, &dys, dw);
        };
        if o.is_multiple_of(block) {
            for_each_chunk(&mut dw, block * depth, self.multiply_adds(), task);
        } else {
            return None;
        }
        for share in 1..shares {
            let (total, rest) = dw.split_at_mut(size);
            total.iter_mut().zip(&rest[(share - 1) * size..share * size]).for_each(|(t, &d)| *t += d);
        }
        dw.truncate(size);
        Some(dw)
    }
}
