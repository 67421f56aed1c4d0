//! Averages of one plane.

use super::Average;
use crate::cpu::Element;
use crate::cpu::phases::{Phases, sum_taps};
use crate::ops::pooling::Pooling;

/// One plane on its way: rows of pixels are summed first, then pixels of the sums.
pub(super) struct Plane<T> {
    pooling: Pooling,
    phases: Phases,
    /// Where the rows of pixels start that each row of windows covers.
    rows: Vec<Vec<usize>>,
    /// Their sums, `[H', W]`, in rows and dealt out.
    sums: Vec<T>,
    buffer: Vec<T>,
    /// Where the taps along the width are in `buffer`.
    taps: Vec<usize>,
    /// The sums over windows and what they are divided by, in rows of one pitch.
    windows: Vec<T>,
    divisors: Vec<T>,
    pub(super) y: Vec<T>,
}

impl<T: Element> Plane<T> {
    pub(super) fn new(a: &Average) -> Self {
        let p = a.pooling;
        let ([height, width], [rows, columns], [down, right]) = (p.input, p.output, p.windows);
        let phases = Phases::new(right, rows, width, columns);
        let start = |o: usize, m: usize| (down.start(o) + m as isize) as usize * width;
        Self {
            pooling: p,
            phases,
            rows: (0..rows).map(|o| down.taps(height, o).map(|m| start(o, m)).collect()).collect(),
            sums: vec![T::ZERO; rows * width],
            buffer: phases.buffer(T::ZERO),
            taps: (0..right.kernel).map(|t| phases.tap(t).start).collect(),
            windows: vec![T::ZERO; phases.phase()],
            divisors: divisors(a, phases.pitch()),
            y: vec![T::ZERO; p.pooled()],
        }
    }

    #[inline(always)]
    pub(super) fn average(&mut self, x: &[T]) {
        for (sum, rows) in self.sums.chunks_exact_mut(self.pooling.input[1]).zip(&self.rows) {
            sum_taps(x, rows, sum);
        }
        self.phases.split(&self.sums, &mut self.buffer);
        sum_taps(&self.buffer, &self.taps, &mut self.windows);
        let columns = self.pooling.output[1];
        let pitch = self.phases.pitch();
        if columns == pitch {
            divide(&self.windows, &self.divisors, &mut self.y);
            return;
        }
        let rows = self.windows.chunks_exact(pitch).zip(self.divisors.chunks_exact(pitch));
        for (y, (sum, divisor)) in self.y.chunks_exact_mut(columns).zip(rows) {
            divide(&sum[..columns], &divisor[..columns], y);
        }
    }
}

/// The divisor of each window, in rows of `pitch`; what is between two rows is divided by one.
pub(super) fn divisors<T: Element>(a: &Average, pitch: usize) -> Vec<T> {
    let [rows, columns] = a.pooling.output;
    let at = |i: usize| [i / pitch, i % pitch];
    let divisor = |[i, j]: [usize; 2]| if j < columns { a.divisor([i, j]) } else { 1.0 };
    (0..rows * pitch).map(|i| T::of(divisor(at(i)))).collect()
}

#[inline(always)]
pub(super) fn divide<T: Element>(sums: &[T], divisors: &[T], y: &mut [T]) {
    for ((y, &sum), &divisor) in y.iter_mut().zip(sums).zip(divisors) {
        *y = sum / divisor;
    }
}
