//! What stock Candle 0.11.1 gets wrong about pooling, beside what replaces it.

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool1d, MaxPool2d, Rounding, adaptive_avg_pool2d,
    adaptive_max_pool2d, avg_pool2d, global_max_pool, max_pool1d, max_pool2d,
};
use nn_core::testing::{gradcheck, randn};

const FIXED: &str = "stock Candle does this right now: drop this gap";

/// The numbers from 1 on, as one image.
fn counting([height, width]: [usize; 2]) -> Result<Var> {
    let x: Vec<f64> = (1..=height * width).map(|i| i as f64).collect();
    Var::from_tensor(&Tensor::from_vec(x, (1, 1, height, width), &Device::Cpu)?)
}

/// The gradient of `Σ f(x)`.
fn gradient(x: &Var, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let dx = f(x)?.sum_all()?.backward()?.remove(x).expect("the input's gradient");
    dx.flatten_all()?.to_vec1()
}

fn values(y: &Tensor) -> Result<Vec<f64>> {
    y.flatten_all()?.to_vec1()
}

/// The gradient of a maximum comes back divided by the size of its window.
#[test]
fn the_whole_gradient_goes_to_the_maximum() -> Result<()> {
    let x = counting([2, 2])?;
    let stock = gradient(&x, |x| x.max_pool2d(2))?;
    assert_eq!(stock, [0.0, 0.0, 0.0, 0.25], "{FIXED}");
    assert_eq!(gradient(&x, |x| max_pool2d(x, MaxPool2d::new([2, 2])))?, [0.0, 0.0, 0.0, 1.0]);
    Ok(())
}

/// Four equal maxima get the whole gradient each, which makes it four times as large; black pixels tie in most windows.
#[test]
fn the_first_of_equal_maxima_takes_the_gradient() -> Result<()> {
    let x = Var::zeros((1, 1, 2, 2), DType::F64, &Device::Cpu)?;
    assert_eq!(gradient(&x, |x| x.max_pool2d(2))?, [1.0; 4], "{FIXED}");
    assert_eq!(gradient(&x, |x| max_pool2d(x, MaxPool2d::new([2, 2])))?, [1.0, 0.0, 0.0, 0.0]);
    Ok(())
}

/// Overlapping windows have no gradient: the first layers of AlexNet, GoogLeNet and ResNet cannot be trained.
#[test]
fn windows_may_overlap() -> Result<()> {
    let x = randn(1, (1, 2, 7, 7))?;
    let var = Var::from_tensor(&x)?;
    assert!(var.max_pool2d_with_stride(3, 2)?.sum_all()?.backward().is_err(), "{FIXED}");
    assert!(var.avg_pool2d_with_stride(3, 2)?.sum_all()?.backward().is_err(), "{FIXED}");
    gradcheck(
        |x| max_pool2d(&x[0], MaxPool2d { stride: [2, 2], ..MaxPool2d::new([3, 3]) }),
        std::slice::from_ref(&x),
    )?;
    gradcheck(|x| avg_pool2d(&x[0], AvgPool2d { stride: [2, 2], ..AvgPool2d::new([3, 3]) }), &[x])
}

/// On an odd size the gradient misses maxima in the first row or column of a window: it looks for them elsewhere.
#[test]
fn maxima_of_odd_images_keep_their_place() -> Result<()> {
    let x = Var::from_tensor(&counting([5, 5])?.neg()?)?;
    let maxima = [-1.0, -3.0, -11.0, -13.0];
    assert_eq!(values(&x.max_pool2d(2)?)?, maxima);
    let at = |pixels: &[f64]| -> Vec<f64> {
        (1..=25).map(|i| f64::from(u8::from(pixels.contains(&-f64::from(i))))).collect()
    };
    // Not even with the factor of the first gap put right.
    let stock: Vec<f64> = gradient(&x, |x| x.max_pool2d(2))?.into_iter().map(|dx| 4.0 * dx).collect();
    assert_eq!(stock, at(&[-1.0]), "{FIXED}");
    assert_eq!(gradient(&x, |x| max_pool2d(x, MaxPool2d::new([2, 2])))?, at(&maxima));
    Ok(())
}

