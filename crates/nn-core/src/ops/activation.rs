//! Activation functions: what makes a stack of linear layers more than one linear layer.
//!
//! Why not Candle's: its ReLU has derivative 1 at 0 and its clamp ½ at each bound, and all of them run at the speed
//! of a scalar library call (docs/candle-gaps.md). At kinks the gradients here are PyTorch's; NaN passes through.

use candle_core::{Module, Result, Tensor};

use super::pointwise::{Pointwise, Seen, Visitor, apply};
use crate::cpu::Element;

/// `max(0, x)`, of any shape; its derivative at 0 is 0.
///
/// Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
///
/// # Errors
/// If the type of `x` has no comparison on its device.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(Relu, x)
}

/// `x` where `x > 0`, else `slope · x`, of any shape; its derivative at 0 is `slope`.
///
/// Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", §2.
///
/// # Errors
/// If the type of `x` has no comparison on its device.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    apply(LeakyRelu { slope }, x)
}

/// `min(max(0, x), 6)`, of any shape; its derivative at 0 and at 6 is 0.
///
/// Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
///
/// # Errors
/// If the type of `x` has no comparison on its device.
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    apply(Relu6, x)
}

/// `1 / (1 + e⁻ˣ)`, of any shape.
///
/// Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", equation 2.
///
/// # Errors
/// If `x` is not of a float type.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(Sigmoid, x)
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
}

impl Activation {
    /// One of each, with PyTorch's default where there is an option.
    pub const ALL: [Self; 5] =
        [Self::Relu, Self::LeakyRelu { slope: 0.01 }, Self::Relu6, Self::Sigmoid, Self::Tanh];

    /// The name used in recipes: `relu`, `leaky_relu`, `relu6`, `sigmoid`, `tanh`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => Relu::NAME,
            Self::LeakyRelu { .. } => LeakyRelu::NAME,
            Self::Relu6 => Relu6::NAME,
            Self::Sigmoid => Sigmoid::NAME,
            Self::Tanh => Tanh::NAME,
        }
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
}

impl Activation {
    /// Hands the function over by its own type.
    pub(super) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
        match self {
            Self::Relu => visitor.visit(Relu),
            Self::LeakyRelu { slope } => visitor.visit(LeakyRelu { slope }),
            Self::Relu6 => visitor.visit(Relu6),
            Self::Sigmoid => visitor.visit(Sigmoid),
            Self::Tanh => visitor.visit(Tanh),
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

#[derive(Clone, Copy)]
struct Relu;

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
}

#[derive(Clone, Copy)]
struct LeakyRelu {
    slope: f64,
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
}

#[derive(Clone, Copy)]
struct Relu6;

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
}

#[derive(Clone, Copy)]
struct Sigmoid;

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
}

