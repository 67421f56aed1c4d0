//! The rows of an image dealt out by stride, so that a tap of all windows is one contiguous read.
//!
//! With stride `s`, phase `p` of a padded row holds its pixels `p, p + s, p + 2s, …`; then the pixels under tap `t`
//! of windows `0, 1, 2, …` are the elements `⌊t·d / s⌋, ⌊t·d / s⌋ + 1, …` of phase `t·d mod s`. Rows follow each other
//! at a fixed pitch, so a loop runs over the rows of a plane as over one long row: short rows cost nothing.
//! The pitch leaves room for the last window; what the loop computes between two rows is never looked at.

use std::ops::Range;

use super::Element;
use super::simd::block;
use crate::ops::window::Window;

/// How rows of `width` pixels are dealt out for `count` windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phases {
    window: Window,
    rows: usize,
    width: usize,
    pitch: usize,
}

impl Phases {
    pub(crate) fn new(window: Window, rows: usize, width: usize, count: usize) -> Self {
        Self { window, rows, width, pitch: count + (window.span() - 1) / window.stride }
    }

    /// From a row's window `i` to the next row's.
    pub(crate) fn pitch(&self) -> usize {
        self.pitch
    }

    /// Elements of one phase: all rows of it.
    pub(crate) fn phase(&self) -> usize {
        self.rows * self.pitch
    }

    /// How many phases any tap falls on.
    pub(crate) fn used(&self) -> usize {
        self.window.stride.min(self.window.span())
    }

    /// A buffer for [`Self::split`], padding filled in.
    pub(crate) fn buffer<T: Element>(&self, padding: T) -> Vec<T> {
        // Taps of the last row reach up to one pitch beyond its phase.
        vec![padding; self.used() * self.phase() + self.pitch]
    }

    /// Where in the buffer the pixels under tap `t` are, for the windows of all rows.
    pub(crate) fn tap(&self, t: usize) -> Range<usize> {
        let at = t * self.window.dilation;
        let start = at % self.window.stride * self.phase() + at / self.window.stride;
        start..start + self.phase()
    }

    /// Deals out the rows, or the first ones; the padding in `buffer` stays as it is.
    #[inline(always)]
    pub(crate) fn split<T: Element>(&self, x: &[T], buffer: &mut [T]) {
        let (stride, before) = (self.window.stride, self.window.padding[0]);
        // Rows that fill their pitch exactly are one long row.
        let exact = before == 0 && self.width == self.pitch * stride;
        let (rows, width, pitch) = if exact {
            (1, x.len(), x.len() / stride)
        } else {
            (x.len() / self.width, self.width, self.pitch)
        };
        for p in 0..self.used() {
            let first = before.saturating_sub(p).div_ceil(stride);
            let end = (width + before).saturating_sub(p).div_ceil(stride).min(pitch);
            if first >= end {
                continue;
            }
            let offset = first * stride + p - before;
            for r in 0..rows {
                let line = &mut buffer[p * self.phase() + r * pitch..][first..end];
                every(stride, &x[r * width + offset..(r + 1) * width], line);
            }
        }
    }

    /// Puts rows together again: the inverse of [`Self::split`], with zeros for pixels no tap sees.
    #[inline(always)]
    pub(crate) fn merge<T: Element>(&self, buffer: &[T], x: &mut [T]) {
        for (r, x) in x.chunks_exact_mut(self.width).enumerate() {
            self.merge_row(buffer, r, x);
        }
    }

    /// Puts row `r` together.
    #[inline(always)]
    pub(crate) fn merge_row<T: Element>(&self, buffer: &[T], r: usize, x: &mut [T]) {
        let (Window { stride, padding: [before, _], .. }, used) = (self.window, self.used());
        let line = |p: usize| &buffer[p * self.phase() + r * self.pitch..][..self.pitch];
        match stride {
            1 => x.copy_from_slice(&line(0)[before..before + self.width]),
            2 if used == 2 => weave(line(0), line(1), before, x),
            _ => {
                for (pixel, x) in x.iter_mut().enumerate() {
                    let (p, i) = ((pixel + before) % stride, (pixel + before) / stride);
                    *x = if p < used && i < self.pitch { line(p)[i] } else { T::ZERO };
                }
            }
        }
    }
}

