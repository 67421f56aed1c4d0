//! The walk over windows that forward and backward share.

use crate::cpu::Element;
use crate::cpu::phases::Phases;
use crate::cpu::simd::block;
use crate::ops::pooling::Pooling;

/// The place of a pixel, counted from the start of its window; nothing where nobody asks for it.
pub(super) trait Place: Copy + Send + Sync {
    fn at(offset: usize) -> Self;
    fn plus(self, offset: Self) -> Self;
}

impl Place for u32 {
    #[inline(always)]
    fn at(offset: usize) -> Self {
        offset as u32
    }

    #[inline(always)]
    fn plus(self, offset: Self) -> Self {
        self.wrapping_add(offset)
    }
}

impl Place for () {
    #[inline(always)]
    fn at(_: usize) {}

    #[inline(always)]
    fn plus(self, (): Self) {}
}

/// The only walk over windows there is: forward reads the maxima it finds, backward their places.
///
/// First the maxima of every row of pixels under every window, then of the rows of a window: in this order the first
/// of equal maxima is the first in row-major order.
pub(super) struct Scan<T, P> {
    phases: Phases,
    buffer: Vec<T>,
    /// The taps along the width, in `buffer` and `places`.
    taps: Vec<Tap<P>>,
    /// The places of tap 0, that is of the first pixel if the tap sees none, and zeros for the other taps.
    places: Vec<P>,
    best: Vec<T>,
    place: Vec<P>,
    /// The rows of pixels that each row of windows sees, in `best` and `place`.
    rows: Vec<Vec<Tap<P>>>,
}

/// What a tap sees, for one window after the other.
struct Tap<P> {
    /// Where the pixels start.
    values: usize,
    /// Where their places start, counted from the start of the window but for `offset`.
    places: usize,
    offset: P,
}

impl<T: Element, P: Place> Scan<T, P> {
    pub(super) fn new(p: Pooling) -> Self {
        let ([height, width], [down, right]) = (p.input, p.windows);
        let phases = Phases::new(right, height, width, p.output[1]);
        let tap = |t: usize| {
            let places = if t == 0 { 0 } else { phases.phase() };
            Tap { values: phases.tap(t).start, places, offset: P::at(t * right.dilation) }
        };
        let first = |i: usize| if i < p.output[1] { right.taps(width, i).start * right.dilation } else { 0 };
        let mut places: Vec<P> = (0..phases.phase()).map(|i| P::at(first(i % phases.pitch()))).collect();
        places.resize(2 * phases.phase(), P::at(0));
        let row = |o: usize, m: usize| {
            let below = m * down.dilation;
            let start = (down.start(o) + below as isize) as usize * phases.pitch();
            Tap { values: start, places: start, offset: P::at(below * width) }
        };
        Self {
            phases,
            buffer: phases.buffer(T::NEG_INFINITY),
            taps: (0..right.kernel).map(tap).collect(),
            places,
            best: vec![T::ZERO; phases.phase()],
            place: vec![P::at(0); phases.phase()],
            rows: (0..p.output[0]).map(|o| down.taps(height, o).map(|m| row(o, m)).collect()).collect(),
        }
    }

    /// Finds the maximum of each row of pixels under each window.
    #[inline(always)]
    pub(super) fn columns(&mut self, x: &[T]) {
        self.phases.split(x, &mut self.buffer);
        maxima(&self.taps, (&self.buffer, &self.places), (&mut self.best, &mut self.place));
    }

    /// Finds the maximum of each window of row `o`, from those of its rows of pixels.
    #[inline(always)]
    pub(super) fn row(&self, o: usize, best: &mut [T], place: &mut [P]) {
        maxima(&self.rows[o], (&self.best, &self.place), (best, place));
    }
}

/// The first maximum over the taps of each window, and its place.
#[inline(always)]
fn maxima<T: Element, P: Place>(taps: &[Tap<P>], x: (&[T], &[P]), y: (&mut [T], &mut [P])) {
    // Whole vectors even for short rows.
    match y.0.len() {
        16.. => blocks::<T, P, 16>(taps, x, y),
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
        p.iter_mut().for_each(|p| *p = p.plus(taps[0].offset));
        for tap in &taps[1..] {
            let x = block::<T, N>(x, tap.values + at);
            let mut q = block::<P, N>(places, tap.places + at);
            // A loop for each step: of one loop over all of them the compiler makes branches, not vectors.
            let mut wins = [false; N];
            q.iter_mut().for_each(|q| *q = q.plus(tap.offset));
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
