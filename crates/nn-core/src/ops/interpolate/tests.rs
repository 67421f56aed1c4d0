//! Tests of interpolation; reference numbers are in `tests/golden_resample.rs` of the crate.

use candle_core::DType;

use super::*;
use crate::ops::oracle::{assert_same, assert_types, with_gradients};
use crate::testing::{assert_close, gradcheck, randn};

const ALL: [Interpolation; 8] = {
    use Interpolation::{Bicubic, Bilinear, Nearest, NearestExact};
    use Sampling::{Antialiased, Centers, Corners};
    [
        Nearest,
        NearestExact,
        Bilinear(Centers),
        Bilinear(Corners),
        Bilinear(Antialiased),
        Bicubic(Centers),
        Bicubic(Corners),
        Bicubic(Antialiased),
    ]
};

/// Shape of the input, size of the output: each axis growing, shrinking or staying, by whole factors and others.
const CASES: [([usize; 4], [usize; 2]); 12] = [
    ([2, 3, 4, 5], [8, 10]),
    ([1, 2, 5, 3], [7, 11]),
    ([1, 2, 9, 8], [4, 3]),
    ([1, 1, 6, 7], [6, 3]),
    ([1, 1, 6, 7], [9, 7]),
    ([2, 1, 3, 9], [7, 4]),
    ([2, 1, 9, 3], [2, 5]),
    ([1, 2, 1, 1], [3, 4]),
    ([1, 1, 5, 4], [1, 1]),
    ([0, 2, 3, 3], [6, 6]),
    ([3, 7, 50, 70], [100, 33]), // worth a thread
    ([1, 1, 150, 170], [17, 400]),
];

fn by(how: Interpolation, size: [usize; 2]) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |x| interpolate(&x[0], size, how)
}

#[test]
fn a_worked_example() -> Result<()> {
    let x = Tensor::new(&[[[[0f64, 4.0]]]], &Device::Cpu)?;
    let of = |how, width| interpolate(&x, [1, width], how)?.flatten_all()?.to_vec1::<f64>();
    assert_eq!(of(Interpolation::Nearest, 4)?, [0.0, 0.0, 4.0, 4.0]);
    assert_eq!(of(Interpolation::Bilinear(Sampling::Centers), 4)?, [0.0, 1.0, 3.0, 4.0]);
    assert_eq!(of(Interpolation::Bilinear(Sampling::Corners), 5)?, [0.0, 1.0, 2.0, 3.0, 4.0]);
    // The second of four pixels is at ¼: a share of 29 / 128 for the right one, and the third is its mirror image.
    let cubic = of(Interpolation::Bicubic(Sampling::Centers), 4)?;
    assert!((cubic[1] + cubic[2] - 4.0).abs() < 1e-15 && cubic[1] < 1.0, "{cubic:?}");
    // Half the size: the mean, weighted by a tent that reaches beyond the pixels there are.
    assert_eq!(of(Interpolation::Bilinear(Sampling::Antialiased), 1)?, [2.0]);
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for (shape, size) in CASES {
        for how in ALL {
            let x = randn(1, &shape)?;
            let taps = [0, 1].map(|axis| how.taps(shape[2 + axis], size[axis]));
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let x = x.to_dtype(dtype)?;
                if shape[0] == 0 {
                    assert_eq!(interpolate(&x, size, how)?.dims(), [0, shape[1], size[0], size[1]]);
                    continue;
                }
                assert_same(by(how, size), |x| portable(&x[0], &taps), &[x], tolerance)
                    .map_err(|e| e.context(format!("{shape:?} to {size:?} by {how:?}")))?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives() -> Result<()> {
    for how in ALL {
        for (shape, size) in [([1, 2, 3, 4], [5, 6]), ([1, 1, 5, 4], [2, 3]), ([2, 1, 3, 5], [6, 2])] {
            gradcheck(by(how, size), &[randn(2, &shape)?])?;
        }
        let view = |x: &[Tensor]| interpolate(&x[0].transpose(1, 3)?.narrow(2, 1, 3)?, [4, 5], how);
        gradcheck(view, &[randn(3, (1, 3, 4, 2))?])?;
    }
    Ok(())
}

#[test]
fn constants_stay_constant_and_the_same_size_is_the_identity() -> Result<()> {
    for how in ALL {
        for (shape, size) in CASES.into_iter().filter(|(shape, _)| shape[0] > 0) {
            let y = interpolate(&Tensor::full(3f64, &shape, &Device::Cpu)?, size, how)?;
            assert_close(&y, &Tensor::full(3f64, y.dims(), &Device::Cpu)?, 1e-14, 0.0)?;
        }
        let x = randn(4, (2, 3, 5, 6))?;
        assert_close(&interpolate(&x, [5, 6], how)?, &x, 0.0, 0.0)?;
        let taps = [how.taps(5, 5), how.taps(6, 6)];
        assert_close(&portable(&x, &taps)?, &x, 1e-15, 0.0)?;
    }
    Ok(())
}

/// What an output does not take does not reach it, infinities and all.
#[test]
fn infinity_stays_where_it_is() -> Result<()> {
    let x = Tensor::new(&[[[[f32::INFINITY, 1.0, 2.0, 3.0]]]], &Device::Cpu)?;
    for how in ALL {
        let y = interpolate(&x, [1, 8], how)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(y[6..].iter().all(|y| y.is_finite()), "{how:?}: {y:?}");
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (size, how) in [
        ([120, 150], Interpolation::Bilinear(Sampling::Centers)),
        ([30, 40], Interpolation::Bicubic(Sampling::Antialiased)),
    ] {
        let x = [randn(5, (2, 7, 61, 67))?.to_dtype(DType::F32)?];
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| with_gradients(by(how, size), &x))
        };
        let ((y, dx), (z, dz)) = (with(1)?, with(3)?);
        let [Some(dx), Some(dz)] = [&dx[0], &dz[0]] else { panic!("no gradient") };
        assert_close(&y, &z, 0.0, 0.0)?;
        assert_close(dx, dz, 0.0, 0.0)?;
    }
    Ok(())
}

#[test]
fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
    for how in ALL {
        assert_types("interpolate", by(how, [7, 3]), &[randn(6, (1, 2, 4, 5))?])?;
    }
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    for (shape, size, rule) in [
        (vec![2, 5, 5], [1, 1], "interpolate: x must be [B, C, H, W], got [2, 5, 5]"),
        (vec![1, 2, 0, 5], [1, 1], "interpolate: x must have channels, height and width, got [1, 2, 0, 5]"),
        (vec![1, 2, 3, 5], [4, 0], "interpolate: size must be at least 1 × 1, got [4, 0]"),
    ] {
        let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        let error = interpolate(&x, size, Interpolation::Nearest).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    Ok(())
}
