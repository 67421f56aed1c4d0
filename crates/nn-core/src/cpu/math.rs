//! Exponentials and logarithms in `f32` that a loop over a slice turns into vector instructions.
//!
//! The functions of the standard library are calls, one number at a time. These are straight lines of
//! multiply-adds without a branch; each keeps within 2.5 units in the last place of the true value over all of
//! `f32`, subnormal numbers included, and rounds alike on every processor.

use std::f32::consts::{LN_2, LOG2_E};

/// What `LN_2` lacks of ln 2.
const LN_2_REST: f32 = -1.904_654_2e-9;

/// eˣ
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or 0; comparisons, unlike `clamp` by minimum and maximum, let NaN pass.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, p) = split(x);
    // 2ⁿ itself may be out of range where eˣ is not.
    let half = n >> 1;
    (1.0 + p) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `eˣ = 2ⁿ (1 + p)` with `p` in about `[-0.3, 0.42]`, of full relative precision near 0.
#[inline(always)]
fn split(x: f32) -> (i32, f32) {
    // Adding 1.5·2²³ rounds to a whole number and leaves it in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x.mul_add(LOG2_E, SHIFT);
    let n = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    let whole = shifted - SHIFT;
    let r = whole.mul_add(-LN_2_REST, whole.mul_add(-LN_2, x));
    // Taylor's series: with |r| ≤ ln 2 / 2 what follows r⁷/7! is below 6e-9.
    let p = (1.0f32 / 5040.0).mul_add(r, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    (n, (p * r).mul_add(r, r))
}

/// 2ⁿ for `-126 ≤ n ≤ 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `tanh |x| = -e / (e + 2)` with `e = exp(-2|x|) - 1`, and the sign of `x`.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    // From 9.01 on the result rounds to 1.
    let size = if size > 10.0 { 10.0 } else { size };
    let (n, p) = split(-2.0 * size);
    let scale = power_of_two(n);
    let e = p.mul_add(scale, scale - 1.0);
    // Near 1 the rounding of `e` shows, so there it is 1 − 2 (e + 1) / (e + 2).
    let near_one = size > 0.55;
    let top = if near_one { -2.0 * p.mul_add(scale, scale) } else { -e };
    let y = (if near_one { 1.0 } else { 0.0 }) + top / (e + 2.0);
    y.copysign(x)
}

/// `1 / (1 + e⁻ˣ)`, without overflow on either side.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// [`sigmoid`] in `f64`.
pub(super) fn sigmoid_f64(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// `eˣ − 1`
#[inline(always)]
pub(super) fn exp_m1(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    // Below −17.4 the result rounds to −1.
    let x = if x < -20.0 { -20.0 } else { x };
    let (n, p) = split(x);
    let half = n >> 1;
    let (low, high) = (power_of_two(half), power_of_two(n.wrapping_sub(half)));
    // Above 2²⁴ the 1 no longer counts, and 2ⁿ itself may overflow where eˣ − 1 does not.
    if n > 30 { (1.0 + p) * low * high } else { p.mul_add(low * high, low * high - 1.0) }
}

/// `Φ(x) = (1 + erf(x / √2)) / 2`: within 3 units in the last place of ½ where |x| < 1.5, further out of the result,
/// or of `e^(−x²/2)` as its rounded exponent makes it.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    let size = x.abs();
    // Beyond this the tail is 0.
    let size = if size > 15.0 { 15.0 } else { size };
    // Near 0: Φ(x) − ½ = x · A(x²), the least largest relative error of degree 7 over |x| ≤ 1.5.
    let u = size * size;
    let a = (-2.523_225e-8f32).mul_add(u, 6.121_138e-7);
    let a = a.mul_add(u, -9.345_672e-6);
    let a = a.mul_add(u, 1.153_317_8e-4);
    let a = a.mul_add(u, -1.187_269_4e-3);
    let a = a.mul_add(u, 9.973_54e-3);
    let a = a.mul_add(u, -6.649_038e-2);
    let a = a.mul_add(u, 0.398_942_28);
    let near = x.mul_add(a, 0.5);
    // Further out: Φ(−x) = e^(−x²/2) · M(t) with t = 1 / (1 + 0.3 x), of degree 7 over 1.5 ≤ x ≤ 14.
    let t = 1.0 / 0.3f32.mul_add(size, 1.0);
    let m = (-3.908_272_4e-2f32).mul_add(t, 4.103_257_8e-2);
    let m = m.mul_add(t, 7.362_896_5e-2);
    let m = m.mul_add(t, 6.975_941e-2);
    let m = m.mul_add(t, 0.116_539_37);
    let m = m.mul_add(t, 0.117_952_04);
    let m = m.mul_add(t, 0.119_885_93);
    let m = m.mul_add(t, -9.753_132e-6);
    let tail = m * exp(-0.5 * u);
    let far = if x < 0.0 { tail } else { 1.0 - tail };
    let y = if size < 1.5 { near } else { far };
    if x.is_nan() { x } else { y }
}

/// [`normal_cdf`] in `f64`.
pub(super) fn normal_cdf_f64(x: f64) -> f64 {
    0.5 * candle_core::cpu::erf::erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// ln x: −∞ at 0, NaN below.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let offset = if subnormal { -23.0 } else { 0.0 };
    // x = 2ⁿ (1 + f) with 1 + f between √½ and √2.
    let bits = scaled.to_bits() as i32;
    let n = bits.wrapping_sub(SQRT_HALF) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(n << 23) as u32) - 1.0;
    let y = ln_split(n as f32 + offset, f);
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if x < 0.0 { f32::NAN } else { y };
    if x < f32::INFINITY { y } else { x } // infinity and NaN are their own logarithms
}

