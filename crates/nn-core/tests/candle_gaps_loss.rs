//! Where stock Candle 0.11.1 is wrong or lacking and these ops are not: losses.
//!
//! Each test shows both. One that fails on Candle's half after an upgrade is good news: the gap is closed.

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::candle_nn::loss as stock;
use nn_core::ops::{self, BceWithLogits, CrossEntropy, KlDiv, NllLoss, Reduction};
use nn_core::testing::{assert_close, randn};

fn gradient(loss: &Tensor, x: &Var) -> Result<Vec<f64>> {
    loss.backward()?.get(x).expect("a gradient").flatten_all()?.to_vec1()
}

#[test]
fn cross_entropy_ignores_a_label() -> Result<()> {
    let x = randn(1, (3, 4))?;
    let targets = Tensor::new(&[1u32, 255, 2], &Device::Cpu)?;
    assert!(stock::cross_entropy(&x, &targets).is_err());
    let options = CrossEntropy { ignore_index: 255, ..CrossEntropy::default() };
    let rows = Tensor::new(&[0u32, 2], &Device::Cpu)?;
    let others = stock::cross_entropy(&x.index_select(&rows, 0)?, &targets.index_select(&rows, 0)?)?;
    assert_close(&ops::cross_entropy(&x, &targets, options)?, &others, 1e-12, 0.0)
}

#[test]
fn cross_entropy_weighs_classes_smooths_labels_and_takes_probabilities() -> Result<()> {
    let x = randn(2, (3, 2))?;
    let onehot = Tensor::new(&[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], &Device::Cpu)?;
    assert!(stock::cross_entropy(&x, &onehot).is_err());
    let labels = Tensor::new(&[1u32, 0, 1], &Device::Cpu)?;
    let plain = stock::cross_entropy(&x, &labels)?;
    assert_close(&ops::cross_entropy(&x, &onehot, Reduction::Mean)?, &plain, 1e-12, 0.0)?;
    // Weighted, the mean is that of repeated examples.
    let weight = Tensor::new(&[1.0, 2.0], &Device::Cpu)?;
    let repeated = Tensor::new(&[0u32, 0, 1, 2, 2], &Device::Cpu)?;
    let repeated = stock::cross_entropy(&x.index_select(&repeated, 0)?, &labels.index_select(&repeated, 0)?)?;
    let options = CrossEntropy { weight: Some(&weight), ..CrossEntropy::default() };
    assert_close(&ops::cross_entropy(&x, &labels, options)?, &repeated, 1e-12, 0.0)?;
    // Smoothed by 0.2, a label of two is the label for 0.9 and the other for 0.1.
    let other = stock::cross_entropy(&x, &Tensor::new(&[0u32, 1, 0], &Device::Cpu)?)?;
    let options = CrossEntropy { label_smoothing: 0.2, ..CrossEntropy::default() };
    let mixed = ((plain * 0.9)? + (other * 0.1)?)?;
    assert_close(&ops::cross_entropy(&x, &labels, options)?, &mixed, 1e-12, 0.0)
}

#[test]
fn nll_takes_logarithms_of_any_rank_and_ignores_a_label() -> Result<()> {
    let x = randn(3, (2, 3, 4))?;
    let targets = Tensor::new(&[[0u32, 1, 2, 9], [9, 2, 1, 0]], &Device::Cpu)?;
    assert!(stock::nll(&x, &targets).is_err());
    let options = NllLoss { ignore_index: 9, ..NllLoss::default() };
    let rows = Tensor::new(&[0u32, 1, 2, 5, 6, 7], &Device::Cpu)?;
    let flat = x.transpose(1, 2)?.flatten_to(1)?.index_select(&rows, 0)?;
    let truth = stock::nll(&flat, &targets.flatten_all()?.index_select(&rows, 0)?)?;
    assert_close(&ops::nll_loss(&x, &targets, options)?, &truth, 1e-12, 0.0)
}

