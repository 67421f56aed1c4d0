//! The float types kernels are written for: `f32` to run, `f64` to check gradients.

use candle_core::WithDType;

use super::lanes::Lanes;
use super::math;

/// `f32` or `f64`.
pub(crate) trait Element:
    WithDType
    + Copy
    + PartialOrd
    + Default
    + std::ops::Neg<Output = Self>
    + std::ops::Div<Output = Self>
    + std::iter::Sum
    + Lanes
{
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;

    fn of(x: f64) -> Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn abs(self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    /// `ln(1 + self)` for `self` in `[0, 1]`.
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
    fn sigmoid(self) -> Self;

    /// The same slice, where a kernel written for `f32` alone can take it.
    fn as_f32(x: &[Self]) -> Option<&[f32]>;

    /// The result of such a kernel.
    fn from_f32(x: Vec<f32>) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($t:ident, [$as_f32:expr, $from_f32:expr], $($function:ident: $path:path),*) => {
        impl Element for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }

            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                $t::mul_add(self, a, b)
            }

            fn as_f32(x: &[Self]) -> Option<&[f32]> {
                ($as_f32)(x)
            }

            fn from_f32(x: Vec<f32>) -> Option<Vec<Self>> {
                ($from_f32)(x)
            }

            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }

            $(
                #[inline(always)]
                fn $function(self) -> Self {
                    $path(self)
                }
            )*
        }
    };
}

element!(f32, [Some, Some], exp: math::exp, ln: math::ln, ln_1p: math::ln_1p, tanh: math::tanh, sigmoid: math::sigmoid);
element!(f64, [|_| None, |_| None], exp: f64::exp, ln: f64::ln, ln_1p: f64::ln_1p, tanh: f64::tanh, sigmoid: math::sigmoid_f64);
