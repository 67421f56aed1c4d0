//! Norms of differences of vectors, of any order.

use crate::cpu::{Element, vector};

/// The order of a norm. The derivative of `‖e‖` by `eᵢ` is `scale · direction(eᵢ)`.
pub(super) trait Order: Copy + Send + Sync {
    /// `‖u − v + ε‖`
    fn distance<T: Element>(self, u: &[T], v: &[T], eps: T) -> T;

    /// What all directions are multiplied by, where the distance is `size`; 0 if that is 0.
    fn scale<T: Element>(self, u: &[T], v: &[T], eps: T, size: T) -> T;

    fn direction<T: Element>(self, e: T, size: T) -> T;
}

#[inline(always)]
fn sign<T: Element>(e: T) -> T {
    let above = if e > T::ZERO { T::ONE } else { T::ZERO };
    if e < T::ZERO { -T::ONE } else { above }
}

#[derive(Clone, Copy)]
pub(super) struct One;

impl Order for One {
    #[inline(always)]
    fn distance<T: Element>(self, u: &[T], v: &[T], eps: T) -> T {
        T::of(vector::sum2(u, v, |u, v| (u - v + eps).abs()))
    }

    #[inline(always)]
    fn scale<T: Element>(self, _: &[T], _: &[T], _: T, _: T) -> T {
        T::ONE
    }

    #[inline(always)]
    fn direction<T: Element>(self, e: T, _: T) -> T {
        sign(e)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Two;

impl Order for Two {
    #[inline(always)]
    fn distance<T: Element>(self, u: &[T], v: &[T], eps: T) -> T {
        let square = |u: T, v: T| {
            let e = u - v + eps;
            e * e
        };
        T::of(vector::sum2(u, v, square).sqrt())
    }

    #[inline(always)]
    fn scale<T: Element>(self, _: &[T], _: &[T], _: T, size: T) -> T {
        if size > T::ZERO { T::ONE / size } else { T::ZERO }
    }

    #[inline(always)]
    fn direction<T: Element>(self, e: T, _: T) -> T {
        e
    }
}

/// The largest difference; equal ones share its gradient.
#[derive(Clone, Copy)]
pub(super) struct Infinity;

impl Order for Infinity {
    #[inline(always)]
    fn distance<T: Element>(self, u: &[T], v: &[T], eps: T) -> T {
        u.iter().zip(v).fold(T::ZERO, |top, (&u, &v)| {
            let e = (u - v + eps).abs();
            // A comparison that NaN fails, so that it is kept.
            if e <= top { top } else { e }
        })
    }

    #[inline(always)]
    fn scale<T: Element>(self, u: &[T], v: &[T], eps: T, size: T) -> T {
        let largest = |u: T, v: T| if (u - v + eps).abs() == size { T::ONE } else { T::ZERO };
        T::of(1.0 / vector::sum2(u, v, largest).max(1.0))
    }

    #[inline(always)]
    fn direction<T: Element>(self, e: T, size: T) -> T {
        if e.abs() == size { sign(e) } else { T::ZERO }
    }
}

/// Any other.
#[derive(Clone, Copy)]
pub(super) struct Power(pub(super) f64);

impl Order for Power {
    fn distance<T: Element>(self, u: &[T], v: &[T], eps: T) -> T {
        let power = |u: T, v: T| T::of((u - v + eps).to_f64().abs().powf(self.0));
        T::of(vector::sum2(u, v, power).powf(1.0 / self.0))
    }

    fn scale<T: Element>(self, _: &[T], _: &[T], _: T, size: T) -> T {
        if size > T::ZERO { T::of(size.to_f64().powf(1.0 - self.0)) } else { T::ZERO }
    }

    fn direction<T: Element>(self, e: T, _: T) -> T {
        let e = e.to_f64();
        if e == 0.0 { T::ZERO } else { T::of(e.signum() * e.abs().powf(self.0 - 1.0)) }
    }
}
