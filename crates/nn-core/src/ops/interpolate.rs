//! Images of another size: nearest, bilinear and bicubic interpolation, as `torch.nn.functional.interpolate` has them.
//!
//! Why not Candle's: its bilinear interpolation has no gradient, its nearest one for whole and equal factors only, and
//! that overwrites what other uses of the input have sent back (docs/candle-gaps.md).
//! Source: Keys 1981, "Cubic convolution interpolation for digital image processing", for the bicubic weights.

mod sampling;

use candle_core::{Device, Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::pooling::image_sizes;
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::resample::{Taps, resample};
use crate::ensure;
use crate::graph::Operation;

/// Which pixels of the input make one of the output, and with which weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// One pixel: `⌊i · N / n⌋` for pixel `i` of `n` along an axis of `N`, computed in `f32` as PyTorch does.
    #[default]
    Nearest,
    /// One pixel, the one whose centre is nearest: `⌊(i + ½) · N / n⌋`.
    NearestExact,
    /// A tent over two pixels an axis.
    Bilinear(Sampling),
    /// Keys' cubic over four pixels an axis, with `a = −¾`, or `a = −½` if it is antialiased.
    Bicubic(Sampling),
}

/// Where the pixels of the output lie on the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// The outer edges coincide: pixel `i` is at `(i + ½) · N / n − ½`, and the border goes on beyond them.
    /// PyTorch's `align_corners=False`.
    #[default]
    Centers,
    /// The centres of the corner pixels coincide: pixel `i` is at `i · (N − 1) / (n − 1)`. `align_corners=True`.
    Corners,
    /// As [`Sampling::Centers`], but where the image shrinks weights reach over a whole pixel of the output, and near
    /// the border they are those of the pixels inside, scaled to sum to 1. `antialias=True`.
    Antialiased,
}

/// `y[b, c, i, j] = Σ v[i, p] · h[j, q] · x[b, c, p, q]` over pixels `p, q`, with the weights `v` and `h` of `how`.
///
/// `[B, C, H, W]` → `[B, C, H', W']` with `[H', W']` the `size`.
///
/// # Errors
/// If `x` is not rank 4, or a size other than its batch is zero; if `size` has a zero; if `x` is not of a float type.
pub fn interpolate(x: &Tensor, size: [usize; 2], how: Interpolation) -> Result<Tensor> {
    if let Some(half) = half_precision("interpolate", &[x])? {
        return interpolate(&widen(x)?, size, how)?.to_dtype(half);
    }
    let (_, input) = image_sizes("interpolate", x)?;
    ensure!(!size.contains(&0), "interpolate: size must be at least 1 × 1, got {size:?}");
    if size == input {
        return Ok(x.clone()); // Every way of interpolating is then the identity.
    }
    let taps = [0, 1].map(|axis| how.taps(input[axis], size[axis]));
    if on_cpu(&[x]) { apply1(Resample { taps, how }, x) } else { portable(x, &taps) }
}

/// The weights along height and width, and where they are from.
#[derive(Clone)]
struct Resample {
    taps: [Taps; 2],
    how: Interpolation,
}

impl Kernel<1> for Resample {
    const NAME: &'static str = "interpolate";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let &[b, c, _, _] = x.dims else { unreachable!("checked by interpolate") };
        let [down, right] = &self.taps;
        Ok((resample(&x.data, b * c, [down, right]), (b, c, down.outputs(), right.outputs()).into()))
    }

    /// The gradient of a linear map is its transpose: interpolation with the taps the other way round.
    fn backward(&self, [_]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let taps = self.taps.each_ref().map(Taps::transposed);
        Ok([Some(detached1(Self { taps, ..*self }, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let [down, right] = &self.taps;
        vec![Operation::Interpolate { size: [down.outputs(), right.outputs()], how: self.how }]
    }
}

/// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, [down, right]: &[Taps; 2]) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = along_width(&x.reshape((b * c * h, w))?, right)?; // [B · C · H, W']
    let x = x.reshape((b * c, h, right.outputs()))?.transpose(1, 2)?.contiguous()?;
    let y = along_width(&x.reshape((b * c * right.outputs(), h))?, down)?; // [B · C · W', H']
    y.reshape((b, c, right.outputs(), down.outputs()))?.transpose(2, 3)?.contiguous()
}

/// `[rows, W]` → `[rows, W']`: pixels picked where each output is one of them, else a product with all weights.
fn along_width(x: &Tensor, taps: &Taps) -> Result<Tensor> {
    if let Some(picked) = taps.picks() {
        return x.index_select(&Tensor::from_iter(picked.map(|i| i as u32), x.device())?, 1);
    }
    x.matmul(
        &Tensor::from_vec(taps.dense(), (taps.outputs(), taps.inputs()), &Device::Cpu)?
            .to_device(x.device())?
            .to_dtype(x.dtype())?
            .t()?,
    )
}

#[cfg(test)]
mod tests;
