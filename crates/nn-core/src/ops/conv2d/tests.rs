use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::testing::{assert_close, gradcheck, randn, square_gradient};

/// Input, weight, options: odd sizes and strides, padding, dilation, groups, batches of none, one and many.
fn cases() -> Vec<([usize; 4], [usize; 4], Convolution)> {
    let plain = Convolution::default();
    let padded = |h, w| Padding::Symmetric([h, w]);
    vec![
        ([2, 3, 5, 7], [4, 3, 3, 3], plain),
        ([1, 1, 1, 1], [1, 1, 1, 1], plain),
        ([3, 4, 6, 5], [2, 4, 1, 1], plain),
        ([2, 4, 6, 5], [2, 4, 1, 1], Convolution { stride: [2, 3], ..plain }),
        ([2, 4, 5, 4], [6, 2, 1, 1], Convolution { groups: 2, ..plain }),
        ([2, 3, 4, 5], [6, 3, 4, 5], plain), // the kernel covers the image
        ([0, 3, 5, 5], [2, 3, 3, 3], plain),
        ([9, 1, 8, 8], [3, 1, 5, 5], Convolution { padding: padded(2, 2), ..plain }),
        ([2, 2, 7, 9], [3, 2, 3, 2], Convolution { stride: [2, 3], padding: padded(1, 0), ..plain }),
        ([1, 2, 9, 8], [3, 2, 2, 3], Convolution { dilation: [3, 2], padding: padded(1, 2), ..plain }),
        ([2, 4, 5, 5], [4, 1, 3, 3], Convolution { groups: 4, padding: padded(1, 1), ..plain }),
        (
            [2, 4, 6, 6],
            [8, 2, 3, 3],
            Convolution { groups: 2, stride: [2, 2], padding: padded(1, 1), ..plain },
        ),
        // A kernel that sees the image through three rows of padding only at its edge, and strides past the end.
        ([1, 2, 4, 3], [2, 2, 3, 3], Convolution { stride: [4, 4], padding: padded(3, 3), ..plain }),
        ([2, 3, 7, 6], [2, 3, 3, 3], Convolution { stride: [2, 2], padding: Padding::Same, ..plain }),
        ([1, 2, 6, 6], [2, 2, 2, 4], Convolution { padding: Padding::Same, ..plain }),
        ([2, 2, 5, 6], [3, 2, 3, 3], Convolution { padding: Padding::Asymmetric([[0, 1], [2, 0]]), ..plain }),
        (
            [1, 2, 6, 5],
            [2, 1, 3, 2],
            Convolution {
                stride: [2, 1],
                padding: Padding::Asymmetric([[3, 0], [0, 4]]),
                dilation: [1, 2],
                groups: 2,
            },
        ),
        // Different remainders along the axes: stock Candle's gradient fails here.
        ([1, 1, 6, 7], [1, 1, 3, 3], Convolution { stride: [2, 2], ..plain }),
    ]
}

fn var(seed: u64, dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&randn(seed, dims)?)
}

#[test]
fn a_worked_example() -> Result<()> {
    let x = Tensor::arange(0f32, 9.0, &Device::Cpu)?.reshape((1, 1, 3, 3))?;
    let w = Tensor::new(&[[[[1f32, 0.0], [0.0, -1.0]]]], &Device::Cpu)?;
    let b = Tensor::new(&[0.5f32], &Device::Cpu)?;
    let y = conv2d(&x, &w, Some(&b), Convolution::default())?;
    assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-3.5; 4]); // x[i, j] − x[i + 1, j + 1] = −4
    Ok(())
}

#[test]
fn no_channels_give_the_bias() -> Result<()> {
    let b = Tensor::new(&[0.5f32, -1.0], &Device::Cpu)?;
    for (batch, kernel) in [(1, 3), (3, 3), (9, 3), (3, 1)] {
        let zeros = |dims: [usize; 4]| Tensor::zeros(&dims, DType::F32, &Device::Cpu);
        let (x, w) = (zeros([batch, 0, 3, 3])?, zeros([2, 0, kernel, kernel])?);
        let y = conv2d(&x, &w, Some(&b), Convolution::default())?;
        let truth = b.reshape((1, 2, 1, 1))?.broadcast_as(y.shape())?;
        assert_close(&y, &truth, 0.0, 0.0)?;
    }
    Ok(())
}

/// 1×1 kernels: several small images side by side, strided ones, a few rows of products and many; planes too large for that.
fn pointwise_cases() -> Vec<([usize; 4], [usize; 4], Convolution)> {
    let plain = Convolution::default();
    vec![
        ([6, 30, 8, 12], [26, 30, 1, 1], plain),
        ([7, 5, 7, 7], [130, 5, 1, 1], plain),
        ([2, 400, 3, 3], [4, 400, 1, 1], plain),
        ([4, 20, 23, 24], [25, 20, 1, 1], Convolution { stride: [2, 1], ..plain }),
        ([3, 9, 5, 6], [10, 9, 1, 1], Convolution { stride: [3, 4], ..plain }),
        ([2, 24, 32, 32], [48, 24, 1, 1], plain),
        ([1, 40, 24, 48], [120, 40, 1, 1], plain),
        ([1, 40, 24, 48], [23, 40, 1, 1], plain),
    ]
}

