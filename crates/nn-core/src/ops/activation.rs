//! Activation functions: what makes a stack of linear layers more than one linear layer.
//!
//! Why not Candle's: its ReLU has derivative 1 at 0 and its clamp ½ at each bound, its GELU's gradient is right to six
//! digits, and all of them run at the speed of a scalar library call (docs/candle-gaps.md). At kinks the gradients here are
//! PyTorch's; NaN passes through.

mod rectified;
mod sigmoidal;
mod smooth;

use candle_core::{Module, Result, Tensor};

use super::kernel::Reads;
use super::pointwise::{Pointwise, Visitor, apply};

pub use rectified::{hard_sigmoid, hard_swish, hard_tanh, leaky_relu, relu, relu6};
pub use sigmoidal::{log_sigmoid, sigmoid, softsign, tanh};
pub use smooth::{elu, gelu, gelu_tanh, mish, selu, silu, softplus};

use rectified::{HardSigmoid, HardSwish, HardTanh, LeakyRelu, Relu, Relu6};
use sigmoidal::{LogSigmoid, Sigmoid, Softsign, Tanh};
use smooth::{Elu, Gelu, GeluTanh, Mish, Selu, Silu, Softplus};

/// An activation function as a value: a layer without parameters, of any shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(0, x)`, see [`relu`].
    Relu,
    /// `x` where `x > 0`, else `slope · x`, see [`leaky_relu`].
    LeakyRelu {
        /// The derivative left of 0.
        slope: f64,
    },
    /// `min(max(0, x), 6)`, see [`relu6`].
    Relu6,
    /// `1 / (1 + e⁻ˣ)`, see [`sigmoid`].
    Sigmoid,
    /// `(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)`, see [`tanh`].
    Tanh,
    /// `x · Φ(x)`, see [`gelu`].
    Gelu,
    /// GELU by a hyperbolic tangent, see [`gelu_tanh`].
    GeluTanh,
    /// `x · σ(x)`, see [`silu`].
    Silu,
    /// `x · tanh(ln(1 + eˣ))`, see [`mish`].
    Mish,
    /// `x` where `x > 0`, else `alpha · (eˣ − 1)`, see [`elu`].
    Elu {
        /// Minus the limit far left of 0.
        alpha: f64,
    },
    /// A scaled [`elu`], see [`selu`].
    Selu,
    /// `ln(1 + e^(βx)) / β`, see [`softplus`].
    Softplus {
        /// How sharp the bend is.
        beta: f64,
    },
    /// `x / (1 + |x|)`, see [`softsign`].
    Softsign,
    /// `ln σ(x)`, see [`log_sigmoid`].
    LogSigmoid,
    /// `min(max(0, x + 3), 6) / 6`, see [`hard_sigmoid`].
    HardSigmoid,
    /// `x · min(max(0, x + 3), 6) / 6`, see [`hard_swish`].
    HardSwish,
    /// `min(max(−1, x), 1)`, see [`hard_tanh`].
    HardTanh,
}

impl Activation {
    /// What a derivative reads that is worked out from the output: near the ends of a sigmoid it is a small difference from
    /// them, which a rounded output would not have.
    pub(super) fn seen_at_its_end(self) -> Reads {
        match self {
            Self::Sigmoid | Self::Tanh => Reads::OutputExactly,
            _ => Reads::Output,
        }
    }
}

impl Activation {
    /// One of each, with PyTorch's default where there is an option.
    pub const ALL: [Self; 17] = [
        Self::Relu,
        Self::LeakyRelu { slope: 0.01 },
        Self::Relu6,
        Self::Sigmoid,
        Self::Tanh,
        Self::Gelu,
        Self::GeluTanh,
        Self::Silu,
        Self::Mish,
        Self::Elu { alpha: 1.0 },
        Self::Selu,
        Self::Softplus { beta: 1.0 },
        Self::Softsign,
        Self::LogSigmoid,
        Self::HardSigmoid,
        Self::HardSwish,
        Self::HardTanh,
    ];

    /// The name used in recipes: that of the function, `leaky_relu` say.
    pub fn name(self) -> &'static str {
        struct Name;
        impl Visitor for Name {
            type Output = &'static str;

            fn visit<P: Pointwise>(self, _: P) -> &'static str {
                P::NAME
            }
        }
        self.visit(Name)
    }

    /// The member of [`Activation::ALL`] called `name`.
    ///
    /// # Errors
    /// If there is none; the message lists the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        let Some(found) = Self::ALL.into_iter().find(|a| a.name() == name) else {
            let names = Self::ALL.map(Self::name).join(", ");
            candle_core::bail!("activation: the name must be one of {names}, got {name:?}")
        };
        Ok(found)
    }

    /// Hands the function over by its own type.
    pub(super) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
        match self {
            Self::Relu => visitor.visit(Relu),
            Self::LeakyRelu { slope } => visitor.visit(LeakyRelu { slope }),
            Self::Relu6 => visitor.visit(Relu6),
            Self::Sigmoid => visitor.visit(Sigmoid),
            Self::Tanh => visitor.visit(Tanh),
            Self::Gelu => visitor.visit(Gelu),
            Self::GeluTanh => visitor.visit(GeluTanh),
            Self::Silu => visitor.visit(Silu),
            Self::Mish => visitor.visit(Mish),
            Self::Elu { alpha } => visitor.visit(Elu { alpha }),
            Self::Selu => visitor.visit(Selu),
            Self::Softplus { beta } => visitor.visit(Softplus { beta }),
            Self::Softsign => visitor.visit(Softsign),
            Self::LogSigmoid => visitor.visit(LogSigmoid),
            Self::HardSigmoid => visitor.visit(HardSigmoid),
            Self::HardSwish => visitor.visit(HardSwish),
            Self::HardTanh => visitor.visit(HardTanh),
        }
    }
}

impl Module for Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        struct Apply<'a>(&'a Tensor);
        impl Visitor for Apply<'_> {
            type Output = Result<Tensor>;

            fn visit<P: Pointwise>(self, f: P) -> Result<Tensor> {
                apply(f, self.0)
            }
        }
        self.visit(Apply(x))
    }
}

#[cfg(test)]
mod tests;