/// `even[0], odd[0], even[1], …` from `skip` on, and zeros after their end.
#[inline(always)]
fn weave<T: Element>(even: &[T], odd: &[T], skip: usize, x: &mut [T]) {
    let (head, rest) = x.split_at_mut(skip % 2);
    head.fill(odd[skip / 2]);
    let (even, odd) = (&even[skip.div_ceil(2)..], &odd[skip.div_ceil(2)..]);
    let (pairs, tail) = rest.split_at_mut(2 * even.len().min(rest.len() / 2));
    for ((pair, &even), &odd) in pairs.chunks_exact_mut(2).zip(even).zip(odd) {
        pair[0] = even;
        pair[1] = odd;
    }
    tail.fill(T::ZERO);
    if let (Some(last), Some(&even)) = (tail.first_mut(), even.get(pairs.len() / 2)) {
        *last = even;
    }
}

/// `y[i] = Σ over taps of x[tap + i]`
#[inline(always)]
pub(crate) fn sum_taps<T: Element>(x: &[T], taps: &[usize], y: &mut [T]) {
    match y.len() {
        16.. => sum_blocks::<T, 16>(x, taps, y),
        8.. => sum_blocks::<T, 8>(x, taps, y),
        4.. => sum_blocks::<T, 4>(x, taps, y),
        _ => sum_blocks::<T, 1>(x, taps, y),
    }
}

/// [`sum_taps`] of `N` elements at a time; the last ones are worked out twice if `N` does not divide their number.
#[inline(always)]
fn sum_blocks<T: Element, const N: usize>(x: &[T], taps: &[usize], y: &mut [T]) {
    let mut start = 0;
    while start < y.len() {
        let at = start.min(y.len() - N);
        let mut sum = [T::ZERO; N];
        for tap in taps {
            let x = block::<T, N>(x, tap + at);
            for i in 0..N {
                sum[i] += x[i];
            }
        }
        y[at..at + N].copy_from_slice(&sum);
        start += N;
    }
}

/// `y[i] = x[i · stride]`
#[inline(always)]
fn every<T: Element>(stride: usize, x: &[T], y: &mut [T]) {
    match stride {
        1 => y.copy_from_slice(&x[..y.len()]),
        2 => constant::<T, 2>(x, y),
        3 => constant::<T, 3>(x, y),
        _ => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, &x)| *y = x),
    }
}

/// [`every`] with a stride the compiler knows and can shuffle.
#[inline(always)]
fn constant<T: Element, const STRIDE: usize>(x: &[T], y: &mut [T]) {
    let Some((last, y)) = y.split_last_mut() else { return };
    *last = x[y.len() * STRIDE];
    y.iter_mut().zip(x.chunks_exact(STRIDE)).for_each(|(y, x)| *y = x[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Rounding;

    #[test]
    fn sums_of_taps() {
        let x: Vec<f64> = (0..40).map(|i| (i * i) as f64).collect();
        for n in 0..36 {
            let mut y = vec![-1.0; n];
            sum_taps(&x, &[0, 4, 1], &mut y);
            assert!((0..n).all(|i| y[i] == x[i] + x[i + 4] + x[i + 1]), "{n}");
            sum_taps(&x, &[], &mut y);
            assert!(y.iter().all(|&y| y == 0.0), "{n}");
        }
    }

    #[test]
    fn every_tap_of_every_window_is_where_it_should_be() {
        let (rows, width) = (3, 10);
        let x: Vec<f64> = (0..rows * width).map(|i| i as f64).collect();
        for (kernel, stride, dilation, pad) in [
            (2, 2, 1, 0),
            (3, 2, 1, 1),
            (3, 1, 1, 1),
            (1, 2, 1, 0),
            (2, 5, 3, 1),
            (3, 4, 2, 1),
            (5, 2, 1, 2),
            (2, 2, 1, 1),
            (7, 2, 1, 3),
            (4, 1, 2, 2),
        ] {
            let window = Window { kernel, stride, dilation, padding: [pad, pad], rounding: Rounding::Ceil };
            let count = window.count("test", "width", width).expect("fits");
            let phases = Phases::new(window, rows, width, count);
            let mut buffer = phases.buffer(-1.0);
            phases.split(&x, &mut buffer);
            for (r, o, t) in
                (0..rows * count * kernel).map(|n| (n / kernel / count, n / kernel % count, n % kernel))
            {
                let pixel = window.start(o) + (t * dilation) as isize;
                let inside = (0..width as isize).contains(&pixel);
                let expected = if inside { x[r * width + pixel as usize] } else { -1.0 };
                assert_eq!(
                    buffer[phases.tap(t)][r * phases.pitch() + o],
                    expected,
                    "{window:?} at {r}, {o}, {t}"
                );
            }
            let mut back = vec![7.0; x.len()];
            phases.merge(&buffer, &mut back);
            for (i, &back) in back.iter().enumerate() {
                let at = i % width + pad;
                let seen = at % stride < window.span() && at / stride < phases.pitch();
                assert_eq!(back, if seen { x[i] } else { 0.0 }, "{window:?} at {i}");
            }
        }
    }
}
