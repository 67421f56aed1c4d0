//! Functions that are smooth, or nearly so, where the ReLU has its kink.

use candle_core::{Result, Tensor};

use crate::cpu::Element;
use crate::ops::Activation;
use crate::ops::pointwise::{Pointwise, Seen, apply};

/// `x · Φ(x)` with the normal distribution's Φ, of any shape: `x / 2 · (1 + erf(x / √2))`.
///
/// Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, §2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply(Gelu, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Gelu;

impl Pointwise for Gelu {
    const NAME: &'static str = "gelu";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        // −∞ · 0 is no number, the limit is.
        if x < T::of(-40.0) { -T::ZERO } else { x * x.normal_cdf() }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        const ROOT_OF_TAU_INVERSE: f64 = 0.398_942_280_401_432_7;
        let density = (x * x * T::of(-0.5)).exp() * T::of(ROOT_OF_TAU_INVERSE);
        dy * x.mul_add(density, x.normal_cdf())
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // Not Candle's `gelu_erf`: its gradient has constants of six digits.
        {
            const ROOT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
            x * ((x * ROOT_HALF)?.erf()? + 1.0)?.affine(0.5, 0.0)?
        }
    }

    fn activation(self) -> Activation {
        Activation::Gelu
    }
}

/// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, of any shape: what GPT-2 and many others call GELU.
///
/// Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, §2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply(GeluTanh, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct GeluTanh;

const ROOT_OF_TWO_OVER_PI: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

impl Pointwise for GeluTanh {
    const NAME: &'static str = "gelu_tanh";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        // (1 + tanh u) / 2 = σ(2u), which keeps its digits far left of 0.
        let u = x * (x * x).mul_add(T::of(CUBIC), T::ONE);
        let y = x * (u * T::of(2.0 * ROOT_OF_TWO_OVER_PI)).sigmoid();
        if x < T::of(-40.0) { -T::ZERO } else { y }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        // Far out the slope is 0 or 1; x³ would overflow.
        let x = if x > T::of(40.0) { T::of(40.0) } else { x };
        let x = if x < T::of(-40.0) { T::of(-40.0) } else { x };
        let square = x * x;
        let u = x * square.mul_add(T::of(CUBIC), T::ONE);
        let slope = square.mul_add(T::of(3.0 * CUBIC), T::ONE) * T::of(2.0 * ROOT_OF_TWO_OVER_PI);
        let s = (u * T::of(2.0 * ROOT_OF_TWO_OVER_PI)).sigmoid();
        dy * (x * slope).mul_add(s * (T::ONE - s), s)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        let u = ((x * x.sqr()?.affine(CUBIC, 1.0)?)? * (2.0 * ROOT_OF_TWO_OVER_PI))?;
        x * candle_nn::ops::sigmoid(&u)?
    }

    fn activation(self) -> Activation {
        Activation::GeluTanh
    }
}

/// `x · σ(x)`, of any shape; also called Swish.
///
/// Source: Elfwing, Uchibe & Doya 2018, arXiv:1702.03118, §2; Ramachandran, Zoph & Le 2017, arXiv:1710.05941.
///
/// # Errors
/// If `x` is not of a float type.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply(Silu, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Silu;

impl Pointwise for Silu {
    const NAME: &'static str = "silu";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        let s = x.sigmoid();
        dy * s * x.mul_add(T::ONE - s, T::ONE)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        x * candle_nn::ops::sigmoid(x)?
    }

    fn activation(self) -> Activation {
        Activation::Silu
    }
}

