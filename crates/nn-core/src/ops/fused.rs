//! An activation inside the pass of another op.
//!
//! It is applied to a block of numbers while they are in the first-level cache, in a loop of its own: memory is
//! walked once, and no op is compiled anew for each activation.

use candle_core::{Result, Tensor};

use super::activation::Activation;
use super::pointwise::{Pointwise, Seen, Visitor};
use crate::cpu::simd::vectorised;
use crate::cpu::{Element, vector};
use crate::graph::Operation;

/// Numbers of a block: of three blocks of `f32`, 24 KiB.
pub(super) const BLOCK: usize = 2048;

/// What follows an op, if anything does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fused(pub(super) Option<Activation>);

impl Fused {
    /// `z` becomes `f(z)`.
    #[inline(always)]
    pub(super) fn apply<T: Element>(self, z: &mut [T]) {
        struct Apply<'a, T>(&'a mut [T]);
        impl<T: Element> Visitor for Apply<'_, T> {
            type Output = ();

            fn visit<P: Pointwise>(self, f: P) {
                vectorised(
                    #[inline(always)]
                    || {
                        for z in self.0 {
                            *z = f.value(*z);
                        }
                    },
                );
            }
        }
        if let Some(f) = self.0 {
            f.visit(Apply(z));
        }
    }

    /// What an op does that ends with the activation.
    pub(super) fn after(self, operation: Operation) -> Vec<Operation> {
        [operation].into_iter().chain(self.0.map(Operation::Activation)).collect()
    }

    /// `z` becomes `f'(z) · dy`.
    #[inline(always)]
    pub(super) fn gradient<T: Element>(self, z: &mut [T], dy: &[T]) {
        struct Gradient<'a, T>(&'a mut [T], &'a [T]);
        impl<T: Element> Visitor for Gradient<'_, T> {
            type Output = ();

            fn visit<P: Pointwise>(self, f: P) {
                vectorised(
                    #[inline(always)]
                    || {
                        for (z, &dy) in self.0.iter_mut().zip(self.1) {
                            let at = if P::SEEN == Seen::Output { f.value(*z) } else { *z };
                            *z = f.gradient(at, dy);
                        }
                    },
                );
            }
        }
        match self.0 {
            Some(f) => f.visit(Gradient(z, dy)),
            None => z.copy_from_slice(dy),
        }
    }

    /// `f(x)` from differentiable Candle operations.
    pub(super) fn portable(self, x: Tensor) -> Result<Tensor> {
        struct Portable<'a>(&'a Tensor);
        impl Visitor for Portable<'_> {
            type Output = Result<Tensor>;

            fn visit<P: Pointwise>(self, f: P) -> Result<Tensor> {
                f.portable(self.0)
            }
        }
        self.0.map_or(Ok(x.clone()), |f| f.visit(Portable(&x)))
    }

    /// `f'(z) · dy` for whole vectors, where the derivative can be read from `y = f(z)`; see [`Fused::seen`].
    pub(super) fn gradient_from_output<T: Element>(self, y: &[T], dy: &[T]) -> Vec<T> {
        struct Gradient<'a, T>(&'a [T], &'a [T]);
        impl<T: Element> Visitor for Gradient<'_, T> {
            type Output = Vec<T>;

            fn visit<P: Pointwise>(self, f: P) -> Vec<T> {
                vector::map2(
                    self.0,
                    self.1,
                    P::COST,
                    #[inline(always)]
                    |y, dy| f.gradient(y, dy),
                )
            }
        }
        self.0.map_or_else(|| dy.to_vec(), |f| f.visit(Gradient(y, dy)))
    }

    /// What the derivative is read from.
    pub(super) fn seen(self) -> Option<Seen> {
        struct See;
        impl Visitor for See {
            type Output = Seen;

            fn visit<P: Pointwise>(self, _: P) -> Seen {
                P::SEEN
            }
        }
        self.0.map(|f| f.visit(See))
    }

    /// Elementary operations per element, roughly.
    pub(super) fn cost(self) -> usize {
        struct Cost;
        impl Visitor for Cost {
            type Output = usize;

            fn visit<P: Pointwise>(self, _: P) -> usize {
                P::COST
            }
        }
        self.0.map_or(0, |f| f.visit(Cost))
    }
}
