//! The gradient of the weights: for each tap, the sum over images and pixels of what it saw times what came of it.

use pulp::{Arch, Simd, WithSimd};

use super::super::Element;
use super::super::blank::by_chunks;
use super::super::patches::Patches;
use super::layout::{Layout, Scheme};
use super::strips::{LANES, Products};
use super::{NEAR, TASK};

/// `dw[c · m + j] = Σ dy[c · m + j] · x[c]` over images and pixels, tap by tap.
///
/// Sums are kept in lanes over all images of a channel and added up at the end: their order is that of the pixels.
pub(crate) fn weight_gradient<T: Element>(
    p: &Patches,
    [channels, m]: [usize; 2],
    dy: &[T],
    x: &[T],
) -> Vec<T> {
    let scheme = Scheme::forward(p);
    let images = x.len() / (p.plane() * channels);
    let rows = scheme.rows(NEAR).min(p.output[0]);
    // Kernels of a task; the outputs of a channel stay together.
    let kernels = (TASK / (images * p.positions() * m).max(1)).max(1) * m;
    let work = images * channels * m * p.positions() * p.taps();
    by_chunks(channels * m * p.taps(), kernels * p.taps(), work, |task, blank| {
        let kernels = task * kernels..task * kernels + blank.len() / p.taps();
        let mut dw = vec![T::ZERO; blank.len()];
        let sum =
            Sum { p, scheme: &scheme, m, images, channels, rows, dy, x, first: kernels.start, dw: &mut dw };
        Arch::new().dispatch(sum);
        blank.map(&dw, |d| d);
    })
}

struct Sum<'a, T> {
    p: &'a Patches,
    scheme: &'a Scheme,
    m: usize,
    images: usize,
    channels: usize,
    rows: usize,
    dy: &'a [T],
    x: &'a [T],
    /// The first kernel whose gradient is wanted.
    first: usize,
    dw: &'a mut [T],
}

impl<T: Element> WithSimd for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { p, scheme, m, images, channels, rows, dy, x, first, dw } = self;
        let [h_out, w_out] = p.output;
        let gradients = Layout::rows(w_out.next_multiple_of(LANES));
        let mut lines = scheme.layout.room(scheme.lines(rows) + scheme.step);
        let mut held = gradients.room(rows);
        let mut sums = vec![T::ZERO; p.taps() * LANES];
        for (kernel, dw) in (first..).zip(dw.chunks_exact_mut(p.taps())) {
            sums.fill(T::ZERO);
            for image in 0..images {
                let x = &x[(image * channels + kernel / m) * p.plane()..];
                let dy = &dy[(image * channels * m + kernel) * p.positions()..];
                for top in (0..h_out).step_by(rows) {
                    let rows = rows.min(h_out - top);
                    let seen = top * scheme.step..top * scheme.step + scheme.lines(rows);
                    scheme.layout.fill(x, p.input, seen, &mut lines);
                    gradients.fill(dy, p.output, top..top + rows, &mut held);
                    let products = Products {
                        x: &lines,
                        line: scheme.layout.line(),
                        phase: &scheme.phases[0][0],
                        step: scheme.step,
                        dy: &held,
                        size: [rows, gradients.line()],
                    };
                    products.add(simd, &mut sums);
                }
            }
            for (d, lanes) in dw.iter_mut().zip(sums.chunks_exact(LANES)) {
                *d = lanes.iter().fold(T::ZERO, |sum, &lane| sum + lane);
            }
        }
    }
}
