use candle_core::{DType, Device, Result, Tensor};

use super::*;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{assert_close, gradcheck, randn};

const REDUCTIONS: [Reduction; 4] = [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

fn arguments([batch, steps, classes]: [usize; 3]) -> Result<Vec<Tensor>> {
    Ok(vec![
        randn(1, (batch, steps, classes))?,
        randn(2, (classes, classes))?,
        randn(3, classes)?,
        randn(4, classes)?,
    ])
}

fn weights(args: &[Tensor]) -> CrfWeights {
    CrfWeights { transitions: args[1].clone(), start: args[2].clone(), end: args[3].clone() }
}

fn labels([batch, steps, classes]: [usize; 3]) -> Result<Tensor> {
    let labels: Vec<u32> = (0..batch * steps).map(|i| ((i * i + 3 * i + 1) % classes) as u32).collect();
    Tensor::from_vec(labels, (batch, steps), &Device::Cpu)
}

/// All labellings, one after the other.
#[test]
fn the_sum_is_over_all_labellings() -> Result<()> {
    let shape = [2, 4, 3];
    let lengths = [4, 2];
    let args = arguments(shape)?;
    let losses = crf_loss(&args[0], &weights(&args), &labels(shape)?, Some(&lengths), Reduction::None)?;
    let emissions = args[0].to_vec3::<f64>()?;
    let (transitions, labels) = (args[1].to_vec2::<f64>()?, labels(shape)?.to_vec2::<u32>()?);
    let (start, end) = (args[2].to_vec1::<f64>()?, args[3].to_vec1::<f64>()?);
    for (b, &length) in lengths.iter().enumerate() {
        let score = |label: &dyn Fn(usize) -> usize| {
            let mut sum = start[label(0)] + end[label(length - 1)];
            for t in 0..length {
                sum += emissions[b][t][label(t)];
                sum += if t > 0 { transitions[label(t - 1)][label(t)] } else { 0.0 };
            }
            sum
        };
        let all = 3usize.pow(length as u32);
        let total: f64 = (0..all).map(|n| score(&|t| n / 3usize.pow(t as u32) % 3).exp()).sum();
        let expected = total.ln() - score(&|t| labels[b][t] as usize);
        let got = losses.get(b)?.to_scalar::<f64>()?;
        assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
    }
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for (shape, lengths) in [
        ([1, 1, 1], None),
        ([2, 3, 4], None),
        ([3, 6, 2], Some(&[6, 1, 3][..])),
        ([5, 30, 9], Some(&[30, 7, 1, 29, 12])),
    ] {
        let labels = labels(shape)?;
        for reduction in REDUCTIONS {
            let kernel = |args: &[Tensor]| crf_loss(&args[0], &weights(args), &labels, lengths, reduction);
            let twin = |args: &[Tensor]| {
                let [batch, steps, classes] = shape;
                let crf = Crf {
                    steps,
                    classes,
                    labels: checked(NAME, &labels, classes)?.into(),
                    lengths: checked_lengths(NAME, lengths, batch, steps)?.into(),
                    reduction,
                };
                portable(&crf, &args[0], &weights(args))
            };
            assert_same(kernel, twin, &arguments(shape)?, 1e-11)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_check() -> Result<()> {
    let shape = [2, 3, 3];
    let labels = labels(shape)?;
    for reduction in REDUCTIONS {
        let f = |args: &[Tensor]| crf_loss(&args[0], &weights(args), &labels, Some(&[3, 2]), reduction);
        gradcheck(f, &arguments(shape)?)?;
    }
    assert_types(
        NAME,
        |args| crf_loss(&args[0], &weights(args), &labels, None, Reduction::Mean),
        &arguments(shape)?,
    )
}

#[test]
fn large_scores_do_not_overflow_and_forbidden_ones_are_nothing() -> Result<()> {
    let t = |x: &[f32], shape: &[usize]| Tensor::from_slice(x, shape, &Device::Cpu);
    let weights = CrfWeights {
        transitions: t(&[0.0, f32::NEG_INFINITY, 0.0, 0.0], &[2, 2])?,
        start: t(&[0.0, 0.0], &[2])?,
        end: t(&[0.0, 0.0], &[2])?,
    };
    let emissions = t(&[1e4, 0.0, 0.0, 1e4], &[1, 2, 2])?;
    // Of the labellings 00, 10 and 11 with 1e4, 0 and 1e4.
    let loss =
        crf_loss(&emissions, &weights, &Tensor::new(&[[0u32, 0]], &Device::Cpu)?, None, Reduction::Mean)?;
    assert_close(&loss, &t(&[2f32.ln()], &[])?, 0.0, 1e-3)
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let shape = [2, 3, 4];
    let good = labels(shape)?;
    let args = arguments(shape)?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu);
    let with = |at: usize, x: Tensor| {
        let mut args = args.clone();
        args[at] = x;
        args
    };
    let wrong = Tensor::new(&[[0u32, 1, 2], [3, 4, 0]], &Device::Cpu)?;
    for (args, labels, lengths, rule) in [
        (with(0, zeros(&[2, 3])?), &good, None, "emissions must be [B, T, C], got [2, 3]"),
        (with(0, zeros(&[2, 0, 4])?), &good, None, "there must be steps and classes"),
        (with(1, zeros(&[4, 3])?), &good, None, "transitions must be [4, 4], got [4, 3]"),
        (with(2, zeros(&[3])?), &good, None, "start must be [4], got [3]"),
        (with(3, zeros(&[5])?), &good, None, "end must be [4], got [5]"),
        (with(0, zeros(&[1, 3, 4])?), &good, None, "labels must be [1, 3], got [2, 3]"),
        (args.clone(), &wrong, None, "indices must be in 0..4, got 4 at [1, 1]"),
        (args.clone(), &good, Some(&[3, 4][..]), "the length of sequence 1 must be in 1..=3, got 4"),
    ] {
        let error = crf_loss(&args[0], &weights(&args), labels, lengths, Reduction::Mean);
        let error = error.expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    Ok(())
}
