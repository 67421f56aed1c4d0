//! Functions that level off on both sides, and the sigmoid's logarithm.

use candle_core::{Result, Tensor};

use super::smooth::Softplus;
use crate::cpu::Element;
use crate::ops::Activation;
use crate::ops::pointwise::{Pointwise, Seen, apply};

/// `1 / (1 + e⁻ˣ)`, of any shape.
///
/// Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", equation 2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(Sigmoid, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Sigmoid;

impl Pointwise for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const SEEN: Seen = Seen::Output;
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x.sigmoid()
    }

    #[inline(always)]
    fn gradient<T: Element>(self, y: T, dy: T) -> T {
        dy * (y * (T::ONE - y))
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::sigmoid(x)
    }

    fn activation(self) -> Activation {
        Activation::Sigmoid
    }
}

/// `(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)`, of any shape.
///
/// Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", §4.4, on why it trains faster than the sigmoid.
///
/// # Errors
/// If `x` is not of a float type.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply(Tanh, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Tanh;

impl Pointwise for Tanh {
    const NAME: &'static str = "tanh";
    const SEEN: Seen = Seen::Output;
    const COST: usize = 16;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x.tanh()
    }

    #[inline(always)]
    fn gradient<T: Element>(self, y: T, dy: T) -> T {
        dy * (T::ONE - y * y)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        x.tanh()
    }

    fn activation(self) -> Activation {
        Activation::Tanh
    }
}

/// `x / (1 + |x|)`, of any shape.
///
/// Source: Bergstra, Desjardins, Lamblin & Bengio 2009, "Quadratic polynomials learn better image features", §2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn softsign(x: &Tensor) -> Result<Tensor> {
    apply(Softsign, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Softsign;

impl Pointwise for Softsign {
    const NAME: &'static str = "softsign";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 4;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x / (T::ONE + x.abs())
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        let size = T::ONE + x.abs();
        dy / (size * size)
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // Candle's |x| has derivative 1 at 0, which is multiplied by x = 0 here.
        x / (x.abs()? + 1.0)?
    }

    fn activation(self) -> Activation {
        Activation::Softsign
    }
}

/// `ln(1 / (1 + e⁻ˣ))`, of any shape, without overflow.
///
/// # Errors
/// If `x` is not of a float type.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(LogSigmoid, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct LogSigmoid;

impl Pointwise for LogSigmoid {
    const NAME: &'static str = "log_sigmoid";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 24;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let below = if x > T::ZERO { T::ZERO } else { x };
        below - (-x.abs()).exp().ln_1p()
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        dy * (-x).sigmoid()
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // ln σ(x) = −softplus(−x)
        Softplus { beta: 1.0 }.portable(&x.neg()?)?.neg()
    }

    fn activation(self) -> Activation {
        Activation::LogSigmoid
    }
}
