//! Windows sliding along one axis: how many fit, and what each covers. Convolution and pooling share it.

use std::ops::Range;

use candle_core::Result;

use crate::ensure;

/// What becomes of pixels at the end of an axis that do not fill a whole stride.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// They are left out.
    #[default]
    Floor,
    /// One more window covers them and reaches beyond the padding, provided it starts inside the input or the
    /// leading padding (PyTorch's `ceil_mode`).
    Ceil,
}

/// The windows along one axis, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Taps of a window.
    pub(crate) kernel: usize,
    /// From the start of a window to the start of the next.
    pub(crate) stride: usize,
    /// From a tap to the next.
    pub(crate) dilation: usize,
    /// Added `[before, after]` the input.
    pub(crate) padding: [usize; 2],
    /// What happens at the end.
    pub(crate) rounding: Rounding,
}

impl Window {
    /// Pixels from the first tap to the last, both included: `(kernel − 1) · dilation + 1`.
    pub(crate) fn span(&self) -> usize {
        (self.kernel - 1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// How many windows `input` pixels have: `⌊(input + padding − span) / stride⌋ + 1`, or rounded up.
    ///
    /// `who` and `axis` ("height") are for the message.
    ///
    /// # Errors
    /// If kernel, stride or dilation is zero, or no window fits.
    pub(crate) fn count(&self, who: &str, axis: &str, input: usize) -> Result<usize> {
        for (option, value) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)]
        {
            ensure!(value > 0, "{who}: {option} must be at least 1 along the {axis}, got {value}");
        }
        let [before, after] = self.padding;
        let padded = input.saturating_add(before).saturating_add(after);
        let (span, stride) = (self.span(), self.stride);
        let reach = match self.rounding {
            Rounding::Floor => padded,
            Rounding::Ceil => padded.saturating_add(stride - 1),
        };
        let count = reach.checked_sub(span).map_or(0, |room| room / stride + 1);
        let last_start = count.saturating_sub(1).saturating_mul(stride);
        let outside = self.rounding == Rounding::Ceil && last_start >= input.saturating_add(before);
        let count = if outside { count.saturating_sub(1) } else { count };
        ensure!(
            count > 0,
            "{who}: the window must fit into the padded input, got a window of {span} and {padded} pixels along the {axis}"
        );
        Ok(count)
    }

    /// The pixel under the first tap of window `o`: negative in the leading padding.
    #[inline(always)]
    pub(crate) fn start(&self, o: usize) -> isize {
        (o * self.stride) as isize - self.padding[0] as isize
    }

    /// The taps of window `o` that see one of `input` pixels, not padding; may be empty.
    #[inline(always)]
    pub(crate) fn taps(&self, input: usize, o: usize) -> Range<usize> {
        let start = self.start(o);
        let first = if start < 0 { start.unsigned_abs().div_ceil(self.dilation) } else { 0 };
        let room = input as isize - start;
        let end = if room > 0 { room.unsigned_abs().div_ceil(self.dilation).min(self.kernel) } else { 0 };
        first.min(end)..end
    }

