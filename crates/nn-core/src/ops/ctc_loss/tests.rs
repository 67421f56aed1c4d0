use candle_core::{D, DType, Var};

use super::*;
use crate::ops::log_softmax;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{assert_close, gradcheck, randn};

const REDUCTIONS: [Reduction; 4] = [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

fn numbers(x: &[i64]) -> Result<Tensor> {
    Tensor::new(x, &Device::Cpu)
}

/// Targets of several sequences one after the other, their lengths, and frames.
fn batch(targets: &[&[i64]], frames: &[i64]) -> Result<[Tensor; 3]> {
    let lengths: Vec<i64> = targets.iter().map(|t| t.len() as i64).collect();
    Ok([numbers(&targets.concat())?, numbers(frames)?, numbers(&lengths)?])
}

fn loss(x: &Tensor, [targets, frames, lengths]: &[Tensor; 3], options: CtcLoss) -> Result<Tensor> {
    ctc_loss(x, targets, frames, lengths, options)
}

/// The loss of one sequence by adding up every path there is.
fn by_paths(x: &[Vec<f64>], targets: &[i64], blank: usize) -> f64 {
    let classes = x[0].len();
    let mut total = 0.0;
    for number in 0..classes.pow(x.len() as u32) {
        let path: Vec<usize> = (0..x.len()).map(|t| number / classes.pow(t as u32) % classes).collect();
        let mut merged = path.clone();
        merged.dedup();
        if merged.iter().filter(|&&c| c != blank).map(|&c| c as i64).eq(targets.iter().copied()) {
            total += path.iter().enumerate().map(|(t, &c)| x[t][c]).sum::<f64>().exp();
        }
    }
    -total.ln()
}

#[test]
fn worked_example() -> Result<()> {
    // Two frames, a blank and one class with probabilities 0.4 and 0.6: "a" is a–, –a or aa.
    let x = Var::new(&[[[0.4f64.ln(), 0.6f64.ln()]], [[0.4f64.ln(), 0.6f64.ln()]]], &Device::Cpu)?;
    let y = loss(&x, &batch(&[&[1]], &[2])?, CtcLoss::default())?;
    assert!((y.to_scalar::<f64>()? + 0.84f64.ln()).abs() < 1e-14);
    let grads = y.backward()?;
    let dx = grads.get(&x).expect("a variable").flatten_all()?;
    // The class at each time: 0.24 of the 0.84 have the blank there.
    let truth = Tensor::new(&[-0.24 / 0.84, -0.6 / 0.84, -0.24 / 0.84, -0.6 / 0.84], &Device::Cpu)?;
    assert_close(&dx, &truth, 1e-14, 0.0)
}

#[test]
fn it_is_the_sum_over_all_paths() -> Result<()> {
    let cases: [(&[&[i64]], &[i64]); 4] = [
        (&[&[1, 2], &[1, 1], &[]], &[4, 3, 4]),
        (&[&[2, 2, 1], &[1], &[2, 1, 2]], &[4, 1, 3]),
        (&[&[1, 1], &[1], &[]], &[2, 0, 0]), // impossible, impossible, certain
        (&[&[2], &[2], &[1, 2, 1, 2]], &[4, 2, 4]),
    ];
    for (seed, (targets, frames)) in cases.into_iter().enumerate() {
        let x = randn(seed as u64, (4, 3, 3))?;
        let options = CtcLoss { reduction: Reduction::None, ..CtcLoss::default() };
        let y = loss(&x, &batch(targets, frames)?, options)?.to_vec1::<f64>()?;
        for b in 0..3 {
            let rows = x.narrow(1, b, 1)?.squeeze(1)?.narrow(0, 0, frames[b] as usize)?.to_vec2::<f64>()?;
            let truth = match (rows.len(), targets[b].len()) {
                (0, 0) => 0.0,
                (0, _) => f64::INFINITY,
                _ => by_paths(&rows, targets[b], 0),
            };
            assert!(y[b] == truth || (y[b] - truth).abs() < 1e-12, "{} is not {truth}", y[b]);
        }
    }
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    let cases = [
        (7, 4, batch(&[&[1, 2, 3], &[2, 2], &[], &[3, 1, 3, 1, 3]], &[7, 5, 6, 7])?),
        (3, 2, batch(&[&[1, 1, 1], &[2]], &[3, 1])?),
        (1, 1, batch(&[&[1]], &[1])?),
        (
            40,
            6,
            batch(
                &[&[1, 2, 3, 3, 3, 1], &[2], &[], &[1, 3], &[2, 2, 2], &[1, 3, 2]],
                &[40, 33, 2, 7, 21, 0],
            )?,
        ),
    ];
    for (steps, count, sequences) in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let x = randn(1, (steps, count, 4))?.to_dtype(dtype)?;
            for reduction in REDUCTIONS {
                let options = CtcLoss { zero_infinity: true, reduction, ..CtcLoss::default() };
                let [targets, frames, lengths] = &sequences;
                let samples = samples(&x, targets, [frames, lengths], options)?;
                assert_same(
                    |x| loss(&x[0], &sequences, options),
                    |x| portable(&x[0], &samples, options),
                    &[x.clone()],
                    tolerance,
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives_also_of_views() -> Result<()> {
    let sequences = batch(&[&[0, 2], &[2, 2]], &[5, 4])?;
    for reduction in REDUCTIONS {
        let options = CtcLoss { blank: 1, reduction, ..CtcLoss::default() };
        gradcheck(|x| loss(&x[0].transpose(0, 1)?, &sequences, options), &[randn(3, (2, 5, 3))?])?;
        gradcheck(|x| loss(&log_softmax(&x[0], D::Minus1)?, &sequences, options), &[randn(4, (5, 2, 3))?])?;
    }
    Ok(())
}

#[test]
fn targets_may_be_padded() -> Result<()> {
    let x = randn(5, (6, 2, 4))?;
    let padded = Tensor::new(&[[1u32, 2, 3], [3, 0, 0]], &Device::Cpu)?;
    let [targets, frames, lengths] = batch(&[&[1, 2, 3], &[3]], &[6, 4])?;
    let y = ctc_loss(&x, &padded, &frames, &lengths, CtcLoss::default())?;
    assert_close(&y, &ctc_loss(&x, &targets, &frames, &lengths, CtcLoss::default())?, 0.0, 0.0)
}

#[test]
fn sequences_too_short_for_their_targets() -> Result<()> {
    let x = Var::from_tensor(&randn(6, (2, 2, 3))?)?;
    let sequences = batch(&[&[1, 1], &[2]], &[2, 2])?; // a repeated class needs a blank between
    for (zero_infinity, is_infinite) in [(false, true), (true, false)] {
        let options = CtcLoss { zero_infinity, reduction: Reduction::Sum, ..CtcLoss::default() };
        let y = loss(&x, &sequences, options)?;
        assert_eq!(y.to_scalar::<f64>()?.is_infinite(), is_infinite);
        let grads = y.backward()?;
        let dx = grads.get(&x).expect("a variable").narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f64>()?;
        assert!(dx.iter().all(|dx| if is_infinite { dx.is_nan() } else { *dx == 0.0 }), "{dx:?}");
    }
    Ok(())
}

#[test]
fn ten_thousand_frames_keep_their_precision() -> Result<()> {
    let x = log_softmax(&randn(7, (10_000, 1, 5))?, D::Minus1)?;
    let targets: Vec<i64> = (0..200).map(|i| 1 + i * 7919 % 31 % 4).collect();
    let sequences = batch(&[&targets], &[10_000])?;
    let of = |dtype| -> Result<(Tensor, Tensor)> {
        let x = Var::from_tensor(&x.to_dtype(dtype)?)?;
        let y = loss(&x, &sequences, CtcLoss { reduction: Reduction::Sum, ..CtcLoss::default() })?;
        let grads = y.backward()?;
        Ok((y, grads.get(&x).expect("a variable").clone()))
    };
    let ((y, dx), (truth, gradient)) = (of(DType::F32)?, of(DType::F64)?);
    assert_close(&y, &truth, 1e-6, 0.0)?;
    assert_close(&dx, &gradient, 0.0, 2e-3)
}

#[test]
fn types() -> Result<()> {
    let sequences = batch(&[&[1, 2], &[2]], &[4, 3])?;
    let op =
        |x: &[Tensor]| loss(&x[0], &sequences, CtcLoss { reduction: Reduction::Sum, ..CtcLoss::default() });
    assert_types(NAME, op, &[log_softmax(&randn(8, (4, 2, 3))?, D::Minus1)?])
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let (x, plain) = (randn(9, (4, 2, 3))?, CtcLoss::default());
    let right = batch(&[&[1, 2], &[2]], &[4, 3])?;
    let [targets, frames, lengths] = right.clone();
    let floats = frames.to_dtype(DType::F32)?;
    let cases: [(&Tensor, [Tensor; 3], CtcLoss, &str); 9] = [
        (&x.get(0)?, right.clone(), plain, "must be [T, B, C], got shape [2, 3]"),
        (&x, right, CtcLoss { blank: 3, ..plain }, "the blank must be a class in 0..3, got 3"),
        (
            &x,
            [numbers(&[1, 0, 2])?, frames.clone(), lengths.clone()],
            plain,
            "not the blank, 0, got 0 at [1]",
        ),
        (
            &x,
            [numbers(&[1, 2, 7])?, frames.clone(), lengths.clone()],
            plain,
            "in 0..3 but not the blank, 0, got 7 at [2]",
        ),
        (
            &x,
            [numbers(&[1, 2])?, frames.clone(), numbers(&[2, 1])?],
            plain,
            "sum to the number of targets, 2, got 3",
        ),
        (
            &x,
            [targets.clone(), numbers(&[4, 5])?, lengths.clone()],
            plain,
            "frames must be in 0..=4, got 5 at [1]",
        ),
        (
            &x,
            [targets.clone(), numbers(&[4])?, lengths.clone()],
            plain,
            "one number a sequence, [2], got shape [1]",
        ),
        (
            &x,
            [targets.clone(), floats, lengths.clone()],
            plain,
            "frames must be integers (u8, u32 or i64), got F32",
        ),
        (&x, [targets.reshape((3, 1))?, frames, lengths], plain, "with B = 2, got shape [3, 1]"),
    ];
    for (x, sequences, options, message) in cases {
        let error = loss(x, &sequences, options).expect_err(message).to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }
    Ok(())
}
