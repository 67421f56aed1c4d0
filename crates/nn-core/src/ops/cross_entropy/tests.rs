use candle_core::{DType, Device, Var};

use super::*;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{gradcheck, randn};

const REDUCTIONS: [Reduction; 4] = [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

const SHAPES: [&[usize]; 8] =
    [&[0, 3], &[1, 1], &[1, 4], &[5, 3], &[3, 1000], &[2, 3, 4], &[2, 5, 7, 100], &[2, 3, 0]];

/// Classes below `classes`, in an order without pattern.
fn labels(dims: &[usize], classes: usize) -> Result<Tensor> {
    let labels: Vec<u32> =
        (0..dims.iter().product()).map(|i: usize| (i * 7919 % 31 % classes) as u32).collect();
    Tensor::from_vec(labels, dims, &Device::Cpu)
}

/// Positive numbers, as weights are.
fn positive(seed: u64, dims: &[usize], dtype: DType) -> Result<Tensor> {
    randn(seed, dims)?.abs()?.to_dtype(dtype)
}

/// Every kind of options for logits of a type, smoothed or not, weighted or not.
fn options(weight: &Tensor) -> impl Iterator<Item = CrossEntropy<'_>> {
    REDUCTIONS.into_iter().flat_map(move |reduction| {
        [(None, 0.0), (Some(weight), 0.0), (None, 0.2), (Some(weight), 0.2)].map(
            |(weight, label_smoothing)| CrossEntropy {
                weight,
                label_smoothing,
                reduction,
                ..CrossEntropy::default()
            },
        )
    })
}

