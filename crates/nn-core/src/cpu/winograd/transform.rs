//! The transforms of F(4×4, 3×3), along one axis and both: a convolution becomes 36 products of numbers.
//!
//! A filter of 3 taps over 6 pixels gives 4 outputs: a product of polynomials, which is known from its values at as many
//! points as it has coefficients. The usual points are 0, ±1, ±2 and ∞; with 0, ±3/4, ±3/2 and ∞ the numbers on the way differ less
//! in size, so less of them is rounded away: a sum over 512 channels is off by no more than three times what it is when the
//! products are added directly (`tests.rs`). All constants but the filter's are exact numbers.
//!
//! Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", arXiv:1509.09308; on the choice of points
//! Barabasz et al. 2020, "Error analysis and improving the accuracy of Winograd convolution", arXiv:1803.10986.

use pulp::Simd;

/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 4;
/// Pixels of a tile along an axis, and points.
pub(super) const EDGE: usize = 6;
/// Points of a tile.
pub(super) const POINTS: usize = EDGE * EDGE;

const A: f32 = 0.75;
const B: f32 = 1.5;
const AA: f32 = A * A;
const BB: f32 = B * B;
/// `1 / ∏ (p − q)` over the other points `q`, of `p = ±A` and `p = ±B`.
const OVER_A: f32 = 1.0 / (2.0 * AA * (AA - BB));
const OVER_B: f32 = 1.0 / (2.0 * BB * (BB - AA));
/// The same of 0.
const OVER_0: f32 = 1.0 / (AA * BB);

/// `a · x + y`
#[inline(always)]
fn add<S: Simd>(s: S, a: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    s.mul_add_e_f32s(s.splat_f32s(a), x, y)
}

/// `a · x`
#[inline(always)]
fn scale<S: Simd>(s: S, a: f32, x: S::f32s) -> S::f32s {
    s.mul_f32s(s.splat_f32s(a), x)
}

/// `x (x² − A²)(x² − B²)`, without the first `x`: what is left for 0 and ∞.
#[inline(always)]
fn outermost<S: Simd>(s: S, [x0, x2, x4]: [S::f32s; 3]) -> S::f32s {
    add(s, AA * BB, x0, add(s, -(AA + BB), x2, x4))
}

/// Pixels → points.
#[inline(always)]
fn image<S: Simd>(s: S, [x0, x1, x2, x3, x4, x5]: [S::f32s; 6]) -> [S::f32s; 6] {
    let (even_a, odd_a) = (add(s, -BB, x2, x4), add(s, -BB, x1, x3));
    let (even_b, odd_b) = (add(s, -AA, x2, x4), add(s, -AA, x1, x3));
    [
        outermost(s, [x0, x2, x4]),
        add(s, A, odd_a, even_a),
        add(s, -A, odd_a, even_a),
        add(s, B, odd_b, even_b),
        add(s, -B, odd_b, even_b),
        outermost(s, [x1, x3, x5]),
    ]
}

/// Taps → points.
#[inline(always)]
fn filter<S: Simd>(s: S, [g0, g1, g2]: [S::f32s; 3]) -> [S::f32s; 6] {
    let even_a = add(s, AA * OVER_A, g2, scale(s, OVER_A, g0));
    let even_b = add(s, BB * OVER_B, g2, scale(s, OVER_B, g0));
    [
        scale(s, OVER_0, g0),
        add(s, A * OVER_A, g1, even_a),
        add(s, -A * OVER_A, g1, even_a),
        add(s, B * OVER_B, g1, even_b),
        add(s, -B * OVER_B, g1, even_b),
        g2,
    ]
}

/// Points → outputs.
#[inline(always)]
fn output<S: Simd>(s: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 4] {
    let (even_a, odd_a) = (s.add_f32s(m1, m2), s.sub_f32s(m1, m2));
    let (even_b, odd_b) = (s.add_f32s(m3, m4), s.sub_f32s(m3, m4));
    [
        s.add_f32s(m0, s.add_f32s(even_a, even_b)),
        add(s, A, odd_a, scale(s, B, odd_b)),
        add(s, AA, even_a, scale(s, BB, even_b)),
        add(s, A * AA, odd_a, add(s, B * BB, odd_b, m5)),
    ]
}