/// `x · tanh(ln(1 + eˣ))`, of any shape.
///
/// Source: Misra 2019, arXiv:1908.08681, equation 1.
///
/// # Errors
/// If `x` is not of a float type.
pub fn mish(x: &Tensor) -> Result<Tensor> {
    apply(Mish, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Mish;

impl Mish {
    /// `tanh(ln(1 + e)) = (e² + 2e) / (e² + 2e + 2)` for `e = eˣ`; from x = 20 on it is 1.
    #[inline(always)]
    fn gate<T: Element>(x: T) -> T {
        let e = (if x > T::of(20.0) { T::of(20.0) } else { x }).exp();
        let n = e * (e + T::of(2.0));
        n / (n + T::of(2.0))
    }
}

impl Pointwise for Mish {
    const NAME: &'static str = "mish";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x * Self::gate(x)
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        let gate = Self::gate(x);
        dy * (x * x.sigmoid()).mul_add(T::ONE - gate * gate, gate)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        x * Softplus { beta: 1.0 }.portable(x)?.tanh()?
    }

    fn activation(self) -> Activation {
        Activation::Mish
    }
}

/// `x` where `x > 0`, else `alpha · (eˣ − 1)`, of any shape.
///
/// Source: Clevert, Unterthiner & Hochreiter 2016, arXiv:1511.07289, equation 15.
///
/// # Errors
/// If `x` is not of a float type.
pub fn elu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    apply(Elu { alpha }, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Elu {
    pub(super) alpha: f64,
}

impl Pointwise for Elu {
    const NAME: &'static str = "elu";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let y = x.exp_m1() * T::of(self.alpha);
        if x > T::ZERO { x } else { y }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        let slope = x.exp() * T::of(self.alpha);
        if x > T::ZERO { dy } else { dy * slope }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // Only what is used may enter the exponential: ∞ · 0 in the gradient is no number.
        let below = x.gt(0.0)?.where_cond(&x.zeros_like()?, x)?;
        x.gt(0.0)?.where_cond(x, &((below.exp()? - 1.0)? * self.alpha)?)
    }

    fn activation(self) -> Activation {
        Activation::Elu { alpha: self.alpha }
    }
}

/// `1.0507 · elu(x, 1.6733)`, of any shape: mean 0 and variance 1 are a fixed point of layers of it.
///
/// Source: Klambauer et al. 2017, arXiv:1706.02515, equations 2 and 14.
///
/// # Errors
/// If `x` is not of a float type.
pub fn selu(x: &Tensor) -> Result<Tensor> {
    apply(Selu, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Selu;

impl Selu {
    const SCALE: f64 = 1.050_700_987_355_480_5;
    const ELU: Elu = Elu { alpha: 1.673_263_242_354_377_2 };
}

impl Pointwise for Selu {
    const NAME: &'static str = "selu";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        Self::ELU.value(x) * T::of(Self::SCALE)
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        Self::ELU.gradient(x, dy) * T::of(Self::SCALE)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        Self::ELU.portable(x)? * Self::SCALE
    }

    fn activation(self) -> Activation {
        Activation::Selu
    }
}

/// `ln(1 + e^(βx)) / β`, of any shape, without overflow.
///
/// Source: Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing", §2. PyTorch
/// gives `x` itself where `βx > 20`, which is within 2.1e-9 / β.
///
/// # Errors
/// If `x` is not of a float type.
pub fn softplus(x: &Tensor, beta: f64) -> Result<Tensor> {
    apply(Softplus { beta }, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Softplus {
    pub(super) beta: f64,
}

impl Pointwise for Softplus {
    const NAME: &'static str = "softplus";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let x = x * T::of(self.beta);
        let above = if x < T::ZERO { T::ZERO } else { x };
        (above + (-x.abs()).exp().ln_1p()) * T::of(1.0 / self.beta)
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        dy * (x * T::of(self.beta)).sigmoid()
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // ln(1 + eˣ) = ln(e⁻ᵐ + eˣ⁻ᵐ) + m for any m; the larger of 0 and x, as a constant, lets nothing overflow.
        let x = (x * self.beta)?;
        let m = x.detach().relu()?;
        ((m.neg()?.exp()? + (x - &m)?.exp()?)?.log()? + m)? * (1.0 / self.beta)
    }

    fn activation(self) -> Activation {
        Activation::Softplus { beta: self.beta }
    }
}
