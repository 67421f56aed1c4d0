//! What the pooling ops share: the checks of their options, windows made of Candle's own operations, and sequences seen
//! as images of one row.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View};
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::ensure;
use crate::graph::Operation;

/// Pixels that are worked on together, roughly: with what becomes of them they stay in the first-level cache.
pub(crate) const BAND: usize = 4096;

/// Checked windows on the planes of `[B, C, H, W]`, and the sizes that follow from them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooling {
    /// Batch and channels.
    pub(crate) lead: [usize; 2],
    /// Height and width of a plane.
    pub(crate) input: [usize; 2],
    /// Height and width of what becomes of it.
    pub(crate) output: [usize; 2],
    /// The windows along height and width, as many as `output`.
    pub(crate) windows: [Window; 2],
}

impl Pooling {
    /// Windows on images.
    pub(crate) fn new(who: &str, x: &Tensor, windows: [Window; 2]) -> Result<Self> {
        let (lead, input) = image_sizes(who, x)?;
        Self::checked(who, lead, input, windows, ["height", "width"])
    }

    /// Windows on sequences, which are images of one row.
    pub(crate) fn of_rows(who: &str, x: &Tensor, window: Window) -> Result<Self> {
        let (lead, input) = sequence_sizes(who, x)?;
        let row = Window { kernel: 1, stride: 1, dilation: 1, padding: [0, 0], rounding: Rounding::Floor };
        Self::checked(who, lead, input, [row, window], ["height", "length"])
    }

    fn checked(
        who: &str,
        lead: [usize; 2],
        input: [usize; 2],
        windows: [Window; 2],
        axes: [&str; 2],
    ) -> Result<Self> {
        let mut output = [0; 2];
        for (i, axis) in axes.into_iter().enumerate() {
            let Window { kernel, padding: [padding, _], .. } = windows[i];
            output[i] = windows[i].count(who, axis, input[i])?;
            ensure!(
                padding <= kernel / 2,
                "{who}: padding must be at most half the kernel of {kernel} along the {axis}, got {padding}"
            );
        }
        Ok(Self { lead, input, output, windows })
    }

