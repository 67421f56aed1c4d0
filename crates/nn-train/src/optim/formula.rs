//! The arithmetic of update rules, written once: over single numbers on the CPU, over whole tensors elsewhere.

use std::ops::{Add, Div, Mul, Sub};

use candle_core::{Error, Result, Tensor};

/// What a rule computes with.
pub(super) trait Quantity:
    Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `self · c`
    fn times(self, c: f64) -> Self;
    /// `self + c`
    fn plus(self, c: f64) -> Self;
    fn sqrt(self) -> Self;
    /// The larger of the two.
    fn max(self, other: Self) -> Self;
    /// −1, 0 or 1.
    fn sign(self) -> Self;
}

/// One update of one parameter: what all its elements share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) lr: f64,
    /// The weight decay of the parameter's group.
    pub(super) decay: f64,
    /// Counted from 1.
    pub(super) number: u64,
    /// The one number some rules keep from update to update.
    pub(super) memo: f64,
}

/// An update rule that keeps `K` tensors for a parameter.
pub(super) trait Formula<const K: usize>: Sync {
    /// Numbers worked out once an update.
    type Scales: Copy + Send + Sync;

    fn scales(&self, turn: Turn) -> Self::Scales;

    /// The new parameter and what is kept, from the old ones and the gradient.
    fn update<X: Quantity>(&self, scales: Self::Scales, p: X, g: X, kept: [X; K]) -> (X, [X; K]);
}

impl Quantity for f32 {
    #[inline(always)]
    fn times(self, c: f64) -> Self {
        self * c as f32
    }

    #[inline(always)]
    fn plus(self, c: f64) -> Self {
        self + c as f32
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    #[inline(always)]
    fn sign(self) -> Self {
        if self > 0.0 {
            1.0
        } else if self < 0.0 {
            -1.0
        } else {
            0.0
        }
    }
}

/// A tensor in the middle of a formula; the first error stays until [`Whole::get`] asks.
#[derive(Clone)]
pub(super) struct Whole(std::result::Result<Tensor, String>);

impl Whole {
    pub(super) fn new(x: &Tensor) -> Self {
        Self(Ok(x.clone()))
    }

    pub(super) fn get(self) -> Result<Tensor> {
        self.0.map_err(Error::Msg)
    }

    fn map(self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Self {
        Self(self.0.and_then(|x| f(&x).map_err(|e| e.to_string())))
    }

    fn with(self, other: Self, f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>) -> Self {
        match other.0 {
            Ok(other) => self.map(|x| f(x, &other)),
            Err(e) => Self(Err(e)),
        }
    }
}

impl Add for Whole {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Sub for Whole {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
}

impl Mul for Whole {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
}

impl Div for Whole {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }
}

impl Quantity for Whole {
    fn times(self, c: f64) -> Self {
        self.map(|x| x * c)
    }

    fn plus(self, c: f64) -> Self {
        self.map(|x| x + c)
    }

    fn sqrt(self) -> Self {
        self.map(Tensor::sqrt)
    }

    fn max(self, other: Self) -> Self {
        self.with(other, |a, b| a.maximum(b))
    }

    fn sign(self) -> Self {
        self.map(Tensor::sign)
    }
}