#[test]
fn binary_cross_entropy_of_certain_probabilities_is_finite() -> Result<()> {
    // Candle has none of probabilities; this is it from its operations.
    let (x, target) = (Var::new(&[0.0, 1.0], &Device::Cpu)?, Tensor::new(&[0.0, 1.0], &Device::Cpu)?);
    let by_hand = ((&target * x.log()?)? + (target.affine(-1.0, 1.0)? * x.affine(-1.0, 1.0)?.log()?)?)?;
    assert!(by_hand.mean_all()?.to_scalar::<f64>()?.is_nan());
    let loss = ops::bce(&x, &target, Reduction::Mean)?;
    assert_eq!(loss.to_scalar::<f64>()?, 0.0);
    assert_eq!(gradient(&loss, &x)?, [0.0, 0.0]);
    Ok(())
}

#[test]
fn positive_answers_may_weigh_more() -> Result<()> {
    // Candle's loss has no weights; the one of a positive answer is as many examples.
    let (x, target) = (Tensor::new(&[0.3, -0.7], &Device::Cpu)?, Tensor::new(&[1.0, 0.0], &Device::Cpu)?);
    let rows = Tensor::new(&[0u32, 0, 0, 1], &Device::Cpu)?;
    let stock =
        stock::binary_cross_entropy_with_logit(&x.index_select(&rows, 0)?, &target.index_select(&rows, 0)?)?;
    let weight = Tensor::new(&[3.0], &Device::Cpu)?;
    let options = BceWithLogits { pos_weight: Some(&weight), ..Reduction::Sum.into() };
    assert_close(&ops::bce_with_logits(&x, &target, options)?, &(stock * 4.0)?, 1e-12, 0.0)
}

#[test]
fn absolute_error_has_derivative_0_where_there_is_none() -> Result<()> {
    let (x, target) = (Var::new(&[1.0, 2.0], &Device::Cpu)?, Tensor::new(&[1.0, 3.0], &Device::Cpu)?);
    assert_eq!(gradient(&(x.as_tensor() - &target)?.abs()?.sum_all()?, &x)?, [1.0, -1.0]);
    assert_eq!(gradient(&ops::l1(&x, &target, Reduction::Sum)?, &x)?, [0.0, -1.0]);
    Ok(())
}

#[test]
fn divergence_from_an_impossible_outcome_is_finite() -> Result<()> {
    let x = Var::new(&[0.5f64.ln(), 0.5f64.ln()], &Device::Cpu)?;
    let target = Tensor::new(&[1.0, 0.0], &Device::Cpu)?;
    // 0 · ln 0 is NaN in Candle's operations.
    let by_hand = (&target * (target.log()? - x.as_tensor())?)?.sum_all()?;
    assert!(by_hand.to_scalar::<f64>()?.is_nan());
    let loss = ops::kl_div(&x, &target, KlDiv { reduction: Reduction::Sum, ..KlDiv::default() })?;
    assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
    assert_eq!(gradient(&loss, &x)?, [-1.0, 0.0]);
    Ok(())
}

#[test]
fn losses_take_half_precision() -> Result<()> {
    let x = randn(4, (2, 300))?.to_dtype(DType::BF16)?;
    let targets = Tensor::new(&[7u32, 123], &Device::Cpu)?;
    let truth = ops::cross_entropy(&x.to_dtype(DType::F32)?, &targets, Reduction::Mean)?;
    let error = |loss: Tensor| -> Result<f32> {
        Ok((loss.to_dtype(DType::F32)?.to_scalar::<f32>()? / truth.to_scalar::<f32>()? - 1.0).abs())
    };
    // Candle adds the exponentials in bf16, ours are added in f32 and the loss is rounded once.
    assert!(error(stock::cross_entropy(&x, &targets)?)? > 0.01);
    assert!(error(ops::cross_entropy(&x, &targets, Reduction::Mean)?)? < 0.004);
    Ok(())
}
