//! What a convolution does with its sums before they leave the cache.

use std::ops::Range;

use crate::cpu::Element;
use crate::cpu::bands::{Empty, Filled};
use crate::cpu::simd::vectorised;
use crate::ops::fused::Fused;
use crate::ops::norm::line::Line;

/// The end of a convolution's pass, with numbers for each output channel.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a, T> {
    /// The sums are the output.
    Nothing,
    /// `y + bias`
    Bias(&'a [T]),
    /// `f(y · scale + shift)`
    Line { scale: &'a [T], shift: &'a [T], fused: Fused },
}

impl<'a, T: Element> Ending<'a, T> {
    /// The same of some channels.
    pub(super) fn of(self, channels: Range<usize>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Bias(b) => Self::Bias(&b[channels]),
            Self::Line { scale, shift, fused } => {
                Self::Line { scale: &scale[channels.clone()], shift: &shift[channels], fused }
            }
        }
    }

    /// The same in single precision, if it is that already.
    pub(super) fn as_f32(self) -> Option<Ending<'a, f32>> {
        Some(match self {
            Self::Nothing => Ending::Nothing,
            Self::Bias(b) => Ending::Bias(T::as_f32(b)?),
            Self::Line { scale, shift, fused } => {
                Ending::Line { scale: T::as_f32(scale)?, shift: T::as_f32(shift)?, fused }
            }
        })
    }

    /// What the sums start from.
    pub(super) fn bias(self) -> Option<&'a [T]> {
        if let Self::Bias(b) = self { Some(b) } else { None }
    }

    pub(super) fn has_line(self) -> bool {
        matches!(self, Self::Line { .. })
    }

    /// Numbers of a channel become `f(y · scale + shift)`, if this is that ending.
    pub(super) fn line(self, channel: usize, y: &mut [T]) {
        if let Self::Line { scale, shift, fused } = self {
            let line = Line { mean: T::ZERO, slope: scale[channel], shift: shift[channel], fused };
            vectorised(
                #[inline(always)]
                || line.replace(y),
            );
        }
    }

    /// A band, a row a channel, filled with sums by `fill` (which adds the bias) and ended.
    pub(super) fn after(
        self,
        empty: Empty<T>,
        fill: impl FnOnce(Empty<T>, Option<&[T]>) -> Filled<T>,
    ) -> Filled<T> {
        let filled = fill(empty, self.bias());
        if self.has_line() { filled.for_each_row(|channel, y| self.line(channel, y)) } else { filled }
    }
}
