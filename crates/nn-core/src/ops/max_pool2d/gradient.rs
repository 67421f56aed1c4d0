//! The gradient of max pooling: each window's goes to the place of its maximum.

use candle_core::{Result, Shape};

use super::scan::Scan;
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::simd::vectorised;
use crate::ops::kernel::{Kernel, View};
use crate::ops::pooling::Pooling;

/// `dx[place of the maximum of window o] += dy[o]`
#[derive(Clone, Copy)]
pub(super) struct Gradient(pub(super) Pooling);

impl Kernel<2> for Gradient {
    const NAME: &'static str = "max_pool2d-dx";

    fn forward<T: Element>(&self, [x, dy]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let p = self.0;
        let dx = collect_chunks(
            [p.planes(), p.plane()],
            p.work(),
            || Scratch::new(p),
            |scratch, i| {
                let (x, dy) =
                    (&x.data[i * p.plane()..][..p.plane()], &dy.data[i * p.pooled()..][..p.pooled()]);
                vectorised(
                    #[inline(always)]
                    || scratch.spread(x, dy),
                );
                &scratch.dx
            },
        );
        Ok((dx, p.input_shape()))
    }
}

/// One plane on its way back.
struct Scratch<T> {
    pooling: Pooling,
    scan: Scan<T, u32>,
    /// Maxima of one row of windows, and their places.
    best: Vec<T>,
    place: Vec<u32>,
    dx: Vec<T>,
}

impl<T: Element> Scratch<T> {
    fn new(p: Pooling) -> Self {
        Self {
            pooling: p,
            scan: Scan::new(p),
            best: vec![T::ZERO; p.output[1]],
            place: vec![0; p.output[1]],
            dx: vec![T::ZERO; p.plane()],
        }
    }

    #[inline(always)]
    fn spread(&mut self, x: &[T], dy: &[T]) {
        let (p, [down, right]) = (self.pooling, self.pooling.windows);
        self.scan.columns(x);
        self.dx.fill(T::ZERO);
        for (o, dy) in dy.chunks_exact(p.output[1]).enumerate() {
            self.scan.row(o, &mut self.best, &mut self.place);
            // Where a window starts may lie before the plane; the place of its maximum does not.
            let mut start = (down.start(o) * p.input[1] as isize + right.start(0)) as usize;
            for (&place, &dy) in self.place.iter().zip(dy) {
                self.dx[start.wrapping_add(place as usize)] += dy;
                start = start.wrapping_add(right.stride);
            }
        }
    }
}
