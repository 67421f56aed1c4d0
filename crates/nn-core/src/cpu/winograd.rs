//! Convolution with 3×3 filters in a quarter of the multiplications: Winograd's F(4×4, 3×3).
//!
//! Images and filters are brought to the points of `transform.rs`; there a convolution is, at each of the 36 points, a matrix
//! product over the channels. Whichever of the two has less of it is brought there as a whole; the other one piece by
//! piece, in the cache of the core that multiplies it.
//!
//! Every output is a sum over the input channels in one order: neither the batch nor the threads change a bit of it. A pixel that is
//! not finite makes the outputs of its tiles NaN, not only those that see it.
//!
//! Source: Lavin & Gray 2016, arXiv:1509.09308.
#![allow(unsafe_code)]

mod filters;
mod forward;
mod gradient;
mod layout;
mod product;
mod room;
mod steps;
mod tiles;
mod transform;

pub(crate) use self::forward::forward;
pub(crate) use self::gradient::weight_gradient;

use self::filters::TAPS;
use self::layout::{BLOCK, LANES};
use self::tiles::Planes;
use self::transform::{EDGE, TILE};

/// A convolution with 3×3 filters at stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) images: usize,
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) input: [usize; 2],
    /// Zeros above and left of the input; those below and right of it follow from the output.
    pub(crate) padding: [usize; 2],
    pub(crate) output: [usize; 2],
}

/// Channels on each side below which the transforms cost more than they save.
const FEW: usize = 24;

impl Problem {
    /// Whether this way is the shorter one. It does not depend on how many images there are, so neither do outputs.
    pub(crate) fn suits(&self) -> bool {
        let outputs = self.tiles().iter().product::<usize>() * TILE * TILE;
        self.images > 0 && self.c_in.min(self.c_out) >= FEW && 2 * self.positions() >= outputs.max(FEW)
    }

    /// Input channels, up to whole groups.
    fn inputs(&self) -> usize {
        self.groups() * LANES
    }

    /// Groups of [`LANES`] input channels.
    fn groups(&self) -> usize {
        self.c_in.div_ceil(LANES)
    }

    /// Blocks of [`BLOCK`] output channels.
    fn blocks(&self) -> usize {
        self.c_out.div_ceil(BLOCK)
    }

    /// Tiles down and across an image.
    fn tiles(&self) -> [usize; 2] {
        self.output.map(|n| n.div_ceil(TILE))
    }

    /// Outputs of a channel of an image.
    fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn planes<'a>(&self, x: &'a [f32]) -> Planes<'a> {
        Planes {
            data: x,
            channels: self.c_in,
            size: self.input,
            padding: self.padding,
            overlap: EDGE - TILE,
            across: self.tiles()[1],
        }
    }

    fn check(&self, x: &[f32], w: usize) {
        assert_eq!(
            x.len(),
            self.images * self.c_in * self.input[0] * self.input[1],
            "winograd: x has another size"
        );
        assert_eq!(w, self.c_out * self.c_in * TAPS, "winograd: w has another size");
    }
}

#[cfg(test)]
mod tests;