#[test]
fn kernel_equals_portable_in_values_and_gradients() -> Result<()> {
    for (x, w, p) in cases().into_iter().chain(pointwise_cases()) {
        let vars = [var(1, &x)?, var(2, &w)?, var(3, &[w[0]])?];
        let [x, w, b] = &vars;
        for (b, vars) in [(Some(b.as_tensor()), &[x, w, b][..]), (None, &[x, w])] {
            let plan = Plan::new("conv2d", x.dims(), w.dims(), p)?;
            let (ours, oracle) = (conv2d(x, w, b, p)?, plan.portable(x, w, b)?);
            assert_close(&ours, &oracle, 1e-12, 1e-12)?;
            for var in vars {
                let oracle = square_gradient(&oracle, var)?;
                assert_close(&square_gradient(&ours, var)?, &oracle, 1e-11, 1e-11)?;
            }
        }
    }
    Ok(())
}

/// The kernels for `f32` alone against those that also know `f64`, over every number of rows a tile can have.
#[test]
fn single_precision_equals_double() -> Result<()> {
    let padded = |h, w| Convolution { padding: Padding::Symmetric([h, w]), ..Convolution::default() };
    let mut cases = cases();
    cases.extend(pointwise_cases());
    for c_out in 1..8 {
        cases.push(([2, 3, 9, 8], [c_out, 3, 3, 3], padded(1, 1)));
    }
    cases.push(([3, 2, 40, 37], [13, 2, 5, 4], Convolution { dilation: [2, 3], ..padded(3, 1) }));
    cases.push(([2, 3, 30, 31], [5, 3, 7, 7], Convolution { stride: [2, 2], ..padded(3, 3) }));
    cases.push((
        [1, 3, 37, 35],
        [8, 3, 5, 3],
        Convolution { stride: [3, 2], dilation: [2, 3], ..padded(4, 1) },
    ));
    cases.push(([2, 8, 15, 14], [12, 8, 1, 1], Convolution { stride: [2, 2], ..padded(0, 0) }));
    cases.push(([1, 70, 20, 20], [20, 70, 3, 3], padded(1, 1)));
    cases.push(([2, 6, 12, 30], [4, 3, 1, 7], Convolution { groups: 2, ..padded(0, 3) }));
    cases.into_iter().try_for_each(|case| single_equals_double(case, 1e-6))
}

/// Transforms round more often than sums do: the error has a deviation of 1 to 2 in a million of a typical output, so the
/// largest of many is below 10.
#[test]
fn transformed_filters_equal_double_precision() -> Result<()> {
    let padded = |h, w| Convolution { padding: Padding::Symmetric([h, w]), ..Convolution::default() };
    let uneven = Convolution { padding: Padding::Asymmetric([[0, 1], [2, 0]]), ..Convolution::default() };
    let cases = [
        ([1, 70, 20, 20], [64, 70, 3, 3], padded(1, 1)),
        ([3, 24, 9, 7], [50, 24, 3, 3], padded(1, 1)),
        ([2, 40, 13, 8], [33, 40, 3, 3], uneven),
        ([2, 32, 11, 12], [24, 32, 3, 3], padded(0, 2)),
    ];
    cases.into_iter().try_for_each(|case| single_equals_double(case, 1e-5))
}

/// Output and gradients; `tolerance` is that of an output beside its typical size.
fn single_equals_double((x, w, p): ([usize; 4], [usize; 4], Convolution), tolerance: f64) -> Result<()> {
    let double = [var(1, &x)?, var(2, &w)?, var(3, &[w[0]])?];
    let single = double.each_ref().map(|v| v.to_dtype(DType::F32).and_then(|t| Var::from_tensor(&t)));
    let single = single.map(|var| var.expect("a float tensor"));
    let run = |[x, w, b]: &[Var; 3]| conv2d(x, w, Some(b), p);
    let (ours, oracle) = (run(&single)?, run(&double)?);
    let scale = (w[1] * w[2] * w[3]) as f64;
    assert_close(&ours, &oracle, 1e-5, tolerance * scale.sqrt())?;
    for (single, double) in single.iter().zip(&double) {
        let oracle = square_gradient(&oracle, double)?;
        let largest =
            if oracle.elem_count() == 0 { 0.0 } else { oracle.abs()?.flatten_all()?.max(0)?.to_scalar()? };
        assert_close(&square_gradient(&ours, single)?, &oracle, 1e-5, 2.0 * tolerance * largest)?;
    }
    Ok(())
}

#[test]
fn gradients_check() -> Result<()> {
    for (x, w, p) in cases() {
        let inputs = [randn(1, &x)?, randn(2, &w)?, randn(3, w[0])?];
        gradcheck(|v| conv2d(&v[0], &v[1], Some(&v[2]), p), &inputs)?;
    }
    Ok(())
}