#[derive(Clone, Copy)]
struct Tanh;

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
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::oracle::{assert_same, with_gradients};
    use crate::testing::{gradcheck, randn};

    const KINDS: [Activation; 7] = [
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::LeakyRelu { slope: 0.0 },
        Activation::LeakyRelu { slope: -0.5 },
        Activation::Relu6,
        Activation::Sigmoid,
        Activation::Tanh,
    ];

    fn portable(kind: Activation, x: &Tensor) -> Result<Tensor> {
        match kind {
            Activation::Relu => Relu.portable(x),
            Activation::LeakyRelu { slope } => LeakyRelu { slope }.portable(x),
            Activation::Relu6 => Relu6.portable(x),
            Activation::Sigmoid => Sigmoid.portable(x),
            Activation::Tanh => Tanh.portable(x),
        }
    }

    /// Values and derivatives at `x`, in `f32`.
    fn at(kind: Activation, x: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let x = candle_core::Var::new(x, &Device::Cpu)?;
        let y = kind.forward(&x)?;
        let grads = y.sum_all()?.backward()?;
        Ok((y.to_vec1()?, grads.get(&x).expect("x is a variable").to_vec1()?))
    }

    #[test]
    fn values_and_derivatives_at_kinks_are_those_of_pytorch() -> Result<()> {
        // torch 2.15: y = f(x); y.sum().backward(); y, x.grad
        const X: [f32; 6] = [-1.0, 0.0, 1.0, 6.0, 7.0, f32::INFINITY];
        type Case = (Activation, [f32; 6], [f32; 6]);
        let cases: [Case; 4] = [
            (Activation::Relu, [0.0, 0.0, 1.0, 6.0, 7.0, f32::INFINITY], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
            (
                Activation::LeakyRelu { slope: 0.1 },
                [-0.1, 0.0, 1.0, 6.0, 7.0, f32::INFINITY],
                [0.1, 0.1, 1.0, 1.0, 1.0, 1.0],
            ),
            (
                Activation::LeakyRelu { slope: -0.5 },
                [0.5, 0.0, 1.0, 6.0, 7.0, f32::INFINITY],
                [-0.5, -0.5, 1.0, 1.0, 1.0, 1.0],
            ),
            (Activation::Relu6, [0.0, 0.0, 1.0, 6.0, 6.0, 6.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
        ];
        for (kind, y, dx) in cases {
            let got = at(kind, &X)?;
            assert_eq!((got.0.as_slice(), got.1.as_slice()), (y.as_slice(), dx.as_slice()), "{kind:?}");
        }
        for kind in KINDS {
            assert!(at(kind, &[f32::NAN])?.0[0].is_nan(), "{kind:?} hides NaN");
        }
        Ok(())
    }

    #[test]
    fn worked_examples() -> Result<()> {
        let (y, dx) = at(Activation::Sigmoid, &[0.0, 3f32.ln(), -1000.0, 1000.0])?;
        assert_eq!((y[0], y[2], y[3]), (0.5, 0.0, 1.0));
        assert_eq!((dx[0], dx[2], dx[3]), (0.25, 0.0, 0.0));
        assert!((y[1] - 0.75).abs() < 1e-7 && (dx[1] - 0.1875).abs() < 1e-7);
        let (y, dx) = at(Activation::Tanh, &[0.0, 0.5 * 3f32.ln(), -1000.0, 1000.0])?;
        assert_eq!((y[0], y[2], y[3]), (0.0, -1.0, 1.0));
        assert_eq!((dx[0], dx[2], dx[3]), (1.0, 0.0, 0.0));
        assert!((y[1] - 0.5).abs() < 1e-7 && (dx[1] - 0.75).abs() < 1e-7);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for kind in KINDS {
            for shape in [vec![], vec![0, 3], vec![1], vec![3, 4, 5], vec![2, 3, 70, 90]] {
                let x = (randn(7, shape.as_slice())? * 4.0)?;
                for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
                    let x = x.to_dtype(dtype)?;
                    assert_same(|x| kind.forward(&x[0]), |x| portable(kind, &x[0]), &[x], tolerance)?;
                }
            }
            let view = |x: &Tensor| x.transpose(0, 2)?.narrow(1, 1, 3);
            assert_same(
                |x| kind.forward(&view(&x[0])?),
                |x| portable(kind, &view(&x[0])?),
                &[randn(8, (3, 5, 4))?],
                1e-13,
            )?;
            // The kinks themselves.
            let x = Tensor::new(&[-1.0, 0.0, -0.0, 6.0, 7.0], &Device::Cpu)?;
            assert_same(|x| kind.forward(&x[0]), |x| portable(kind, &x[0]), &[x], 1e-13)?;
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        let x = (randn(9, (3, 4, 5))? * 4.0)?;
        for kind in KINDS {
            gradcheck(|x| kind.forward(&x[0]), std::slice::from_ref(&x))?;
            gradcheck(|x| kind.forward(&x[0].t()?.narrow(1, 1, 3)?), std::slice::from_ref(&x))?;
        }
        Ok(())
    }

    #[test]
    fn half_precision_takes_the_portable_path() -> Result<()> {
        let x = Tensor::new(&[-2f32, -0.5, 0.5, 8.0], &Device::Cpu)?;
        for kind in KINDS {
            let (y, _) = with_gradients(|x| kind.forward(&x[0]), &[x.to_dtype(DType::BF16)?])?;
            crate::testing::assert_close(&y, &kind.forward(&x)?, 1e-2, 1e-2)?;
        }
        Ok(())
    }

    #[test]
    fn names_go_both_ways() -> Result<()> {
        for kind in Activation::ALL {
            assert_eq!(Activation::from_name(kind.name())?, kind);
        }
        let error = Activation::from_name("gelu").expect_err("not there").to_string();
        assert!(error.contains("one of relu, leaky_relu, relu6, sigmoid, tanh, got \"gelu\""), "{error}");
        Ok(())
    }
}
