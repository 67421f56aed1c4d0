//! The gradient of max pooling: each window's goes to the place of its maximum.

use candle_core::{Result, Shape};

use super::place::{Place, Places};
use crate::cpu::Element;
use crate::cpu::parallel::collect_chunks;
use crate::cpu::phases::Phases;
use crate::cpu::simd::{block, vectorised};
use crate::ops::kernel::{Kernel, View};
use crate::ops::pooling::{BAND, Pooling};
use crate::ops::saved::Saved;

/// `dx[pixel] = Σ over the windows o whose maximum is there of dy[o]`
#[derive(Clone)]
pub(super) struct Gradient {
    pub(super) pooling: Pooling,
    pub(super) places: Saved<Places>,
}

impl Kernel<1> for Gradient {
    const NAME: &'static str = "max_pool2d-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let dx = match self.places.get() {
            Some(Places::Few(places)) => spread(self.pooling, &dy.data, places),
            Some(Places::Many(places)) => spread(self.pooling, &dy.data, places),
            None => unreachable!("the forward pass of what is differentiated keeps the places"),
        };
        Ok((dx, self.pooling.input_shape()))
    }
}

fn spread<T: Element, P: Place>(p: Pooling, dy: &[T], places: &[P]) -> Vec<T> {
    collect_chunks(
        [p.planes(), p.plane()],
        p.work(),
        || Scratch::new(p),
        |scratch, i| {
            let (first, count) = (i * p.pooled(), p.pooled());
            let (dy, places) = (&dy[first..][..count], &places[first..][..count]);
            vectorised(
                #[inline(always)]
                || scratch.plane(dy, places),
            );
            &scratch.dx
        },
    )
}

/// One plane on its way back.
///
/// Pixels are dealt out by stride along both axes, see [`Phases`]: then the windows that see pixels `0, 1, 2, …` of a phase
/// with one tap are windows `0, 1, 2, …`, and each pixel asks the windows that see it whether it is their maximum. Nothing
/// is scattered, and nothing is zeroed first.
struct Scratch<T, P> {
    pooling: Pooling,
    phases: Phases,
    /// Rows of one phase that a band has.
    rows: usize,
    /// For each phase of the columns and each of the rows, the taps that see it.
    taps: Vec<Vec<Tap<P>>>,
    /// Rows of windows that see a row of a phase, before the one of its number; the same along a row.
    gap: [usize; 2],
    /// A band's windows in rows of one pitch, with zeros between them.
    dy: Vec<T>,
    places: Vec<P>,
    /// A band's pixels, dealt out.
    buffer: Vec<T>,
    /// Pixels that no window sees stay zero.
    dx: Vec<T>,
}

/// Which windows see the pixels of a phase, and with which tap.
struct Tap<P> {
    start: usize,
    number: P,
}

impl<T: Element, P: Place> Scratch<T, P> {
    fn new(p: Pooling) -> Self {
        let ([_, width], [windows, columns], [down, right]) = (p.input, p.output, p.windows);
        let used = [down, right].map(|w| w.stride.min(w.span()));
        let pitch = Phases::new(right, 1, width, columns).pitch();
        let gap = [(down.span() - 1) / down.stride, pitch - columns];
        let rows = (BAND / (pitch * used[0] * used[1])).clamp(1, windows + gap[0]);
        let mut taps: Vec<Vec<Tap<P>>> = (0..used[0] * used[1]).map(|_| Vec::new()).collect();
        for (m, n) in (0..down.kernel).flat_map(|m| (0..right.kernel).map(move |n| (m, n))) {
            let [y, x] = [m * down.dilation, n * right.dilation];
            let start = (gap[0] - y / down.stride) * pitch + gap[1] - x / right.stride;
            let phase = x % right.stride * used[0] + y % down.stride;
            taps[phase].push(Tap { start, number: P::at(m * right.kernel + n) });
        }
        let phases = Phases::new(right, used[0] * rows, width, columns);
        let windows = gap[1] + (gap[0] + rows) * pitch;
        Self {
            pooling: p,
            phases,
            rows,
            taps,
            gap,
            dy: vec![T::ZERO; windows],
            places: vec![P::at(0); windows],
            buffer: phases.buffer(T::ZERO),
            dx: vec![T::ZERO; p.plane()],
        }
    }