/// The last row and column of an odd image are in no window, yet their gradient is not zero.
#[test]
fn pixels_under_no_window_have_no_gradient() -> Result<()> {
    let x = counting([5, 5])?;
    let left_out = |dx: &[f64]| (0..5).map(|i| dx[5 * i + 4] + dx[20 + i]).collect::<Vec<_>>();
    assert_eq!(left_out(&gradient(&x, |x| x.avg_pool2d(2))?), [0.5; 5], "{FIXED}");
    let ours = gradient(&x, |x| avg_pool2d(x, AvgPool2d::new([2, 2])))?;
    assert_eq!(left_out(&ours), [0.0; 5]);
    assert_eq!(ours.iter().sum::<f64>(), 4.0);
    Ok(())
}

/// Padding with zeros beforehand, the only padding there is, makes a maximum of negative numbers zero.
#[test]
fn padding_is_no_maximum() -> Result<()> {
    let x = counting([2, 2])?.neg()?;
    let stock = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2)?;
    assert_eq!(values(&stock)?, [0.0]);
    let y = max_pool2d(&x, MaxPool2d { stride: [2, 2], padding: [1, 1], ..MaxPool2d::new([3, 3]) })?;
    assert_eq!(values(&y)?, [-1.0]);
    Ok(())
}

/// What does not fill a window is dropped, always; GoogLeNet and SqueezeNet were trained with windows that cover it.
#[test]
fn windows_may_reach_beyond_the_end() -> Result<()> {
    let x = counting([3, 3])?;
    assert_eq!(values(&x.max_pool2d(2)?)?, [5.0]);
    let y = max_pool2d(&x, MaxPool2d { rounding: Rounding::Ceil, ..MaxPool2d::new([2, 2]) })?;
    assert_eq!(values(&y)?, [5.0, 6.0, 8.0, 9.0]);
    Ok(())
}

/// There is no adaptive pooling; a window of `⌊N / n⌋` pixels gives another number of bins, or misses pixels.
#[test]
fn any_size_goes_into_any_number_of_bins() -> Result<()> {
    let x = counting([1, 5])?;
    assert_eq!(values(&x.avg_pool2d((1, 5 / 3))?)?.len(), 5);
    let y = adaptive_avg_pool2d(&x, AdaptiveAvgPool2d { output: [1, 3] })?;
    assert_eq!(values(&y)?, [1.5, 3.0, 4.5]);
    let y = adaptive_max_pool2d(&x, AdaptiveMaxPool2d { output: [1, 3] })?;
    assert_eq!(values(&y)?, [2.0, 4.0, 5.0]);
    Ok(())
}

/// A maximum over an axis hands its whole gradient to each of several equal maxima.
#[test]
fn a_global_maximum_has_one_gradient() -> Result<()> {
    let x = Var::zeros((1, 1, 1, 4), DType::F64, &Device::Cpu)?;
    assert_eq!(gradient(&x, |x| x.flatten_from(2)?.max(2))?, [1.0; 4], "{FIXED}");
    assert_eq!(gradient(&x, global_max_pool)?, [1.0, 0.0, 0.0, 0.0]);
    Ok(())
}

/// Sequences are pooled as images of one row, and there the gradients are wrong as ever.
#[test]
fn sequences_are_pooled() -> Result<()> {
    let x = Var::from_tensor(&counting([1, 4])?.squeeze(2)?)?;
    assert!(x.max_pool2d((1, 2)).is_err(), "{FIXED}");
    let stock = gradient(&x, |x| x.unsqueeze(2)?.max_pool2d((1, 2)))?;
    assert_eq!(stock, [0.0, 0.5, 0.0, 0.5], "{FIXED}");
    assert_eq!(gradient(&x, |x| max_pool1d(x, MaxPool1d::new([2])))?, [0.0, 1.0, 0.0, 1.0]);
    Ok(())
}

/// A NaN is lost beside a larger number, and with it the sign that training went wrong.
#[test]
fn nan_is_no_number_to_lose() -> Result<()> {
    let x = Tensor::new(&[[[[f64::NAN, 1.0], [0.0, 2.0]], [[1.0, f64::NAN], [0.0, 2.0]]]], &Device::Cpu)?;
    assert!(!values(&x.max_pool2d(2)?)?.iter().all(|y| y.is_nan()), "{FIXED}");
    assert!(values(&max_pool2d(&x, MaxPool2d::new([2, 2]))?)?.iter().all(|y| y.is_nan()));
    Ok(())
}