    /// Which of `count` undilated windows cover `pixel`.
    pub(crate) fn covering(&self, pixel: usize, count: usize) -> Range<usize> {
        let at = pixel + self.padding[0];
        let end = (at / self.stride + 1).min(count);
        let first = (at + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first.min(end)..end
    }
}

/// The windows as [`graph`](crate::graph) has them: `output` of them on `input` pixels.
pub(crate) fn sliding(
    windows: [Window; 2],
    input: [usize; 2],
    output: [usize; 2],
    groups: usize,
) -> crate::graph::Taps {
    let padding = |axis: usize| {
        let w = windows[axis];
        let [before, after] = w.padding;
        let reach =
            (output[axis].saturating_sub(1) * w.stride + w.span()).saturating_sub(input[axis] + before);
        [before, if w.rounding == Rounding::Floor { after } else { reach }]
    };
    crate::graph::Taps {
        kernel: windows.map(|w| w.kernel),
        stride: windows.map(|w| w.stride),
        padding: [padding(0), padding(1)],
        dilation: windows.map(|w| w.dilation),
        groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Window =
        Window { kernel: 3, stride: 2, dilation: 1, padding: [0, 0], rounding: Rounding::Floor };
    const CEIL: Window = Window { rounding: Rounding::Ceil, ..PLAIN };

    #[test]
    fn counts_are_those_of_pytorch() -> Result<()> {
        let same = Window { padding: [1, 1], ..PLAIN };
        for (window, input, count) in [
            (PLAIN, 3, 1),
            (PLAIN, 6, 2),
            (PLAIN, 7, 3),
            (CEIL, 6, 3),
            (CEIL, 7, 3),
            (CEIL, 2, 1), // the one window reaches beyond the input
            (same, 112, 56),
            (Window { padding: [0, 1], ..PLAIN }, 6, 3), // more padding after than before
            (Window { padding: [1, 0], ..PLAIN }, 5, 2),
            (Window { dilation: 2, ..PLAIN }, 9, 3),
            (Window { stride: 1, ..CEIL }, 6, 4),
            (Window { kernel: 2, stride: 3, ..CEIL }, 3, 1), // a second one would start at the end
            (Window { kernel: 2, stride: 3, ..CEIL }, 4, 2),
            (Window { padding: [1, 1], stride: 3, ..CEIL }, 5, 2), // a third one would start in the padding after
            (Window { padding: [1, 1], stride: 3, ..CEIL }, 6, 3),
        ] {
            assert_eq!(window.count("test", "width", input)?, count, "{window:?} on {input}");
        }
        Ok(())
    }

    #[test]
    fn taps_and_coverings_are_what_a_search_finds() -> Result<()> {
        for kernel in 1..4 {
            for (stride, dilation) in [(1, 1), (2, 1), (3, 1), (1, 2), (2, 3)] {
                for padding in [[0, 0], [1, 1], [2, 2], [0, 1], [2, 0]] {
                    for (input, rounding) in (1..9).flat_map(|i| [(i, Rounding::Floor), (i, Rounding::Ceil)])
                    {
                        let window = Window { kernel, stride, dilation, padding, rounding };
                        let Ok(count) = window.count("test", "width", input) else { continue };
                        let seen = |o: usize| -> Vec<usize> {
                            let pixel = |k: usize| window.start(o) + (k * dilation) as isize;
                            (0..kernel).filter(|&k| (0..input as isize).contains(&pixel(k))).collect()
                        };
                        for pixel in (0..input).filter(|_| dilation == 1) {
                            let ends = |o: usize| window.start(o) + kernel as isize;
                            let covers = |&o: &usize| (window.start(o)..ends(o)).contains(&(pixel as isize));
                            let found = window.covering(pixel, count).collect::<Vec<_>>();
                            assert_eq!(
                                found,
                                (0..count).filter(covers).collect::<Vec<_>>(),
                                "{window:?} at {pixel}"
                            );
                        }
                        for o in 0..count {
                            let found = window.taps(input, o).collect::<Vec<_>>();
                            assert_eq!(found, seen(o), "{window:?} on {input}, window {o}");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn refusals_name_the_rule() {
        for (window, input, rule) in [
            (Window { kernel: 0, ..PLAIN }, 5, "test: kernel must be at least 1 along the width, got 0"),
            (Window { stride: 0, ..CEIL }, 5, "test: stride must be at least 1 along the width, got 0"),
            (Window { dilation: 0, ..PLAIN }, 5, "test: dilation must be at least 1 along the width, got 0"),
            (PLAIN, 2, "got a window of 3 and 2 pixels along the width"),
            (Window { kernel: 1, ..CEIL }, 0, "got a window of 1 and 0 pixels along the width"),
            (CEIL, 1, "got a window of 3 and 1 pixels along the width"),
            (Window { dilation: usize::MAX, ..PLAIN }, 5, "must fit into the padded input"),
        ] {
            let error = window.count("test", "width", input).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
    }
}
