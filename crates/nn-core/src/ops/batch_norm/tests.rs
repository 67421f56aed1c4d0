use super::*;
use crate::ops::norm::portable;
use crate::ops::oracle::{assert_same, assert_types, with_gradients};
use crate::testing::{assert_close, gradcheck, randn};

fn inputs(shape: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
    let x = randn(1, shape)?.to_dtype(dtype)?;
    let [w, b] = [2, 3].map(|seed| randn(seed, shape[1])?.to_dtype(dtype));
    Ok(vec![x, w?, b?])
}

fn trained(x: &[Tensor], activation: Option<Activation>) -> Result<Tensor> {
    let options = BatchNorm { activation, ..BatchNorm::default() };
    batch_norm(&x[0], Some([&x[1], &x[2]]), None, options, &Ctx::train(0))
}

#[test]
fn worked_example() -> Result<()> {
    let x = Tensor::new(&[[[1f64, 2.0]], [[3.0, 6.0]]], &Device::Cpu)?; // mean 3, variance 14 / 4
    let running = RunningStatistics::new(1, DType::F64, &Device::Cpu)?;
    let options = BatchNorm { eps: 0.5, activation: Some(Activation::Relu), ..BatchNorm::default() };
    let y = batch_norm(&x, None, Some(&running), options, &Ctx::train(0))?;
    assert_eq!(y.to_vec3::<f64>()?, [[[0.0, 0.0]], [[0.0, 1.5]]]);
    let value = |var: &Var| var.flatten_all()?.to_vec1::<f64>();
    assert_close(&running.mean, &Tensor::new(&[0.3], &Device::Cpu)?, 1e-15, 0.0)?;
    assert_close(&running.variance, &Tensor::new(&[0.9 + 0.1 * 14.0 / 3.0], &Device::Cpu)?, 1e-15, 0.0)?;
    assert_eq!(value(&running.batches)?, [1.0]);
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for shape in [
        vec![4, 3],
        vec![5, 20],
        vec![2, 3, 5],
        vec![3, 300, 49],
        vec![1, 2, 3, 3],
        vec![2, 9, 60, 50],
        vec![2, 1, 200, 200], // few and large
        vec![1, 3, 300, 300],
    ] {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-3)] {
            let x = inputs(&shape, dtype)?;
            let sets = Sets::of_batch(&shape);
            // In f32 the two do not see the same side of every kink.
            let kinked = if dtype == DType::F64 { Activation::Relu } else { Activation::Tanh };
            for activation in [None, Some(kinked)] {
                let twin =
                    |x: &[Tensor]| Ok(portable([&x[0], &x[1], &x[2]], sets, 1e-5, Fused(activation))?.0);
                assert_same(|x| trained(x, activation), twin, &x, tolerance)?;
            }
        }
    }
    let x = inputs(&[0, 4, 3], DType::F32)?;
    assert_eq!(trained(&x, None)?.dims(), [0, 4, 3]);
    Ok(())
}

#[test]
fn gradients_are_derivatives() -> Result<()> {
    let x = inputs(&[3, 2, 2, 3], DType::F64)?;
    gradcheck(|x| trained(x, None), &x)?;
    gradcheck(|x| trained(x, Some(Activation::Tanh)), &x)?;
    let view = |x: &[Tensor]| {
        Ok::<_, candle_core::Error>([x[0].transpose(2, 3)?.narrow(2, 1, 2)?, x[1].clone(), x[2].clone()])
    };
    gradcheck(|x| trained(&view(x)?, None), &x)?;
    gradcheck(|x| trained(x, Some(Activation::Sigmoid)), &inputs(&[5, 3], DType::F64)?)?;
    let running = RunningStatistics::new(2, DType::F64, &Device::Cpu)?;
    let options = BatchNorm { activation: Some(Activation::Tanh), ..BatchNorm::default() };
    gradcheck(|x| batch_norm(&x[0], Some([&x[1], &x[2]]), Some(&running), options, &Ctx::eval()), &x)
}

