//! The gradient of average pooling: each window's is shared out among its pixels.

use candle_core::{Result, Shape};

use super::Average;
use super::plane::{divide, divisors};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::{Phases, sum_taps};
use crate::cpu::simd::vectorised;
use crate::ops::kernel::{Kernel, View};
use crate::ops::pooling::Pooling;

/// `dx[pixel] = Σ over the windows o that cover it of dy[o] / divisor`
#[derive(Clone, Copy)]
pub(super) struct Gradient(pub(super) Average);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "avg_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let p = self.0.pooling;
        let dx = collect_chunks(
            [p.planes(), p.plane()],
            p.work(),
            || Scratch::new(&self.0),
            |scratch, i| {
                vectorised(
                    #[inline(always)]
                    || scratch.spread(&dy.data[i * p.pooled()..][..p.pooled()]),
                );
                &scratch.dx
            },
        );
        Ok((dx, p.input_shape()))
    }
}

/// One plane of the gradient on its way back: along the width first.
struct Scratch<T> {
    pooling: Pooling,
    phases: Phases,
    divisors: Vec<T>,
    /// Gradients of sums over windows, in rows of one pitch with zeros between them and before the first.
    windows: Vec<T>,
    /// For each phase, where the windows are in `windows` that its pixels are in.
    taps: Vec<Vec<usize>>,
    /// Gradients of sums of rows, `[H', W]`, dealt out and in rows.
    buffer: Vec<T>,
    sums: Vec<T>,
    /// Where the rows of windows start that cover each row of pixels.
    rows: Vec<Vec<usize>>,
    dx: Vec<T>,
}

impl<T: Element> Scratch<T> {
    fn new(a: &Average) -> Self {
        let p = a.pooling;
        let ([height, width], [rows, columns], [down, right]) = (p.input, p.output, p.windows);
        let phases = Phases::new(right, rows, width, columns);
        let gap = phases.pitch() - columns;
        let taps = |phase: usize| (phase..right.kernel).step_by(right.stride).map(|t| gap - t / right.stride);
        Self {
            pooling: p,
            phases,
            divisors: divisors(a, columns),
            windows: vec![T::ZERO; gap + phases.phase()],
            taps: (0..phases.used()).map(|phase| taps(phase).collect()).collect(),
            buffer: phases.buffer(T::ZERO),
            sums: vec![T::ZERO; rows * width],
            rows: (0..height).map(|r| down.covering(r, rows).map(|o| o * width).collect()).collect(),
            dx: vec![T::ZERO; p.plane()],
        }
    }

    #[inline(always)]
    fn spread(&mut self, dy: &[T]) {
        let (columns, pitch) = (self.pooling.output[1], self.phases.pitch());
        let gap = pitch - columns;
        if gap == 0 {
            divide(dy, &self.divisors, &mut self.windows);
        } else {
            let rows = dy.chunks_exact(columns).zip(self.divisors.chunks_exact(columns));
            for (window, (dy, divisor)) in self.windows[gap..].chunks_exact_mut(pitch).zip(rows) {
                divide(dy, divisor, &mut window[..columns]);
            }
        }
        for (taps, phase) in self.taps.iter().zip(self.buffer.chunks_exact_mut(self.phases.phase())) {
            sum_taps(&self.windows, taps, phase);
        }
        self.phases.merge(&self.buffer, &mut self.sums);
        for (dx, rows) in self.dx.chunks_exact_mut(self.pooling.input[1]).zip(&self.rows) {
            sum_taps(&self.sums, rows, dx);
        }
    }
}