/// `ln(1 + x)` for `x` in `[0, 1]`, of full relative precision near 0.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    let halve = x > 0.414_213_57;
    ln_split(if halve { 1.0 } else { 0.0 }, if halve { 0.5 * (x - 1.0) } else { x })
}

/// `n ln 2 + ln(1 + f)` for `1 + f` between √½ and √2.
#[inline(always)]
fn ln_split(n: f32, f: f32) -> f32 {
    // ln(1 + f) = 2 artanh s = 2s + s·rest, and 2s = f − s·f; the square keeps the leading term exact.
    let s = f / (2.0 + f);
    let z = s * s;
    let rest = (2.0f32 / 9.0).mul_add(z, 2.0 / 7.0);
    let rest = rest.mul_add(z, 2.0 / 5.0);
    let rest = rest.mul_add(z, 2.0 / 3.0) * z;
    let square = 0.5 * f * f;
    let correction = s.mul_add(square + rest, n * LN_2_REST);
    n.mul_add(LN_2, f - (square - correction))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance of `y` from `truth` in units of the last place of `truth` as an `f32`.
    fn ulps(y: f32, truth: f64) -> f64 {
        let rounded = truth as f32;
        if rounded.is_nan() || rounded.is_infinite() || y.is_nan() || y.is_infinite() {
            return if y.to_bits() == rounded.to_bits() || (y.is_nan() && rounded.is_nan()) {
                0.0
            } else {
                f64::MAX
            };
        }
        let unit = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
        (f64::from(y) - truth).abs() / unit
    }

    /// The worst of a sweep over every 251st bit pattern from 0 to `hi`, both signs: the error and where it is.
    fn worst(hi: f32, f: fn(f32) -> f32, truth: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=hi.to_bits()).step_by(251).chain([hi.to_bits()]) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let error = ulps(f(x), truth(f64::from(x)));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        worst
    }

    #[test]
    fn within_two_and_a_half_units_in_the_last_place() {
        type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f32);
        let cases: [Case; 6] = [
            ("exp_m1", exp_m1, f64::exp_m1, f32::INFINITY),
            ("exp", exp, f64::exp, f32::INFINITY),
            ("tanh", tanh, f64::tanh, f32::INFINITY),
            ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), f32::INFINITY),
            ("ln", ln, f64::ln, f32::INFINITY),
            ("ln_1p", |x| ln_1p(x.abs()), |x| x.abs().ln_1p(), 1.0),
        ];
        for (name, f, truth, hi) in cases {
            let (error, x) = worst(hi, f, truth);
            assert!(
                error <= 2.5,
                "{name}({x:e}) is {:e}, {error:.2} units from {:e}",
                f(x),
                truth(f64::from(x))
            );
        }
    }

    #[test]
    fn the_normal_distribution() {
        for i in -14_000..=14_000 {
            let x = i as f32 / 1000.0;
            let (y, truth) = (f64::from(normal_cdf(x)), normal_cdf_f64(f64::from(x)));
            // The exponential's argument is rounded, which counts x²/2 times.
            let size = if x.abs() < 1.5 { 0.5 } else { truth.max(f64::from(f32::MIN_POSITIVE)) };
            let unit = f64::from(f32::EPSILON) * size;
            let units = if x > -1.5 { 3.0 } else { 3.0 + f64::from(x * x) };
            assert!((y - truth).abs() <= units * unit, "Φ({x}) is {y:e}, not {truth:e}");
        }
        assert_eq!([f32::INFINITY, -f32::INFINITY, 0.0].map(normal_cdf), [1.0, 0.0, 0.5]);
        assert!(normal_cdf(f32::NAN).is_nan() && exp_m1(f32::NAN).is_nan());
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        assert_eq!([exp(0.0), exp(-0.0), exp(inf), exp(-inf)], [1.0, 1.0, inf, 0.0]);
        assert!(exp(88.722_83) < inf && exp(88.722_84) == inf);
        assert!(exp(-103.97) > 0.0 && exp(-103.98) == 0.0);
        assert_eq!([tanh(inf), tanh(-inf), tanh(1e-40)], [1.0, -1.0, 1e-40]);
        assert!(tanh(0.0).is_sign_positive() && tanh(-0.0).is_sign_negative());
        assert_eq!([sigmoid(inf), sigmoid(-inf), sigmoid(0.0), sigmoid(-0.0)], [1.0, 0.0, 0.5, 0.5]);
        assert_eq!([ln(0.0), ln(-0.0), ln(1.0), ln(inf)], [-inf, -inf, 0.0, inf]);
        assert_eq!([ln_1p(0.0), ln_1p(1.0)], [0.0, std::f32::consts::LN_2]);
        for (name, y) in [
            ("exp", exp(f32::NAN)),
            ("tanh", tanh(f32::NAN)),
            ("sigmoid", sigmoid(f32::NAN)),
            ("ln", ln(f32::NAN)),
            ("ln of a negative number", ln(-1.0)),
            ("ln_1p", ln_1p(f32::NAN)),
        ] {
            assert!(y.is_nan(), "{name}: {y}");
        }
    }
}