#[test]
fn views_are_read_as_they_are() -> Result<()> {
    let (x, w) = (randn(1, (3, 2, 6, 4))?, randn(2, (3, 3, 2, 3))?);
    let p = Convolution { stride: [2, 1], padding: Padding::Symmetric([1, 1]), ..Convolution::default() };
    let view = |v: &[Tensor]| -> Result<(Tensor, Tensor)> {
        Ok((v[0].transpose(0, 1)?.narrow(2, 1, 4)?, v[1].permute((1, 0, 3, 2))?.narrow(0, 1, 2)?))
    };
    let (x1, w1) = view(&[x.clone(), w.clone()])?;
    let whole = conv2d(&x1.contiguous()?, &w1.contiguous()?, None, p)?;
    assert_close(&conv2d(&x1, &w1, None, p)?, &whole, 0.0, 0.0)?;
    gradcheck(
        |v| {
            let (x, w) = view(v)?;
            conv2d(&x, &w, None, p)
        },
        &[x, w],
    )
}

/// Large enough for several bands, several shares of the weight gradient and several threads.
#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (x, w) in [([5, 3, 40, 40], [8, 3, 5, 5]), ([1, 64, 14, 14], [128, 64, 3, 3])] {
        let run = |threads| -> Result<Vec<u32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let (x, w) = (var(1, &x)?, var(2, &w)?);
                let (x, w) = (x.to_dtype(DType::F32)?, w.to_dtype(DType::F32)?);
                let (x, w) = (Var::from_tensor(&x)?, Var::from_tensor(&w)?);
                let y = conv2d(&x, &w, None, Convolution::default())?;
                let grads = y.sqr()?.sum_all()?.backward()?;
                let mut bits = Vec::new();
                for t in [Some(&y), grads.get(&x), grads.get(&w)].into_iter().flatten() {
                    bits.extend(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits));
                }
                Ok(bits)
            })
        };
        let one = run(1)?;
        for threads in [2, 3] {
            assert!(one == run(threads)?, "{threads} threads differ from one");
        }
    }
    Ok(())
}

#[test]
fn an_input_that_is_not_trained_costs_no_gradient() -> Result<()> {
    let (x, w) = (randn(1, (1, 1, 4, 4))?, var(2, &[1, 1, 3, 3])?);
    let grads = conv2d(&x, &w, None, Convolution::default())?.sum_all()?.backward()?;
    assert!(grads.get(&x).is_none() && grads.get(&w).is_some());
    Ok(())
}

#[test]
fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
    let inputs = [randn(1, (2, 3, 6, 5))?, randn(2, (4, 3, 3, 3))?, randn(3, 4)?];
    crate::ops::oracle::assert_types(
        "conv2d",
        |v| conv2d(&v[0], &v[1], Some(&v[2]), Convolution::default()),
        &inputs,
    )
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let plain = Convolution::default();
    let huge = Padding::Symmetric([usize::MAX / 2; 2]);
    for (x, w, p, part) in [
        (&[3, 5, 5][..], &[2, 3, 3, 3][..], plain, "x must be [B, C, H, W]"),
        (&[1, 4, 5, 5], &[2, 3, 3, 3], plain, "[2, 3, 3, 3], got x [1, 4, 5, 5]"),
        (&[1, 3, 5, 5], &[2, 3, 3, 3], Convolution { groups: 2, ..plain }, "with 2 groups"),
        (&[1, 3, 5, 5], &[2, 3, 3, 3], Convolution { groups: 0, ..plain }, "groups must be at least 1"),
        (
            &[1, 3, 5, 5],
            &[2, 3, 3, 3],
            Convolution { stride: [1, 0], ..plain },
            "stride must be at least 1 along the width",
        ),
        (
            &[1, 3, 5, 5],
            &[2, 3, 3, 3],
            Convolution { dilation: [0, 1], ..plain },
            "dilation must be at least 1",
        ),
        (&[1, 3, 5, 5], &[2, 3, 6, 3], plain, "the window must fit into the padded input"),
        (&[1, 3, 5, 5], &[2, 3, 0, 3], plain, "the kernel must have taps"),
        (&[1, 3, 5, 5], &[2, 3, 3, 3], Convolution { padding: huge, ..plain }, "too large"),
    ] {
        let (x, w) =
            (Tensor::zeros(x, DType::F64, &Device::Cpu)?, Tensor::zeros(w, DType::F64, &Device::Cpu)?);
        let error = conv2d(&x, &w, None, p).expect_err(part).to_string();
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let (x, w) = (randn(1, (1, 1, 3, 3))?, randn(2, (2, 1, 3, 3))?);
    let error = conv2d(&x, &w, Some(&randn(3, 3)?), plain).expect_err("three biases").to_string();
    assert!(error.contains("b must be [2]"), "{error}");
    Ok(())
}
