//! The bins of adaptive pooling: a fixed number of them, whatever the size of the input.
//!
//! Source: PyTorch's `AdaptivePooling.h`.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};

use super::pooling::{image_sizes, sequence_sizes};
use crate::ensure;

/// The bins along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Bins {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

impl Bins {
    /// The pixels of bin `i`.
    pub(crate) fn pixels(&self, i: usize) -> Range<usize> {
        i * self.input / self.output..((i + 1) * self.input).div_ceil(self.output)
    }

    /// The most pixels that a bin has.
    pub(crate) fn longest(&self) -> usize {
        (0..self.output).map(|i| self.pixels(i).len()).max().unwrap_or(0)
    }

    /// The bins that hold `pixel`.
    pub(crate) fn holding(&self, pixel: usize) -> Range<usize> {
        pixel * self.output / self.input..((pixel + 1) * self.output).div_ceil(self.input)
    }
}

/// The bins on the planes of `[B, C, H, W]`, and the sizes that follow from them.
#[derive(Clone, Copy)]
pub(crate) struct Binned {
    /// Batch and channels.
    pub(crate) lead: [usize; 2],
    /// Along height and width.
    pub(crate) bins: [Bins; 2],
}

impl Binned {
    /// Bins on images.
    pub(crate) fn new(who: &str, x: &Tensor, output: [usize; 2]) -> Result<Self> {
        let (lead, input) = image_sizes(who, x)?;
        ensure!(!output.contains(&0), "{who}: output must be at least 1 × 1, got {output:?}");
        Ok(Self { lead, bins: [0, 1].map(|axis| Bins { input: input[axis], output: output[axis] }) })
    }

    /// Bins on sequences, which are images of one row.
    pub(crate) fn of_rows(who: &str, x: &Tensor, [output]: [usize; 1]) -> Result<Self> {
        let (lead, [rows, input]) = sequence_sizes(who, x)?;
        ensure!(output > 0, "{who}: output must be at least 1, got {output}");
        Ok(Self { lead, bins: [Bins { input: rows, output: 1 }, Bins { input, output }] })
    }

    /// One bin that holds all axes after the second of `[B, C, …]`.
    pub(crate) fn global(who: &str, x: &Tensor) -> Result<Self> {
        let &[b, c, ref rest @ ..] = x.dims() else {
            candle_core::bail!("{who}: x must be [B, C, …], got {:?}", x.dims())
        };
        let input = rest.iter().product();
        ensure!(
            !rest.is_empty() && c * input > 0,
            "{who}: x must have channels and, after them, an axis that is not empty, got {:?}",
            x.dims()
        );
        Ok(Self { lead: [b, c], bins: [Bins { input: 1, output: 1 }, Bins { input, output: 1 }] })
    }

    /// Pixels of a plane before and after.
    pub(crate) fn planes(&self) -> [usize; 2] {
        let [down, right] = self.bins;
        [down.input * right.input, down.output * right.output]
    }

    /// Batch and channels, multiplied.
    pub(crate) fn count(&self) -> usize {
        self.lead[0] * self.lead[1]
    }

    /// `[B, C, H, W]`
    pub(crate) fn input(&self) -> (usize, usize, usize, usize) {
        let ([b, c], [down, right]) = (self.lead, self.bins);
        (b, c, down.input, right.input)
    }

    /// `[B, C, H', W']`
    pub(crate) fn output(&self) -> (usize, usize, usize, usize) {
        let ([b, c], [down, right]) = (self.lead, self.bins);
        (b, c, down.output, right.output)
    }

    /// `[B, C, L']`
    pub(crate) fn sequences(&self) -> Shape {
        let ([b, c], [_, right]) = (self.lead, self.bins);
        (b, c, right.output).into()
    }

    /// `[B, C]`
    pub(crate) fn channels(&self) -> (usize, usize) {
        (self.lead[0], self.lead[1])
    }

    /// Elementary operations of a pass.
    pub(crate) fn work(&self) -> usize {
        let [before, after] = self.planes();
        self.count() * (before + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_and_pixels_know_each_other() {
        for (input, output) in (1..12).flat_map(|i| (1..12).map(move |o| (i, o))) {
            let bins = Bins { input, output };
            for pixel in 0..input {
                let found = (0..output).filter(|&o| bins.pixels(o).contains(&pixel)).collect::<Vec<_>>();
                assert_eq!(
                    bins.holding(pixel).collect::<Vec<_>>(),
                    found,
                    "{input} to {output}, pixel {pixel}"
                );
            }
        }
    }
}
