//! The matrix products at the points: over input channels for outputs, over tiles for gradients of filters.

use pulp::Simd;

use super::layout::{BLOCK, LANES, apart, points};
use super::transform::POINTS;

/// Tiles of a strip: with two vectors of sums each, and what they are made of, within 32 registers or 16.
const MANY: usize = 12;
const FEW: usize = 6;

/// What sums start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: there is no value yet.
    Empty,
    /// The sum so far.
    Sum,
}

/// `m = v · u` at every point: `v` is `[inputs / LANES, points, tiles, LANES]`, `u` `[points, inputs, BLOCK]`,
/// `m` `[points, tiles, BLOCK]`.
///
/// # Safety
/// `u` and `v` can be read and `m` written so far; with [`Start::Sum`] `m` can be read too.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    s: S,
    [u, v]: [*const f32; 2],
    m: *mut f32,
    [inputs, tiles]: [usize; 2],
    start: Start,
) {
    let most = if S::REGISTER_COUNT >= 32 { MANY } else { FEW };
    let strips = tiles.div_ceil(most);
    for point in 0..POINTS {
        for strip in 0..strips {
            let (first, end) = (strip * tiles / strips, (strip + 1) * tiles / strips);
            let tile = point * apart(tiles) + first;
            for lane in (0..BLOCK).step_by(2 * S::F32_LANES) {
                // SAFETY: tiles and columns of a strip lie inside the matrices.
                unsafe {
                    let (u, v) = (u.add(point * apart(inputs) * BLOCK + lane), v.add(tile * LANES));
                    let (m, sizes) = (m.add(tile * BLOCK + lane), [inputs, points(tiles, LANES)]);
                    match end - first {
                        1 => strip_of::<S, 1>(s, [u, v], m, sizes, start),
                        2 => strip_of::<S, 2>(s, [u, v], m, sizes, start),
                        3 => strip_of::<S, 3>(s, [u, v], m, sizes, start),
                        4 => strip_of::<S, 4>(s, [u, v], m, sizes, start),
                        5 => strip_of::<S, 5>(s, [u, v], m, sizes, start),
                        6 => strip_of::<S, 6>(s, [u, v], m, sizes, start),
                        7 => strip_of::<S, 7>(s, [u, v], m, sizes, start),
                        8 => strip_of::<S, 8>(s, [u, v], m, sizes, start),
                        9 => strip_of::<S, 9>(s, [u, v], m, sizes, start),
                        10 => strip_of::<S, 10>(s, [u, v], m, sizes, start),
                        11 => strip_of::<S, 11>(s, [u, v], m, sizes, start),
                        _ => strip_of::<S, MANY>(s, [u, v], m, sizes, start),
                    }
                }
            }
        }
    }
}

/// Two vectors of the product's rows of `N` tiles. Groups of `v` are `step` apart.
///
/// # Safety
/// As that of [`multiply`].
#[inline(always)]
unsafe fn strip_of<S: Simd, const N: usize>(
    s: S,
    [u, v]: [*const f32; 2],
    m: *mut f32,
    [inputs, step]: [usize; 2],
    start: Start,
) {
    // SAFETY: all reads and writes are those the caller promises.
    unsafe {
        let mut sums = begin::<S, N>(s, m, start);
        for group in 0..inputs / LANES {
            let (u, v) = (u.add(group * LANES * BLOCK), v.add(group * step));
            for k in 0..LANES {
                add::<S, N>(s, u.add(k * BLOCK), v.add(k), LANES, &mut sums);
            }
        }
        end(m, sums);
    }
}

/// `u += vᵀ · d` at every point: `v` is `[points, tiles, LANES]`, `d` `[points, tiles, BLOCK]`, `u` `[points, LANES, BLOCK]`.
///
/// # Safety
/// `v` and `d` can be read and `u` written so far; with [`Start::Sum`] `u` can be read too.
#[inline(always)]
pub(super) unsafe fn multiply_transposed<S: Simd>(
    s: S,
    [v, d]: [*const f32; 2],
    u: *mut f32,
    tiles: usize,
    start: Start,
) {
    for point in 0..POINTS {
        let tile = point * apart(tiles);
        for lane in (0..BLOCK).step_by(2 * S::F32_LANES) {
            // SAFETY: channels and columns lie inside the matrices.
            unsafe {
                let (v, d) = (v.add(tile * LANES), d.add(tile * BLOCK + lane));
                let u = u.add(point * apart(LANES) * BLOCK + lane);
                if S::REGISTER_COUNT >= 32 {
                    for i in (0..LANES).step_by(8) {
                        channels_of::<S, 8>(s, [v.add(i), d], u.add(i * BLOCK), tiles, start);
                    }
                } else {
                    for i in (0..LANES).step_by(4) {
                        channels_of::<S, 4>(s, [v.add(i), d], u.add(i * BLOCK), tiles, start);
                    }
                }
            }
        }
    }
}

/// Two vectors of the product's rows of `N` input channels.
///
/// # Safety
/// As that of [`multiply_transposed`].
#[inline(always)]
unsafe fn channels_of<S: Simd, const N: usize>(
    s: S,
    [v, d]: [*const f32; 2],
    u: *mut f32,
    tiles: usize,
    start: Start,
) {
    // SAFETY: all reads and writes are those the caller promises.
    unsafe {
        let mut sums = begin::<S, N>(s, u, start);
        for tile in 0..tiles {
            add::<S, N>(s, d.add(tile * BLOCK), v.add(tile * LANES), 1, &mut sums);
        }
        end(u, sums);
    }
}

/// Two vectors of sums in each of `N` rows.
type Sums<S, const N: usize> = [[<S as Simd>::f32s; 2]; N];

/// # Safety
/// With [`Start::Sum`], `N` rows of `from` can be read, [`BLOCK`] apart.
#[inline(always)]
unsafe fn begin<S: Simd, const N: usize>(s: S, from: *const f32, start: Start) -> Sums<S, N> {
    let mut sums = [[s.splat_f32s(0.0); 2]; N];
    if start == Start::Sum {
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as the caller promises.
            *sums = unsafe { pair::<S>(from.add(row * BLOCK)) };
        }
    }
    sums
}

/// Adds the outer product of two vectors at `row` and the numbers at `column`, `step` apart.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn add<S: Simd, const N: usize>(
    s: S,
    row: *const f32,
    column: *const f32,
    step: usize,
    sums: &mut Sums<S, N>,
) {
    // SAFETY: as the caller promises.
    let row = unsafe { pair::<S>(row) };
    for (n, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        let factor = s.splat_f32s(unsafe { *column.add(n * step) });
        sums[0] = s.mul_add_e_f32s(factor, row[0], sums[0]);
        sums[1] = s.mul_add_e_f32s(factor, row[1], sums[1]);
    }
}

/// # Safety
/// `N` rows of `to` can be written, [`BLOCK`] apart.
#[inline(always)]
unsafe fn end<V: Copy, const N: usize>(to: *mut f32, sums: [[V; 2]; N]) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            let to = to.add(row * BLOCK).cast::<V>();
            to.write_unaligned(sums[0]);
            to.add(1).write_unaligned(sums[1]);
        }
    }
}

/// # Safety
/// Two vectors can be read there.
#[inline(always)]
unsafe fn pair<S: Simd>(from: *const f32) -> [S::f32s; 2] {
    let from = from.cast::<S::f32s>();
    // SAFETY: as the caller promises.
    unsafe { [from.read_unaligned(), from.add(1).read_unaligned()] }
}
