//! Pooling, and images of another size.

use candle_core::{Device, Result, Tensor};
use nn_core::graph::Taps;
use nn_core::ops::{Divisor, Interpolation, Sampling};

use crate::convolution::windows;
use crate::graph::{Builder, Call, int, ints, text};

pub(crate) fn max(builder: &mut Builder, call: &Call<'_>, taps: &Taps) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    let mut attributes = vec![ints("dilations", &taps.dilation)];
    attributes.extend(windows(taps));
    Ok(builder.node(call, "MaxPool", &[&x], attributes))
}

pub(crate) fn average(
    builder: &mut Builder,
    call: &Call<'_>,
    taps: &Taps,
    divisor: Divisor,
) -> Result<String> {
    call.check_same()?;
    let counted = match divisor {
        Divisor::Window => 1,
        Divisor::Inside => 0,
        Divisor::Fixed(_) => return Err(call.refuse("a divisor of its own")),
    };
    let x = builder.value(call, 0)?;
    let mut attributes = vec![int("count_include_pad", counted)];
    attributes.extend(windows(taps));
    Ok(builder.node(call, "AveragePool", &[&x], attributes))
}

/// Means over bins: of all pixels, of windows side by side, or by two products where bins overlap.
pub(crate) fn bins(builder: &mut Builder, call: &Call<'_>, bins: [usize; 2]) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    if bins == [1, 1] {
        return Ok(builder.node(call, "GlobalAveragePool", &[&x], Vec::new()));
    }
    let &[_, _, height, width] = call.shape()? else { return Err(call.refuse("another rank")) };
    let size = [height, width];
    if bins == size {
        return Ok(builder.node(call, "Identity", &[&x], Vec::new()));
    }
    if (0..2).all(|axis| size[axis].is_multiple_of(bins[axis])) {
        let kernel = [height / bins[0], width / bins[1]];
        let attributes = vec![ints("kernel_shape", &kernel), ints("strides", &kernel)];
        return Ok(builder.node(call, "AveragePool", &[&x], attributes));
    }
    let [down, right] = [means(height, bins[0])?, means(width, bins[1])?.t()?];
    let (down, right) = (builder.constant(call, "rows", &down)?, builder.constant(call, "columns", &right)?);
    let y = builder.node(call, "MatMul", &[&x, &right], Vec::new());
    Ok(builder.node(call, "MatMul", &[&down, &y], Vec::new()))
}

/// `[bins, pixels]`: what each bin takes of each pixel.
fn means(pixels: usize, bins: usize) -> Result<Tensor> {
    let mut shares = vec![0f32; bins * pixels];
    for (i, shares) in shares.chunks_exact_mut(pixels).enumerate() {
        let bin = &mut shares[i * pixels / bins..((i + 1) * pixels).div_ceil(bins)];
        bin.fill(1.0 / bin.len() as f32);
    }
    Tensor::from_vec(shares, (bins, pixels), &Device::Cpu)
}

pub(crate) fn interpolate(
    builder: &mut Builder,
    call: &Call<'_>,
    size: [usize; 2],
    how: Interpolation,
) -> Result<String> {
    call.check_same()?;
    let (mode, places) = match how {
        Interpolation::Bilinear(Sampling::Centers) => ("linear", "half_pixel"),
        Interpolation::Bilinear(Sampling::Corners) => ("linear", "align_corners"),
        _ => return Err(call.refuse("weights other than those of two pixels")),
    };
    let x = builder.value(call, 0)?;
    let size = builder.integers(call, "size", &size.map(|n| n as i64));
    let attributes =
        vec![text("mode", mode), text("coordinate_transformation_mode", places), ints("axes", &[2, 3])];
    Ok(builder.node(call, "Resize", &[&x, "", "", &size], attributes))
}
