use candle_core::{DType, Device};

use super::super::conv2d::{Convolution, conv2d};
use super::super::oracle::{assert_same, assert_types, with_gradients};
use super::super::padding::Padding;
use super::*;
use crate::testing::{assert_close, gradcheck, randn};

const PLAIN: TransposedConvolution = TransposedConvolution {
    stride: [1, 1],
    padding: [0, 0],
    output_padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// Input, weight, options.
const CASES: &[([usize; 4], [usize; 4], TransposedConvolution)] = &[
    ([2, 3, 4, 5], [3, 2, 3, 3], PLAIN),
    ([1, 1, 1, 1], [1, 1, 1, 1], PLAIN),
    ([2, 3, 4, 3], [3, 5, 1, 1], PLAIN),
    ([2, 3, 4, 3], [3, 5, 1, 1], TransposedConvolution { dilation: [2, 3], output_padding: [1, 2], ..PLAIN }),
    ([1, 2, 4, 3], [2, 3, 4, 4], TransposedConvolution { stride: [2, 2], padding: [1, 1], ..PLAIN }),
    (
        [1, 2, 3, 4],
        [2, 3, 3, 2],
        TransposedConvolution { stride: [2, 3], padding: [1, 0], output_padding: [1, 2], ..PLAIN },
    ),
    (
        [2, 4, 3, 3],
        [4, 3, 3, 3],
        TransposedConvolution { groups: 2, stride: [2, 1], padding: [2, 2], ..PLAIN },
    ),
    (
        [2, 3, 4, 4],
        [3, 2, 3, 3],
        TransposedConvolution { groups: 3, stride: [2, 2], padding: [1, 1], ..PLAIN },
    ),
    ([2, 3, 5, 4], [3, 1, 3, 3], TransposedConvolution { groups: 3, padding: [1, 1], ..PLAIN }),
    (
        [1, 2, 4, 3],
        [2, 2, 2, 3],
        TransposedConvolution { dilation: [3, 2], padding: [1, 3], output_padding: [2, 1], ..PLAIN },
    ),
    ([1, 2, 3, 2], [2, 1, 1, 2], TransposedConvolution { stride: [3, 4], ..PLAIN }), // pixels that nothing reaches
    ([1, 1, 2, 2], [1, 2, 8, 8], TransposedConvolution { stride: [4, 4], padding: [2, 2], ..PLAIN }),
];

fn by_hand(v: &[Tensor], p: TransposedConvolution) -> Result<Tensor> {
    let (x, w) = (v[0].dims(), v[1].dims());
    let plan = transposed("test", [x[0], x[1], w[1]], [[x[2], x[3]], [w[2], w[3]]], p)?;
    portable(plan, &v[0], &v[1], v.get(2))
}

fn inputs(x: &[usize], w: &[usize], p: TransposedConvolution) -> Result<[Tensor; 3]> {
    Ok([randn(1, x)?, randn(2, w)?, randn(3, w[1] * p.groups)?])
}

#[test]
fn a_worked_example() -> Result<()> {
    let x = Tensor::new(&[[[[1f32, 2.0]]]], &Device::Cpu)?;
    let w = Tensor::new(&[[[[1f32, 10.0, 100.0]]]], &Device::Cpu)?;
    let b = Tensor::new(&[0.5f32], &Device::Cpu)?;
    let p = TransposedConvolution { stride: [1, 2], output_padding: [0, 1], ..PLAIN };
    let y = conv_transpose2d(&x, &w, Some(&b), p)?;
    assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 10.5, 102.5, 20.5, 200.5, 0.5]);
    Ok(())
}

#[test]
fn kernel_equals_portable_and_gradients_check() -> Result<()> {
    for &(x, w, p) in CASES {
        let inputs = inputs(&x, &w, p)?;
        for inputs in [&inputs[..], &inputs[..2]] {
            assert_same(|v| conv_transpose2d(&v[0], &v[1], v.get(2), p), |v| by_hand(v, p), inputs, 1e-11)?;
        }
        gradcheck(|v| conv_transpose2d(&v[0], &v[1], v.get(2), p), &inputs)?;
    }
    Ok(())
}

#[test]
fn single_precision_equals_double() -> Result<()> {
    let large = TransposedConvolution { stride: [2, 2], padding: [1, 1], output_padding: [1, 1], ..PLAIN };
    let more = [([2, 16, 12, 13], [16, 7, 3, 3], large), ([2, 6, 17, 15], [6, 8, 3, 3], PLAIN)];
    for &(x, w, p) in CASES.iter().chain(&more) {
        let double = inputs(&x, &w, p)?;
        let single =
            double.each_ref().map(|t| t.to_dtype(DType::F32)).into_iter().collect::<Result<Vec<_>>>()?;
        let f = |v: &[Tensor]| conv_transpose2d(&v[0], &v[1], v.get(2), p);
        let ((y, dy), (z, dz)) = (with_gradients(f, &single)?, with_gradients(f, &double)?);
        assert_close(&y, &z, 1e-5, 1e-5)?;
        for pair in dy.iter().zip(&dz) {
            let (Some(a), Some(b)) = pair else { panic!("a gradient is missing") };
            assert_close(a, b, 1e-5, 1e-4)?;
        }
    }
    Ok(())
}