    #[inline(always)]
    fn plane(&mut self, dy: &[T], places: &[P]) {
        let windows = self.pooling.output[0];
        for first in (0..windows + self.gap[0]).step_by(self.rows) {
            self.load(first, dy, places);
            let phases = self.buffer.chunks_exact_mut(self.rows * self.phases.pitch());
            for (taps, phase) in self.taps.iter().zip(phases) {
                gather(taps, (&self.dy, &self.places), phase);
            }
            self.merge(first);
        }
    }

    /// Copies the rows of windows that see rows `first` and following of any phase.
    #[inline(always)]
    fn load(&mut self, first: usize, dy: &[T], places: &[P]) {
        let ([rows, columns], pitch) = (self.pooling.output, self.phases.pitch());
        let lines = self.dy[self.gap[1]..].chunks_exact_mut(pitch);
        let lines = lines.zip(self.places[self.gap[1]..].chunks_exact_mut(pitch));
        for (i, (line, place)) in lines.enumerate() {
            match (first + i).checked_sub(self.gap[0]) {
                Some(o) if o < rows => {
                    line[..columns].copy_from_slice(&dy[o * columns..][..columns]);
                    place[..columns].copy_from_slice(&places[o * columns..][..columns]);
                }
                _ => line.fill(T::ZERO),
            }
        }
    }

    /// Puts together the rows of pixels whose rows of a phase are `first` and following.
    #[inline(always)]
    fn merge(&mut self, first: usize) {
        let ([height, width], down) = (self.pooling.input, self.pooling.windows[0]);
        let [start, end] = [first, first + self.rows]
            .map(|row| (row * down.stride).saturating_sub(down.padding[0]).min(height));
        let dx = self.dx[start * width..end * width].chunks_exact_mut(width);
        for (row, dx) in (start..).zip(dx) {
            let at = row + down.padding[0];
            let (phase, row) = (at % down.stride, at / down.stride);
            let seen = phase < down.span() && row < self.pooling.output[0] + self.gap[0];
            if seen {
                self.phases.merge_row(&self.buffer, phase * self.rows + row - first, dx);
            }
        }
    }
}

/// `dx[i] = Σ dy[tap + i] over the taps that are window tap + i's maximum`
#[inline(always)]
fn gather<T: Element, P: Place>(taps: &[Tap<P>], y: (&[T], &[P]), dx: &mut [T]) {
    match dx.len() {
        16.. => blocks::<T, P, 16>(taps, y, dx),
        8.. => blocks::<T, P, 8>(taps, y, dx),
        4.. => blocks::<T, P, 4>(taps, y, dx),
        _ => blocks::<T, P, 1>(taps, y, dx),
    }
}

/// [`gather`] for `N` pixels at a time; the last ones are worked out twice if `N` does not divide their number.
#[inline(always)]
fn blocks<T: Element, P: Place, const N: usize>(taps: &[Tap<P>], (dy, places): (&[T], &[P]), dx: &mut [T]) {
    let mut start = 0;
    while start < dx.len() {
        let at = start.min(dx.len() - N);
        let mut sum = [T::ZERO; N];
        for tap in taps {
            let (mut dy, places) = (block::<T, N>(dy, tap.start + at), block::<P, N>(places, tap.start + at));
            // A loop for each step: of one loop over all of them the compiler makes branches, not vectors.
            for i in 0..N {
                dy[i] = if places[i] == tap.number { dy[i] } else { T::ZERO };
            }
            for i in 0..N {
                sum[i] += dy[i];
            }
        }
        dx[at..at + N].copy_from_slice(&sum);
        start += N;
    }
}