/// The transpose of [`output`]: gradients of outputs → gradients of points.
#[inline(always)]
fn output_gradient<S: Simd>(s: S, [y0, y1, y2, y3]: [S::f32s; 4]) -> [S::f32s; 6] {
    let (even_a, odd_a) = (add(s, AA, y2, y0), scale(s, A, add(s, AA, y3, y1)));
    let (even_b, odd_b) = (add(s, BB, y2, y0), scale(s, B, add(s, BB, y3, y1)));
    [
        y0,
        s.add_f32s(even_a, odd_a),
        s.sub_f32s(even_a, odd_a),
        s.add_f32s(even_b, odd_b),
        s.sub_f32s(even_b, odd_b),
        y3,
    ]
}

/// The transpose of [`filter`]: gradients of points → gradients of taps.
#[inline(always)]
fn filter_gradient<S: Simd>(s: S, [u0, u1, u2, u3, u4, u5]: [S::f32s; 6]) -> [S::f32s; 3] {
    let (even_a, odd_a) = (s.add_f32s(u1, u2), s.sub_f32s(u1, u2));
    let (even_b, odd_b) = (s.add_f32s(u3, u4), s.sub_f32s(u3, u4));
    [
        add(s, OVER_0, u0, add(s, OVER_A, even_a, scale(s, OVER_B, even_b))),
        add(s, A * OVER_A, odd_a, scale(s, B * OVER_B, odd_b)),
        add(s, AA * OVER_A, even_a, add(s, BB * OVER_B, even_b, u5)),
    ]
}

/// A transform along both axes. Plain loops: a closure that is not inlined costs ten times as much.
macro_rules! both {
    ($(#[$doc:meta])* $name:ident = $along:ident, $from:literal => $to:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name<S: Simd>(s: S, x: [[S::f32s; $from]; $from]) -> [[S::f32s; $to]; $to] {
            let zero = s.splat_f32s(0.0);
            let mut rows = [[zero; $to]; $from];
            for (row, x) in rows.iter_mut().zip(x) {
                *row = $along(s, x);
            }
            let mut y = [[zero; $to]; $to];
            for c in 0..$to {
                let mut column = [zero; $from];
                for (column, row) in column.iter_mut().zip(&rows) {
                    *column = row[c];
                }
                for (y, value) in y.iter_mut().zip($along(s, column)) {
                    y[c] = value;
                }
            }
            y
        }
    };
}

both!(
    /// A tile's pixels at its points.
    image_points = image, 6 => 6
);
both!(
    /// A filter's taps at its points.
    filter_points = filter, 3 => 6
);
both!(
    /// A tile's outputs from their points.
    outputs = output, 6 => 4
);
both!(
    /// Gradients of a tile's outputs at its points.
    gradient_points = output_gradient, 4 => 6
);
both!(
    /// Gradients of a filter's taps from those of its points.
    tap_gradients = filter_gradient, 6 => 3
);

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// Filter and pixels of one tile, by way of their points and directly.
    #[test]
    fn points_give_the_convolution_and_its_gradients() {
        let x: [[f32; 6]; 6] =
            std::array::from_fn(|r| std::array::from_fn(|c| ((7 * r + 3 * c) % 11) as f32 - 5.0));
        let g: [[f32; 3]; 3] =
            std::array::from_fn(|r| std::array::from_fn(|c| ((5 * r + 2 * c) % 7) as f32 - 3.0));
        let dy: [[f32; 4]; 4] =
            std::array::from_fn(|r| std::array::from_fn(|c| ((3 * r + 5 * c) % 9) as f32 - 4.0));
        let (v, u, d) = (image_points(Scalar, x), filter_points(Scalar, g), gradient_points(Scalar, dy));
        let product = |a: [[f32; 6]; 6], b: [[f32; 6]; 6]| -> [[f32; 6]; 6] {
            std::array::from_fn(|r| std::array::from_fn(|c| a[r][c] * b[r][c]))
        };
        for (r, row) in outputs(Scalar, product(u, v)).iter().enumerate() {
            for (c, y) in row.iter().enumerate() {
                let direct: f32 = (0..9).map(|t| x[r + t / 3][c + t % 3] * g[t / 3][t % 3]).sum();
                assert!((y - direct).abs() < 1e-3, "output {r}, {c}: {y} is not {direct}");
            }
        }
        for (r, row) in tap_gradients(Scalar, product(d, v)).iter().enumerate() {
            for (c, dg) in row.iter().enumerate() {
                let direct: f32 = (0..16).map(|t| x[r + t / 4][c + t % 4] * dy[t / 4][t % 4]).sum();
                assert!((dg - direct).abs() < 1e-3, "tap {r}, {c}: {dg} is not {direct}");
            }
        }
    }
}