#[test]
fn a_large_mean_costs_no_accuracy() -> Result<()> {
    for shape in [[8, 3, 7, 7], [4, 2, 32, 32]] {
        let x = inputs(&shape, DType::F64)?;
        let far = |x: &[Tensor], dtype| -> Result<Tensor> {
            // Whole numbers, so that nothing is lost when they are stored.
            let x = [((&x[0] * 16.0)?.round()? + 1e4)?, x[1].clone(), x[2].clone()];
            let x = x.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
            trained(&x, None)
        };
        assert_close(&far(&x, DType::F32)?, &far(&x, DType::F64)?, 1e-4, 1e-4)?;
    }
    Ok(())
}

#[test]
fn statistics_run_and_evaluation_uses_them() -> Result<()> {
    for momentum in [Some(0.3), None] {
        let running = RunningStatistics::new(3, DType::F64, &Device::Cpu)?;
        let options = BatchNorm { momentum, ..BatchNorm::default() };
        let (mut mean, mut variance) = (vec![0.0; 3], vec![1.0; 3]);
        for step in 0..4 {
            let x = (randn(step, (2, 3, 5))? + step as f64)?;
            batch_norm(&x, None, Some(&running), options, &Ctx::train(0))?;
            let part = momentum.unwrap_or(1.0 / (step + 1) as f64);
            let rows = x.transpose(0, 1)?.reshape((3, 10))?.to_vec2::<f64>()?;
            for (c, row) in rows.iter().enumerate() {
                let m = row.iter().sum::<f64>() / 10.0;
                let v = row.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 9.0;
                mean[c] += part * (m - mean[c]);
                variance[c] += part * (v - variance[c]);
            }
        }
        assert_close(&running.mean, &Tensor::new(mean.as_slice(), &Device::Cpu)?, 1e-12, 1e-12)?;
        assert_close(&running.variance, &Tensor::new(variance.as_slice(), &Device::Cpu)?, 1e-12, 0.0)?;
        let x = randn(9, (2, 3, 5))?;
        let before = running.mean.to_vec1::<f64>()?;
        let y = batch_norm(&x, None, Some(&running), options, &Ctx::eval())?.to_vec3::<f64>()?;
        let truth = (x.to_vec3::<f64>()?[1][2][4] - mean[2]) / (variance[2] + 1e-5).sqrt();
        assert!((y[1][2][4] - truth).abs() < 1e-12);
        assert_eq!(running.mean.to_vec1::<f64>()?, before);
        assert_eq!(running.batches.to_scalar::<f64>()?, 4.0);
    }
    Ok(())
}

#[test]
fn weights_that_are_not_trained_get_no_gradient() -> Result<()> {
    let x = randn(1, (3, 2, 4))?;
    let fixed = inputs(&[3, 2, 4], DType::F64)?;
    let (_, gradients) =
        with_gradients(|x| trained(&[x[0].clone(), fixed[1].clone(), fixed[2].clone()], None), &[x])?;
    assert!(gradients[0].is_some());
    Ok(())
}

#[test]
fn types() -> Result<()> {
    assert_types("batch_norm", |x| trained(x, Some(Activation::Relu)), &inputs(&[3, 2, 8], DType::F64)?)?;
    let running = RunningStatistics::new(2, DType::F32, &Device::Cpu)?;
    let eval = |x: &[Tensor]| {
        batch_norm(&x[0], Some([&x[1], &x[2]]), Some(&running), BatchNorm::default(), &Ctx::eval())
    };
    assert_types("batch_norm", eval, &inputs(&[3, 2, 8], DType::F64)?)
}

#[test]
fn what_cannot_be_normalised_is_an_error() -> Result<()> {
    let (x, b, running) =
        (randn(1, (2, 6))?, randn(2, 5)?, RunningStatistics::new(5, DType::F64, &Device::Cpu)?);
    let call =
        |x: &Tensor, affine, running, ctx: Ctx| batch_norm(x, affine, running, BatchNorm::default(), &ctx);
    for (result, message) in [
        (call(&b, None, None, Ctx::train(0)), "must be [B, C, …], got [5]"),
        (call(&x, Some([&b, &b]), None, Ctx::train(0)), "the weight must be [6], got [5]"),
        (call(&x, None, Some(&running), Ctx::eval()), "the running mean must be [6], got [5]"),
        (
            call(&randn(3, (1, 5, 1, 1))?, None, Some(&running), Ctx::train(0)),
            "statistics need more than one number a channel, got the shape [1, 5, 1, 1]",
        ),
    ] {
        let error = result.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(running.variance.to_vec1::<f64>()?, [1.0; 5]);
    Ok(())
}