#[test]
fn worked_example() -> Result<()> {
    // Probabilities 1/8, 2/8, 5/8 twice; labels 2 and 0.
    let row = [1f64.ln(), 2f64.ln(), 5f64.ln()];
    let x = Var::new(&[row, row], &Device::Cpu)?;
    let onehot = Tensor::new(&[[0f64, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu)?;
    for targets in [Tensor::new(&[2u8, 0], &Device::Cpu)?, Tensor::new(&[2i64, 0], &Device::Cpu)?, onehot] {
        let y = cross_entropy(&x, &targets, Reduction::Mean)?;
        assert!((y.to_scalar::<f64>()? - 0.5 * (1.6f64.ln() + 8f64.ln())).abs() < 1e-15);
        let grads = y.backward()?;
        let dx = grads.get(&x).expect("x is a variable").flatten_all()?.to_vec1::<f64>()?;
        for (dx, truth) in dx.iter().zip([0.0625, 0.125, -0.1875, -0.4375, 0.125, 0.3125]) {
            assert!((dx - truth).abs() < 1e-15, "{dx} is not {truth}");
        }
    }
    Ok(())
}

#[test]
fn weights_ignored_labels_and_smoothing_by_hand() -> Result<()> {
    let third = 3f64.ln();
    let x = Tensor::zeros((3, 3), DType::F64, &Device::Cpu)?;
    let targets = Tensor::new(&[0u8, 2, 255], &Device::Cpu)?;
    let weight = Tensor::new(&[1.0, 4.0, 2.0], &Device::Cpu)?;
    let all = CrossEntropy { weight: Some(&weight), ignore_index: 255, ..Reduction::None.into() };
    let close = |options, truth: &[f64]| -> Result<()> {
        let y = cross_entropy(&x, &targets, options)?.flatten_all()?.to_vec1::<f64>()?;
        assert!(y.iter().zip(truth).all(|(y, truth)| (y - truth).abs() < 1e-14), "{y:?} is not {truth:?}");
        Ok(())
    };
    close(all, &[third, 2.0 * third, 0.0])?;
    close(CrossEntropy { reduction: Reduction::Mean, ..all }, &[third])?; // 3 ln 3 / (1 + 2)
    close(CrossEntropy { reduction: Reduction::BatchMean, ..all }, &[third])?; // 3 ln 3 / 3
    // Each class has 0.3/3 of its weight in every target: 0.7 + 0.7 and 1.4 + 0.7.
    close(CrossEntropy { label_smoothing: 0.3, ..all }, &[1.4 * third, 2.1 * third, 0.0])
}

#[test]
fn kernels_are_their_portable_twins() -> Result<()> {
    for shape in SHAPES {
        let x = (randn(1, shape)? * 3.0)?;
        let targets = labels(&places(shape), shape[1])?;
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
            let (x, weight) = (x.to_dtype(dtype)?, positive(2, &shape[1..2], dtype)?);
            for options in options(&weight) {
                if shape.contains(&0) && options.reduction == Reduction::Mean
                    || shape[0] == 0 && options.reduction == Reduction::BatchMean
                {
                    continue;
                }
                let ignoring = CrossEntropy { ignore_index: 1, ..options };
                if shape[1] > 1 {
                    let labels = Labels::read(NAME, &x, &targets, options.weight, 1)?;
                    let portable = |x: &[Tensor]| portable_of_labels(&x[0], &labels, ignoring);
                    assert_same(
                        |x| cross_entropy(&x[0], &targets, ignoring),
                        portable,
                        &[x.clone()],
                        tolerance,
                    )?;
                }
                assert_same(
                    |x| cross_entropy(&x[0], &x[1], options),
                    |x| portable_of_soft(&x[0], &x[1], options),
                    &[x.clone(), positive(3, shape, dtype)?],
                    tolerance,
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives_also_of_views() -> Result<()> {
    let weight = positive(7, &[4], DType::F64)?;
    for options in options(&weight) {
        let ignoring = CrossEntropy { ignore_index: 1, ..options };
        let rows = labels(&[3], 4)?;
        gradcheck(|x| cross_entropy(&x[0].t()?, &rows, ignoring), &[randn(3, (4, 3))?])?;
        let pixels = labels(&[3, 2, 5], 4)?.transpose(1, 2)?; // [3, 5, 2]
        let x = randn(5, (3, 2, 5, 4))?;
        gradcheck(|x| cross_entropy(&x[0].transpose(1, 3)?, &pixels, ignoring), &[x])?;
        let x = [randn(8, (4, 3))?, positive(9, &[3, 4], DType::F64)?];
        gradcheck(|x| cross_entropy(&x[0].t()?, &x[1], options), &x)?;
        let x = [randn(10, (2, 2, 4))?, positive(11, &[2, 4, 2], DType::F64)?];
        gradcheck(|x| cross_entropy(&x[0].transpose(1, 2)?, &x[1], options), &x)?;
    }
    Ok(())
}

#[test]
fn extreme_logits_and_nothing_that_counts() -> Result<()> {
    let x = Var::new(&[[1000f32, -1000.0], [-1000.0, 1000.0]], &Device::Cpu)?;
    let targets = Tensor::new(&[0u32, 0], &Device::Cpu)?;
    let y = cross_entropy(&x, &targets, Reduction::None)?;
    assert_eq!(y.to_vec1::<f32>()?, [0.0, 2000.0]);
    let grads = y.sum_all()?.backward()?;
    let dx = grads.get(&x).expect("x is a variable").to_vec2::<f32>()?;
    assert_eq!(dx, [[0.0, 0.0], [-1.0, 1.0]]);
    let ignored = CrossEntropy { ignore_index: 0, ..CrossEntropy::default() };
    assert!(cross_entropy(&x, &targets, ignored)?.to_scalar::<f32>()?.is_nan());
    let ignored = CrossEntropy { reduction: Reduction::Sum, ..ignored };
    assert_eq!(cross_entropy(&x, &targets, ignored)?.to_scalar::<f32>()?, 0.0);
    let (x, targets) = (x.narrow(0, 0, 0)?, targets.narrow(0, 0, 0)?);
    assert!(cross_entropy(&x, &targets, Reduction::Mean)?.to_scalar::<f32>()?.is_nan());
    assert_eq!(cross_entropy(&x, &targets, Reduction::Sum)?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn types() -> Result<()> {
    let weight = positive(1, &[7], DType::F32)?;
    let options = CrossEntropy { weight: Some(&weight), label_smoothing: 0.1, ..CrossEntropy::default() };
    let targets = labels(&[5], 7)?;
    assert_types(NAME, |x| cross_entropy(&x[0], &targets, Reduction::Mean), &[randn(2, (5, 7))?])?;
    let half = randn(2, (5, 7))?.to_dtype(DType::BF16)?;
    assert_eq!(cross_entropy(&half, &targets, options)?.dtype(), DType::BF16);
    let half = |x: &[Tensor]| cross_entropy(&x[0], &x[0].exp()?, Reduction::None);
    assert_eq!(half(&[randn(3, (5, 7))?.to_dtype(DType::F16)?])?.dtype(), DType::F16);
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let cpu = Device::Cpu;
    let f = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &cpu);
    let u = |dims: &[usize]| Tensor::zeros(dims, DType::U32, &cpu);
    let plain = CrossEntropy::default();
    let (three, doubles) = (f(&[3])?, Tensor::zeros(10, DType::F64, &cpu)?);
    let cases = [
        (f(&[2, 3])?, f(&[2])?, plain, "or labels [B, …], got shapes [2, 3] and [2]"),
        (f(&[2, 3])?, Tensor::zeros((2, 3), DType::F64, &cpu)?, plain, "of one type, got F32 and F64"),
        (f(&[2, 3])?, Tensor::zeros(2, DType::I32, &cpu)?, plain, "integers (u8, u32 or i64), got I32"),
        (u(&[2, 3])?, u(&[2])?, plain, "must be f16, bf16, f32 or f64, got U32"),
        (f(&[2, 3])?, u(&[3])?, plain, "got shapes [2, 3] and [3]"),
        (f(&[3])?, u(&[])?, plain, "got shapes [3] and []"),
        (f(&[2, 3, 4, 5])?, u(&[2, 5, 4])?, plain, "got shapes [2, 3, 4, 5] and [2, 5, 4]"),
        (f(&[2, 0])?, u(&[2])?, plain, "at least one class on axis 1, got shape [2, 0]"),
        (f(&[2, 0])?, f(&[2, 0])?, plain, "at least one class on axis 1, got shape [2, 0]"),
        (f(&[2, 10])?, Tensor::new(&[3u32, 10], &cpu)?, plain, "classes in 0..10, got 10 at [1]"),
        (f(&[2, 10])?, Tensor::new(&[-1i64, 3], &cpu)?, plain, "classes in 0..10, got -1 at [0]"),
        (
            f(&[1, 5, 2, 2])?,
            Tensor::new(&[[[0u8, 1], [255, 3]]], &cpu)?,
            plain,
            "classes in 0..5, got 255 at [0, 1, 0]",
        ),
        (f(&[2, 10])?, u(&[2])?, CrossEntropy { weight: Some(&three), ..plain }, "[10], got shape [3]"),
        (f(&[2, 10])?, u(&[2])?, CrossEntropy { weight: Some(&doubles), ..plain }, "got F32 and F64"),
        (f(&[2, 10])?, u(&[2])?, CrossEntropy { label_smoothing: 1.5, ..plain }, "in [0, 1], got 1.5"),
        (f(&[2, 3])?, f(&[2, 3])?, CrossEntropy { ignore_index: 2, ..plain }, "got an ignore_index of 2"),
    ];
    for (x, targets, options, message) in cases {
        let error = cross_entropy(&x, &targets, options).expect_err(message).to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }
    Ok(())
}