    /// Pixels of an input plane.
    pub(crate) fn plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Pixels of an output plane.
    pub(crate) fn pooled(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Batch and channels, multiplied.
    pub(crate) fn planes(&self) -> usize {
        self.lead[0] * self.lead[1]
    }

    /// `[B, C, H', W']`
    pub(crate) fn shape(&self) -> Shape {
        let ([b, c], [h, w]) = (self.lead, self.output);
        (b, c, h, w).into()
    }

    /// The windows as [`crate::graph`] has them.
    pub(crate) fn sliding(&self) -> crate::graph::Taps {
        super::window::sliding(self.windows, self.input, self.output, 1)
    }

    /// `[B, C, L']`
    pub(crate) fn sequences(&self) -> Shape {
        let ([b, c], [_, l]) = (self.lead, self.output);
        (b, c, l).into()
    }

    /// `[B, C, H, W]`
    pub(crate) fn input_shape(&self) -> Shape {
        let ([b, c], [h, w]) = (self.lead, self.input);
        (b, c, h, w).into()
    }

    /// Elementary operations of a pass: a window's rows and columns are worked off apart.
    pub(crate) fn work(&self) -> usize {
        self.planes() * (self.plane() + self.pooled() * (self.windows[0].kernel + self.windows[1].kernel))
    }

    /// The rows of windows, in bands.
    pub(crate) fn bands(&self) -> impl Iterator<Item = Range<usize>> {
        let (down, count) = (self.windows[0], self.output[0]);
        let many = (BAND / self.input[1]).saturating_sub(down.span()) / down.stride + 1;
        (0..count).step_by(many).map(move |o| o..(o + many).min(count))
    }

    /// The pixel under each tap `[m, n]`, for all windows `[B, C, H', W']` at once, in row-major order of the taps.
    pub(crate) fn taps(&self, x: &Tensor, padding: f64) -> Result<Vec<([usize; 2], Tensor)>> {
        let x = self.padded(&self.padded(x, 0, padding)?, 1, padding)?;
        let [kh, kw] = self.windows.map(|w| w.kernel);
        let pixels = |axis: usize, tap: usize| {
            let Window { stride, dilation, .. } = self.windows[axis];
            let pixels = (0..self.output[axis]).map(|o| (o * stride + tap * dilation) as u32);
            Tensor::from_iter(pixels, x.device())
        };
        let mut taps = Vec::with_capacity(kh * kw);
        for m in 0..kh {
            let rows = x.index_select(&pixels(0, m)?, 2)?; // [B, C, H', W + padding]
            for n in 0..kw {
                taps.push(([m, n], rows.index_select(&pixels(1, n)?, 3)?)); // [B, C, H', W']
            }
        }
        Ok(taps)
    }

    /// Adds all the pixels that windows along `axis` see beyond the input.
    fn padded(&self, x: &Tensor, axis: usize, value: f64) -> Result<Tensor> {
        let window = self.windows[axis];
        let before = window.padding[0];
        let seen = (self.output[axis] - 1) * window.stride + window.span();
        let after = seen.saturating_sub(before + self.input[axis]);
        // No strip of nothing: CUDA launches no kernel for it, which Candle takes for an error.
        let strip = |pixels: usize| -> Result<Option<Tensor>> {
            let mut dims = x.dims().to_vec();
            dims[2 + axis] = pixels;
            let full = || Tensor::full(value, dims, x.device())?.to_dtype(x.dtype());
            (pixels > 0).then(full).transpose()
        };
        let parts = [strip(before)?, Some(x.clone()), strip(after)?];
        Tensor::cat(&parts.into_iter().flatten().collect::<Vec<_>>(), 2 + axis)
    }
}

/// Batch and channels, height and width of `x`.
///
/// # Errors
/// If `x` is not `[B, C, H, W]`, or empty other than by its batch.
pub(crate) fn image_sizes(who: &str, x: &Tensor) -> Result<([usize; 2], [usize; 2])> {
    let &[b, c, h, w] = x.dims() else {
        candle_core::bail!("{who}: x must be [B, C, H, W], got {:?}", x.dims())
    };
    ensure!(c * h * w > 0, "{who}: x must have channels, height and width, got {:?}", x.dims());
    Ok(([b, c], [h, w]))
}

/// Batch and channels, height and width of sequences `[B, C, L]` as images of one row.
///
/// # Errors
/// If `x` is not `[B, C, L]`, or empty other than by its batch.
pub(crate) fn sequence_sizes(who: &str, x: &Tensor) -> Result<([usize; 2], [usize; 2])> {
    let &[b, c, l] = x.dims() else { candle_core::bail!("{who}: x must be [B, C, L], got {:?}", x.dims()) };
    ensure!(c * l > 0, "{who}: x must have channels and a length, got {:?}", x.dims());
    Ok(([b, c], [1, l]))
}

/// A kernel for images that holds their sizes itself, on a tensor of the same elements in another shape.
#[derive(Clone)]
pub(crate) struct Reshaped<K> {
    pub(crate) kernel: K,
    /// As the kernel sees its argument, `[B, C, H, W]`.
    pub(crate) image: Shape,
    /// Of the output.
    pub(crate) shape: Shape,
}

impl<K: Kernel<1>> Kernel<1> for Reshaped<K> {
    const NAME: &'static str = K::NAME;

    fn forward<T: Element>(&self, xs: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (y, _) = self.kernel.forward(xs)?;
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [dx] = self.kernel.backward([x], y, dy)?;
        Ok([dx.map(|dx| dx.reshape(x.shape())).transpose()?])
    }

    fn reads(&self) -> Reads {
        self.kernel.reads()
    }

    fn operations(&self) -> Vec<Operation> {
        let inner = self.kernel.operations();
        if inner.is_empty() {
            return inner;
        }
        let to = |shape: &Shape| vec![Operation::Reshape(shape.dims().to_vec())];
        [to(&self.image), inner, to(&self.shape)].concat()
    }
}
