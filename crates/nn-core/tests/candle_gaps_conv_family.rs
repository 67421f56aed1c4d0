//! What stock Candle 0.11.1 gets wrong about the kinds of convolution, beside what replaces it.

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{
    Convolution, Padding, TransposedConvolution, conv_transpose1d, conv_transpose2d, conv1d, conv2d,
};
use nn_core::testing::{assert_close, gradcheck, randn};

const MENDED: &str = "stock Candle can do it now: drop this gap";

#[test]
fn a_transposed_convolution_of_sequences_has_a_gradient() -> Result<()> {
    let (x, w) = (Var::from_tensor(&randn(1, (1, 2, 4))?)?, randn(2, (2, 3, 3))?);
    let stock = x.conv_transpose1d(&w, 0, 0, 2, 1, 1)?.sum_all()?.backward();
    assert!(stock.is_err(), "{MENDED}");
    let p = TransposedConvolution { stride: [2], ..TransposedConvolution::default() };
    gradcheck(|v| conv_transpose1d(&v[0], &v[1], None, p), &[x.as_detached_tensor(), w])
}

/// Stock Candle takes the second axis of the weights for all output channels, whatever the groups.
#[test]
fn a_transposed_convolution_has_groups() -> Result<()> {
    let (x, w) = (randn(1, (1, 4, 3, 3))?, randn(2, (4, 2, 2, 2))?);
    assert_eq!(x.conv_transpose2d(&w, 0, 0, 1, 1)?.dim(1)?, 2, "{MENDED}");
    let p = TransposedConvolution { groups: 2, ..TransposedConvolution::default() };
    let y = conv_transpose2d(&x, &w, None, p)?;
    for group in 0..2 {
        let (x, w) = (x.narrow(1, 2 * group, 2)?, w.narrow(0, 2 * group, 2)?);
        let alone = x.contiguous()?.conv_transpose2d(&w.contiguous()?, 0, 0, 1, 1)?;
        assert_close(&y.narrow(1, 2 * group, 2)?, &alone, 1e-12, 1e-12)?;
    }
    gradcheck(|v| conv_transpose2d(&v[0], &v[1], None, p), &[x, w])
}

/// Height and width have options of their own; stock Candle takes one number for both.
#[test]
fn a_transposed_convolution_is_rectangular() -> Result<()> {
    let (x, w) = (randn(1, (1, 1, 3, 4))?, randn(2, (1, 1, 2, 3))?);
    let p = TransposedConvolution {
        stride: [1, 2],
        padding: [0, 1],
        output_padding: [0, 1],
        ..TransposedConvolution::default()
    };
    assert_eq!(conv_transpose2d(&x, &w, None, p)?.dims(), [1, 1, 4, 8]);
    gradcheck(|v| conv_transpose2d(&v[0], &v[1], None, p), &[x, w])
}

/// Stock Candle takes one number for both ends of an axis: TensorFlow's `SAME` with a stride and causal convolutions
/// need two.
#[test]
fn padding_may_be_uneven() -> Result<()> {
    let (x, w) = (randn(1, (1, 1, 6, 6))?, randn(2, (1, 1, 3, 3))?);
    let p = Convolution {
        stride: [2, 2],
        padding: Padding::Asymmetric([[0, 1], [0, 1]]),
        ..Convolution::default()
    };
    let by_hand = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?.conv2d(&w, 0, 2, 1, 1)?;
    assert_close(&conv2d(&x, &w, None, p)?, &by_hand, 1e-12, 1e-12)?;
    let same = Convolution { padding: Padding::Same, ..p };
    assert_close(&conv2d(&x, &w, None, same)?, &by_hand, 1e-12, 1e-12)?;
    let causal = Convolution { padding: Padding::Asymmetric([[2, 0]]), ..Convolution::default() };
    gradcheck(|v| conv1d(&v[0], &v[1], None, causal), &[randn(1, (1, 1, 5))?, randn(2, (1, 1, 3))?])
}

/// A depthwise convolution is cut into one convolution a channel, whose results are joined: the time of a step grows
/// with the channels where the work does not.
#[test]
fn a_depthwise_convolution_is_one_pass() -> Result<()> {
    let seconds = |channels: usize, f: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| -> Result<f64> {
        let x = Var::zeros((1, channels, 4, 4), DType::F32, &Device::Cpu)?;
        let w = Var::zeros((channels, 1, 3, 3), DType::F32, &Device::Cpu)?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let began = std::time::Instant::now();
            f(&x, &w)?.sum_all()?.backward()?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let channels = 512;
    let stock = seconds(channels, &|x, w| x.conv2d(w, 1, 1, 1, channels))?;
    let ours = seconds(channels, &|x, w| {
        let padding = Padding::Symmetric([1, 1]);
        conv2d(x, w, None, Convolution { padding, groups: channels, ..Convolution::default() })
    })?;
    // Measured: some fifty times; far enough from 4 for a busy machine.
    assert!(4.0 * ours < stock, "stock Candle: {stock} s, ours: {ours} s; drop this gap?");
    Ok(())
}
