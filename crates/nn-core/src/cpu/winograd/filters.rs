//! From filters to their points, output channels side by side, and from gradients of points to those of filters.

use std::ops::Range;

use pulp::Simd;

use super::Problem;
use super::layout::{BLOCK, LANES, apart};
use super::transform::{EDGE, filter_points, tap_gradients};

/// Taps of a filter.
pub(super) const TAPS: usize = 9;

/// Taps of the filters between 16 input channels, one after the other, and as many output channels, side by side.
type Taps = [[f32; LANES]; TAPS * LANES];

/// Brings the filters of a [`BLOCK`] of output channels from `first` on to their points, those for some input channels, whole
/// groups of [`LANES`]: `w` is `[c_out, c_in, 3, 3]`, `u` becomes `[points, inputs, BLOCK]`. Channels that are none have zeros.
///
/// # Safety
/// `u` may be written so far.
#[inline(always)]
pub(super) unsafe fn filters<S: Simd>(
    s: S,
    p: &Problem,
    w: &[f32],
    first: usize,
    inputs: Range<usize>,
    u: *mut f32,
) {
    for half in (0..BLOCK).step_by(LANES) {
        for channel in inputs.clone().step_by(LANES) {
            let taps = gather(p, w, first + half, channel);
            for (i, taps) in taps.as_chunks::<TAPS>().0.iter().enumerate() {
                for lane in (0..LANES).step_by(S::F32_LANES) {
                    let mut x = [[s.splat_f32s(0.0); 3]; 3];
                    for (a, x) in x.iter_mut().enumerate() {
                        for (b, x) in x.iter_mut().enumerate() {
                            // SAFETY: `LANES` is a multiple of a vector.
                            *x = unsafe {
                                taps[3 * a + b].as_ptr().add(lane).cast::<S::f32s>().read_unaligned()
                            };
                        }
                    }
                    let row = channel - inputs.start + i;
                    for (a, y) in filter_points(s, x).iter().enumerate() {
                        for (b, &y) in y.iter().enumerate() {
                            let at = ((a * EDGE + b) * apart(inputs.len()) + row) * BLOCK + half + lane;
                            // SAFETY: a row of a point of `u`, as the caller promises.
                            unsafe { u.add(at).cast::<S::f32s>().write_unaligned(y) };
                        }
                    }
                }
            }
        }
    }
}

/// The filters between output channels from `first` on and input channels from `channel` on.
#[inline(always)]
fn gather(p: &Problem, w: &[f32], first: usize, channel: usize) -> Taps {
    let mut taps = [[0.0; LANES]; TAPS * LANES];
    let seen = LANES.min(p.c_in - channel) * TAPS;
    let mut sources = [&[0.0; TAPS * LANES][..seen]; LANES];
    for (source, o) in sources.iter_mut().zip(first..p.c_out) {
        *source = &w[(o * p.c_in + channel) * TAPS..][..seen];
    }
    for (tap, taps) in taps[..seen].iter_mut().enumerate() {
        for (value, source) in taps.iter_mut().zip(&sources) {
            *value = source[tap];
        }
    }
    taps
}

/// Gradients of the filters between [`LANES`] input channels from `channel` on and a [`BLOCK`] of output channels from `first` on:
/// `u` is `[points, LANES, BLOCK]`, `dw` `[c_out, c_in, 3, 3]`.
///
/// # Safety
/// `u` can be read, and what `dw` has for these channels written.
#[inline(always)]
pub(super) unsafe fn filter_gradients<S: Simd>(
    s: S,
    p: &Problem,
    u: *const f32,
    [first, channel]: [usize; 2],
    dw: *mut f32,
) {
    for half in (0..BLOCK.min(p.c_out - first)).step_by(LANES) {
        let mut taps: Taps = [[0.0; LANES]; TAPS * LANES];
        for (i, taps) in taps.as_chunks_mut::<TAPS>().0.iter_mut().enumerate() {
            for lane in (0..LANES).step_by(S::F32_LANES) {
                let mut x = [[s.splat_f32s(0.0); EDGE]; EDGE];
                for (a, x) in x.iter_mut().enumerate() {
                    for (b, x) in x.iter_mut().enumerate() {
                        let at = ((a * EDGE + b) * apart(LANES) + i) * BLOCK + half + lane;
                        // SAFETY: a row of a point of `u`, as the caller promises.
                        *x = unsafe { u.add(at).cast::<S::f32s>().read_unaligned() };
                    }
                }
                for (a, y) in tap_gradients(s, x).iter().enumerate() {
                    for (b, &y) in y.iter().enumerate() {
                        // SAFETY: `LANES` is a multiple of a vector.
                        unsafe {
                            taps[3 * a + b].as_mut_ptr().add(lane).cast::<S::f32s>().write_unaligned(y)
                        };
                    }
                }
            }
        }
        let seen = LANES.min(p.c_in - channel) * TAPS;
        for o in 0..LANES.min(p.c_out - first - half) {
            let at = ((first + half + o) * p.c_in + channel) * TAPS;
            for (tap, taps) in taps[..seen].iter().enumerate() {
                // SAFETY: `dw` has these channels, as the caller promises.
                unsafe { dw.add(at + tap).write(taps[o]) };
            }
        }
    }
}
