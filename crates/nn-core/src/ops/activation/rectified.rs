//! Functions made of straight lines. At their kinks the derivatives are PyTorch's; NaN passes through.

use candle_core::{Result, Tensor};

use crate::cpu::Element;
use crate::ops::Activation;
use crate::ops::pointwise::{Pointwise, Seen, apply};

/// `max(0, x)`, of any shape; its derivative at 0 is 0.
///
/// Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
///
/// # Errors
/// If `x` is not of a float type.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(Relu, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Relu;

impl Pointwise for Relu {
    const NAME: &'static str = "relu";
    const SEEN: Seen = Seen::Output;
    const COST: usize = 1;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        if x < T::ZERO { T::ZERO } else { x }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, y: T, dy: T) -> T {
        if y <= T::ZERO { T::ZERO } else { dy }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        x.le(0.0)?.where_cond(&x.zeros_like()?, x)
    }

    fn activation(self) -> Activation {
        Activation::Relu
    }
}

/// `x` where `x > 0`, else `slope · x`, of any shape; its derivative at 0 is `slope`.
///
/// Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", §2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    apply(LeakyRelu { slope }, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct LeakyRelu {
    pub(super) slope: f64,
}

impl Pointwise for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    // A slope of 0 or less hides the sign of the input.
    const SEEN: Seen = Seen::Input;
    const COST: usize = 1;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        if x > T::ZERO { x } else { x * T::of(self.slope) }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        if x > T::ZERO { dy } else { dy * T::of(self.slope) }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        x.gt(0.0)?.where_cond(x, &(x * self.slope)?)
    }

    fn activation(self) -> Activation {
        Activation::LeakyRelu { slope: self.slope }
    }
}

/// `min(max(0, x), 6)`, of any shape; its derivative at 0 and at 6 is 0.
///
/// Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
///
/// # Errors
/// If `x` is not of a float type.
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    apply(Relu6, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct Relu6;

impl Pointwise for Relu6 {
    const NAME: &'static str = "relu6";
    const SEEN: Seen = Seen::Output;
    const COST: usize = 1;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let x = if x < T::ZERO { T::ZERO } else { x };
        if x > T::of(6.0) { T::of(6.0) } else { x }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, y: T, dy: T) -> T {
        let dy = if y <= T::ZERO { T::ZERO } else { dy };
        if y >= T::of(6.0) { T::ZERO } else { dy }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        let zeros = x.zeros_like()?;
        let below = x.le(0.0)?.where_cond(&zeros, x)?;
        x.ge(6.0)?.where_cond(&(zeros + 6.0)?, &below)
    }

    fn activation(self) -> Activation {
        Activation::Relu6
    }
}

/// `min(max(−1, x), 1)`, of any shape; its derivative at −1 and at 1 is 0.
///
/// Source: Collobert 2004, "Large scale machine learning", chapter 6.
///
/// # Errors
/// If `x` is not of a float type.
pub fn hard_tanh(x: &Tensor) -> Result<Tensor> {
    apply(HardTanh, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct HardTanh;

impl Pointwise for HardTanh {
    const NAME: &'static str = "hard_tanh";
    const SEEN: Seen = Seen::Output;
    const COST: usize = 1;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let x = if x < -T::ONE { -T::ONE } else { x };
        if x > T::ONE { T::ONE } else { x }
    }

    #[inline(always)]
    fn gradient<T: Element>(self, y: T, dy: T) -> T {
        if y <= -T::ONE || y >= T::ONE { T::ZERO } else { dy }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        // The clamp's own derivative is ½ at its bounds.
        between(x, [-1.0, 1.0])?.where_cond(x, &x.detach().clamp(-1.0, 1.0)?)
    }

    fn activation(self) -> Activation {
        Activation::HardTanh
    }
}

/// `min(max(0, x + 3), 6) / 6`, of any shape; its derivative at −3 and at 3 is 0.
///
/// Source: Howard et al. 2019, arXiv:1905.02244, §5.2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(HardSigmoid, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct HardSigmoid;

impl Pointwise for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 2;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        let x = x + T::of(3.0);
        let x = if x < T::ZERO { T::ZERO } else { x };
        let x = if x > T::of(6.0) { T::of(6.0) } else { x };
        x * T::of(1.0 / 6.0)
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        if x <= T::of(-3.0) || x >= T::of(3.0) { T::ZERO } else { dy * T::of(1.0 / 6.0) }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        let line = x.affine(1.0 / 6.0, 0.5)?;
        between(x, [-3.0, 3.0])?.where_cond(&line, &line.detach().clamp(0.0, 1.0)?)
    }

    fn activation(self) -> Activation {
        Activation::HardSigmoid
    }
}

/// `x · min(max(0, x + 3), 6) / 6`, of any shape; its derivative at −3 is 0, at 3 it is 1.
///
/// Source: Howard et al. 2019, arXiv:1905.02244, §5.2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn hard_swish(x: &Tensor) -> Result<Tensor> {
    apply(HardSwish, x)
}

#[derive(Clone, Copy)]
pub(in crate::ops) struct HardSwish;

impl Pointwise for HardSwish {
    const NAME: &'static str = "hard_swish";
    const SEEN: Seen = Seen::Input;
    const COST: usize = 3;

    #[inline(always)]
    fn value<T: Element>(self, x: T) -> T {
        x * HardSigmoid.value(x)
    }

    #[inline(always)]
    fn gradient<T: Element>(self, x: T, dy: T) -> T {
        let slope = x.mul_add(T::of(1.0 / 3.0), T::of(0.5));
        let slope = if x >= T::of(3.0) { T::ONE } else { slope };
        if x <= T::of(-3.0) { T::ZERO } else { dy * slope }
    }

    fn portable(self, x: &Tensor) -> Result<Tensor> {
        let parabola = (x * x.affine(1.0 / 6.0, 0.5)?)?;
        let above = x.ge(3.0)?.where_cond(x, &parabola)?;
        x.le(-3.0)?.where_cond(&x.zeros_like()?, &above)
    }

    fn activation(self) -> Activation {
        Activation::HardSwish
    }
}

/// Where `x` lies strictly between two bounds; NaN does.
fn between(x: &Tensor, [low, high]: [f64; 2]) -> Result<Tensor> {
    let outside = (x.le(low)? + x.ge(high)?)?;
    outside.eq(0u8)
}
