//! From planes of images to points of tiles with 16 channels side by side, and back to planes of outputs.

use pulp::Simd;

use super::layout::{BLOCK, LANES, Points, Run, apart};
use super::transform::{EDGE, TILE, gradient_points, image_points, outputs};

/// Planes of images that are cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    pub(super) data: &'a [f32],
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// Zeros above and left of a plane.
    pub(super) padding: [usize; 2],
    /// Pixels a tile shares with the next.
    pub(super) overlap: usize,
    /// Tiles in a row.
    pub(super) across: usize,
}

impl Planes<'_> {
    /// Pixels of a padded line.
    fn pitch(&self) -> usize {
        TILE * self.across + self.overlap
    }

    /// The padded lines of a run, with [`LANES`] channels from `channel` on side by side; those that are none are zeros.
    #[inline(always)]
    fn interleave(&self, channel: usize, run: Run, lines: &mut Vec<f32>) {
        let ([h, w], [top, left], pitch) = (self.size, self.padding, self.pitch());
        let present = channel.min(self.channels)..(channel + LANES).min(self.channels);
        let wide = w.min(pitch - left);
        lines.clear();
        lines.resize((run.rows * TILE + self.overlap) * pitch * LANES, 0.0);
        for (line, out) in lines.chunks_exact_mut(pitch * LANES).enumerate() {
            let below = run.first * TILE + line;
            let Some(y) = below.checked_sub(top).filter(|&y| y < h) else { continue };
            let mut sources = [&self.data[..0]; LANES];
            for (source, channel) in sources.iter_mut().zip(present.clone()) {
                *source = &self.data[((run.image * self.channels + channel) * h + y) * w..][..wide];
            }
            let out = out[left * LANES..(left + wide) * LANES].as_chunks_mut::<LANES>().0;
            if present.len() == LANES {
                for (x, out) in out.iter_mut().enumerate() {
                    for (out, source) in out.iter_mut().zip(&sources) {
                        *out = source[x];
                    }
                }
            } else {
                for (k, source) in sources[..present.len()].iter().enumerate() {
                    out.iter_mut().zip(*source).for_each(|(out, &x)| out[k] = x);
                }
            }
        }
    }
}

macro_rules! transform {
    ($(#[$doc:meta])* $name:ident, $points:ident, $edge:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `to` may be written; the runs have no more tiles than it has from its first on.
        #[inline(always)]
        pub(super) unsafe fn $name<S: Simd>(s: S, from: Planes<'_>, channel: usize, runs: &[Run], to: Points) {
            let (pitch, step) = (from.pitch(), apart(to.tiles) * to.width);
            let (mut lines, mut tile) = (Vec::new(), to.first);
            for &run in runs {
                from.interleave(channel, run, &mut lines);
                for n in 0..run.rows * from.across {
                    let base = (n / from.across * pitch + n % from.across) * TILE * LANES;
                    assert!(base + (($edge - 1) * pitch + $edge) * LANES <= lines.len(), "a tile beyond its lines");
                    assert!(tile < to.tiles, "more tiles than places");
                    for lane in (0..LANES).step_by(S::F32_LANES) {
                        let mut x = [[s.splat_f32s(0.0); $edge]; $edge];
                        for (a, x) in x.iter_mut().enumerate() {
                            for (b, x) in x.iter_mut().enumerate() {
                                let at = base + (a * pitch + b) * LANES + lane;
                                // SAFETY: inside `lines`, as asserted.
                                *x = unsafe { lines.as_ptr().add(at).cast::<S::f32s>().read_unaligned() };
                            }
                        }
                        for (a, y) in $points(s, x).iter().enumerate() {
                            for (b, &y) in y.iter().enumerate() {
                                let at = (a * EDGE + b) * step + tile * to.width + lane;
                                // SAFETY: the tile is one of `to`, as asserted.
                                unsafe { to.data.add(at).cast::<S::f32s>().write_unaligned(y) };
                            }
                        }
                    }
                    tile += 1;
                }
            }
        }
    };
}

transform!(
    /// Brings the tiles of [`LANES`] channels of images to their points.
    images, image_points, EDGE
);
transform!(
    /// Brings the tiles of [`LANES`] channels of gradients of outputs to their points.
    gradients, gradient_points, TILE
);

/// The outputs of [`LANES`] channels, side by side, from their points `m`: `[points, tiles, BLOCK]`. `lines` become
/// `[rows of outputs, TILE · across, LANES]`.
///
/// # Safety
/// `m` can be read, but for what its last row has beyond [`LANES`].
#[inline(always)]
pub(super) unsafe fn untile<S: Simd>(s: S, m: *const f32, tiles: usize, across: usize, lines: &mut Vec<f32>) {
    let pitch = TILE * across;
    lines.clear();
    lines.resize(tiles * TILE * TILE * LANES, 0.0);
    for tile in 0..tiles {
        let base = (tile / across * pitch + tile % across) * TILE * LANES;
        assert!(base + ((TILE - 1) * pitch + TILE) * LANES <= lines.len(), "a tile beyond its lines");
        for lane in (0..LANES).step_by(S::F32_LANES) {
            let mut x = [[s.splat_f32s(0.0); EDGE]; EDGE];
            for (a, x) in x.iter_mut().enumerate() {
                for (b, x) in x.iter_mut().enumerate() {
                    let at = ((a * EDGE + b) * apart(tiles) + tile) * BLOCK + lane;
                    // SAFETY: the point of a tile of `m`.
                    *x = unsafe { m.add(at).cast::<S::f32s>().read_unaligned() };
                }
            }
            for (a, y) in outputs(s, x).iter().enumerate() {
                for (b, &y) in y.iter().enumerate() {
                    let at = base + (a * pitch + b) * LANES + lane;
                    // SAFETY: inside `lines`, as asserted.
                    unsafe { lines.as_mut_ptr().add(at).cast::<S::f32s>().write_unaligned(y) };
                }
            }
        }
    }
}
