//! The walk over the windows of a plane.

use std::ops::Range;

use super::place::Place;
use crate::cpu::Element;
use crate::cpu::phases::Phases;
use crate::cpu::simd::block;
use crate::ops::pooling::Pooling;

/// The maxima of one plane and their places.
///
/// First the maxima of every row of pixels under every window, then of the rows of a window: in this order the first
/// of equal maxima is the first in row-major order.
pub(super) struct Scan<T, P> {
    phases: Phases,
    bands: Vec<Band<P>>,
    /// The pixels of a band.
    buffer: Vec<T>,
    /// The taps along the width, in `buffer` and `firsts`.
    taps: Vec<Tap<P>>,
    /// For tap 0, the first one that sees a pixel; and zeros for the other taps.
    firsts: Vec<P>,
    /// The maxima of a band's rows of pixels, and their places.
    best: Vec<T>,
    place: Vec<P>,
    columns: usize,
    pub(super) y: Vec<T>,
    pub(super) places: Vec<P>,
}

/// Rows of windows that are worked on together.
struct Band<P> {
    /// The pixels that they see.
    pixels: Range<usize>,
    /// The rows of pixels that each row of windows sees, in `best` and `place`.
    rows: Vec<Vec<Tap<P>>>,
}

/// What a tap sees, for one window after the other.
struct Tap<P> {
    /// Where the pixels start.
    values: usize,
    /// Where their places start, to which `number` is added.
    places: usize,
    number: P,
}

impl<T: Element, P: Place> Scan<T, P> {
    pub(super) fn new(p: Pooling) -> Self {
        let ([_, width], [_, columns], [_, right]) = (p.input, p.output, p.windows);
        let pitch = Phases::new(right, 1, width, columns).pitch();
        let bands: Vec<Band<P>> = p.bands().map(|rows| Band::new(p, rows, pitch)).collect();
        let rows = bands.iter().map(|band| band.pixels.len() / width).max().unwrap_or(0);
        let phases = Phases::new(right, rows, width, columns);
        let tap = |t: usize| {
            let places = if t == 0 { 0 } else { phases.phase() };
            Tap { values: phases.tap(t).start, places, number: P::at(t) }
        };
        let first = |i: usize| if i < columns { right.taps(width, i).start } else { 0 };
        let mut firsts: Vec<P> = (0..phases.phase()).map(|i| P::at(first(i % pitch))).collect();
        firsts.resize(2 * phases.phase(), P::at(0));
        Self {
            phases,
            bands,
            buffer: phases.buffer(T::NEG_INFINITY),
            taps: (0..right.kernel).map(tap).collect(),
            firsts,
            best: vec![T::ZERO; phases.phase()],
            place: vec![P::at(0); phases.phase()],
            columns,
            y: vec![T::ZERO; p.pooled()],
            places: vec![P::at(0); p.pooled()],
        }
    }

    /// Finds the maxima of a plane.
    #[inline(always)]
    pub(super) fn plane(&mut self, x: &[T]) {
        let mut y = self.y.chunks_exact_mut(self.columns).zip(self.places.chunks_exact_mut(self.columns));
        for band in &self.bands {
            self.phases.split(&x[band.pixels.clone()], &mut self.buffer);
            maxima(&self.taps, (&self.buffer, &self.firsts), (&mut self.best, &mut self.place));
            for (taps, (y, places)) in band.rows.iter().zip(&mut y) {
                maxima(taps, (&self.best, &self.place), (y, places));
            }
        }
    }
}

impl<P: Place> Band<P> {
    /// Some rows of windows; rows of what they see follow each other at `pitch`.
    fn new(p: Pooling, rows: Range<usize>, pitch: usize) -> Self {
        let ([height, width], [down, right]) = (p.input, p.windows);
        let row = |o: usize, m: usize| (down.start(o) + (m * down.dilation) as isize) as usize;
        let seen = |o: usize| down.taps(height, o).map(move |m| (m, row(o, m)));
        let (mut first, mut end) = (height, 0);
        for (_, row) in rows.clone().flat_map(seen) {
            (first, end) = (first.min(row), end.max(row + 1));
        }
        let tap = |(m, row): (usize, usize)| {
            let start = (row - first) * pitch;
            Tap { values: start, places: start, number: P::at(m * right.kernel) }
        };
        let rows = rows.map(|o| seen(o).map(tap).collect()).collect();
        Self { pixels: first * width..end * width, rows }
    }
}

/// The first maximum over the taps of each window, and its place.
#[inline(always)]
fn maxima<T: Element, P: Place>(taps: &[Tap<P>], x: (&[T], &[P]), y: (&mut [T], &mut [P])) {
    // Whole vectors even for short rows. Three taps, which most networks have, are a loop that the compiler unrolls.
    match y.0.len() {
        16.. => match <&[Tap<P>; 3]>::try_from(taps) {
            Ok(taps) => blocks::<T, P, 16>(taps, x, y),
            Err(_) => blocks::<T, P, 16>(taps, x, y),
        },
        8.. => blocks::<T, P, 8>(taps, x, y),
        4.. => blocks::<T, P, 4>(taps, x, y),
        _ => blocks::<T, P, 1>(taps, x, y),
    }
}

/// [`maxima`] of `N` windows at a time; the last ones are worked out twice if `N` does not divide their number.
#[inline(always)]
fn blocks<T: Element, P: Place, const N: usize>(
    taps: &[Tap<P>],
    (x, places): (&[T], &[P]),
    (best, place): (&mut [T], &mut [P]),
) {
    let mut start = 0;
    while start < best.len() {
        let at = start.min(best.len() - N);
        let mut b = block::<T, N>(x, taps[0].values + at);
        let mut p = block::<P, N>(places, taps[0].places + at);
        p.iter_mut().for_each(|p| *p = p.plus(taps[0].number));
        for tap in &taps[1..] {
            let x = block::<T, N>(x, tap.values + at);
            let mut q = block::<P, N>(places, tap.places + at);
            // A loop for each step: of one loop over all of them the compiler makes branches, not vectors.
            let mut wins = [false; N];
            q.iter_mut().for_each(|q| *q = q.plus(tap.number));
            for i in 0..N {
                wins[i] = beats(x[i], b[i]);
            }
            for i in 0..N {
                p[i] = if wins[i] { q[i] } else { p[i] };
            }
            for i in 0..N {
                b[i] = if wins[i] { x[i] } else { b[i] };
            }
        }
        best[at..at + N].copy_from_slice(&b);
        place[at..at + N].copy_from_slice(&p);
        start += N;
    }
}

/// Whether `x` takes the place of an earlier maximum.
#[inline(always)]
fn beats<T: Element>(x: T, best: T) -> bool {
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    let nan = x != x;
    (x > best) | nan
}