/// `⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩`, the definition of a transpose.
#[test]
fn it_is_the_transpose_of_the_convolution() -> Result<()> {
    for &(y, w, p) in CASES {
        let (y, w) = (randn(1, &y)?, randn(2, &w)?);
        let back = conv_transpose2d(&y, &w, None, p)?;
        let x = randn(3, back.dims())?;
        let how = Convolution {
            stride: p.stride,
            padding: Padding::Symmetric(p.padding),
            dilation: p.dilation,
            groups: p.groups,
        };
        let there = conv2d(&x, &w, None, how)?;
        if there.dims() != y.dims() {
            continue; // `output_padding` was that of another stride
        }
        let inner = |a: &Tensor, b: &Tensor| a.mul(b)?.sum_all()?.to_scalar::<f64>();
        let (a, b) = (inner(&there, &y)?, inner(&x, &back)?);
        assert!((a - b).abs() < 1e-11 * a.abs().max(1.0), "{a} is not {b}");
    }
    Ok(())
}

#[test]
fn views_are_read_as_they_are() -> Result<()> {
    let p = TransposedConvolution { stride: [2, 1], ..PLAIN };
    gradcheck(
        |v| conv_transpose2d(&v[0].transpose(2, 3)?.narrow(1, 1, 2)?, &v[1].permute((1, 0, 3, 2))?, None, p),
        &[randn(1, (2, 3, 3, 4))?, randn(2, (3, 2, 2, 3))?],
    )
}

#[test]
fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
    let f = |v: &[Tensor]| conv_transpose2d(&v[0], &v[1], v.get(2), PLAIN);
    assert_types("conv_transpose2d", f, &inputs(&[2, 3, 4, 4], &[3, 2, 3, 3], PLAIN)?)
}

#[test]
fn no_images_give_no_images_and_no_gradient_of_the_weights() -> Result<()> {
    let f = |v: &[Tensor]| conv_transpose2d(&v[0], &v[1], v.get(2), PLAIN);
    let (y, gradients) = with_gradients(f, &inputs(&[0, 2, 3, 3], &[2, 1, 2, 2], PLAIN)?)?;
    assert_eq!(y.dims(), [0, 1, 4, 4]);
    for gradient in gradients[1..].iter().flatten() {
        assert_close(gradient, &gradient.zeros_like()?, 0.0, 0.0)?;
    }
    Ok(())
}

#[test]
fn inputs_that_are_not_trained_get_no_gradient() -> Result<()> {
    let (x, w) = (randn(1, (1, 2, 3, 3))?, candle_core::Var::from_tensor(&randn(2, (2, 1, 2, 2))?)?);
    let grads = conv_transpose2d(&x, &w, None, PLAIN)?.sum_all()?.backward()?;
    assert!(grads.get(&x).is_none() && grads.get(&w).is_some());
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, &Device::Cpu);
    let (x, w) = (&[1, 4, 5, 5][..], &[4, 2, 3, 3][..]);
    for (x, w, p, part) in [
        (&[4, 5, 5][..], w, PLAIN, "x must be [B, C, H, W]"),
        (&[1, 3, 5, 5], w, PLAIN, "[4, 2, 3, 3], got x [1, 3, 5, 5]"),
        (x, w, TransposedConvolution { groups: 3, ..PLAIN }, "with 3 groups"),
        (x, w, TransposedConvolution { groups: 0, ..PLAIN }, "groups must be at least 1"),
        (
            x,
            w,
            TransposedConvolution { stride: [1, 0], ..PLAIN },
            "stride must be at least 1 along the width",
        ),
        (
            x,
            w,
            TransposedConvolution { dilation: [0, 1], ..PLAIN },
            "dilation must be at least 1 along the height",
        ),
        (&[1, 4, 0, 5], w, PLAIN, "input must be at least 1 along the height"),
        (x, &[4, 2, 0, 3], PLAIN, "kernel must be at least 1"),
        (
            x,
            w,
            TransposedConvolution { output_padding: [0, 1], ..PLAIN },
            "output_padding must be less than stride 1",
        ),
        (x, w, TransposedConvolution { padding: [4, 0], ..PLAIN }, "must leave something of 7 pixels"),
        (x, w, TransposedConvolution { stride: [usize::MAX / 2; 2], ..PLAIN }, "too large"),
    ] {
        let error = conv_transpose2d(&zeros(x)?, &zeros(w)?, None, p).expect_err(part).to_string();
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let error =
        conv_transpose2d(&zeros(x)?, &zeros(w)?, Some(&zeros(&[4])?), PLAIN).expect_err("four biases");
    assert!(error.to_string().contains("b must be [2]"), "{error}");
    Ok(())
}
