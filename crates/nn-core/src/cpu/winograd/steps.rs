//! The steps of the convolution as values that `pulp` runs with the best instruction set.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Problem;
use super::filters::{filter_gradients, filters};
use super::layout::{Points, Run};
use super::product::{Start, multiply, multiply_transposed};
use super::tiles::{Planes, gradients, images, untile};

macro_rules! step {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty),* $(,)? } => $call:ident($($arg:expr),*)) => {
        $(#[$doc])*
        pub(super) struct $name $(<$life>)? {
            $(pub(super) $field: $type,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// # Safety
            /// That of the function it stands for.
            pub(super) unsafe fn run(self) {
                Arch::new().dispatch(self);
            }
        }

        impl $(<$life>)? WithSimd for $name $(<$life>)? {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, s: S) {
                let Self { $($field),* } = self;
                // SAFETY: whoever runs the step has promised it.
                unsafe { $call(s, $($arg),*) }
            }
        }
    };
}

step!(
    /// [`filters`]
    Filters<'a> { p: &'a Problem, w: &'a [f32], first: usize, inputs: Range<usize>, u: *mut f32 }
        => filters(p, w, first, inputs, u)
);
step!(
    /// [`filter_gradients`]
    FilterGradients<'a> { p: &'a Problem, u: *const f32, channels: [usize; 2], dw: *mut f32 }
        => filter_gradients(p, u, channels, dw)
);
step!(
    /// [`images`]
    Images<'a> { from: Planes<'a>, channel: usize, runs: &'a [Run], to: Points }
        => images(from, channel, runs, to)
);
step!(
    /// [`gradients`]
    Gradients<'a> { from: Planes<'a>, channel: usize, runs: &'a [Run], to: Points }
        => gradients(from, channel, runs, to)
);
step!(
    /// [`multiply`]
    Multiply { factors: [*const f32; 2], m: *mut f32, sizes: [usize; 2], start: Start }
        => multiply(factors, m, sizes, start)
);
step!(
    /// [`multiply_transposed`]
    MultiplyTransposed { factors: [*const f32; 2], u: *mut f32, tiles: usize, start: Start }
        => multiply_transposed(factors, u, tiles, start)
);
step!(
    /// [`untile`]
    Untile<'a> { m: *const f32, tiles: usize, across: usize, lines: &'a mut Vec<f32> }
        => untile(m, tiles, across, lines)
);
