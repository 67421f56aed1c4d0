use std::sync::{Arc, Barrier, Mutex};

use super::*;
use crate::Peers;
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

/// Two processes, played by threads that wait for each other.
#[derive(Debug)]
struct Thread {
    number: usize,
    told: Arc<Mutex<[Vec<f64>; 2]>>,
    barrier: Arc<Barrier>,
}

impl Thread {
    fn pair() -> [Arc<dyn Peers>; 2] {
        let (told, barrier) = (Arc::new(Mutex::default()), Arc::new(Barrier::new(2)));
        [0, 1].map(|number| {
            let (told, barrier) = (Arc::clone(&told), Arc::clone(&barrier));
            Arc::new(Self { number, told, barrier }) as Arc<dyn Peers>
        })
    }
}

impl Peers for Thread {
    fn gather(&self, own: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.told.lock().expect("no panic")[self.number] = own.to_vec();
        self.barrier.wait();
        let all = self.told.lock().expect("no panic").to_vec();
        self.barrier.wait();
        Ok(all)
    }
}

/// The output, the gradients of input, weight and bias, and the running statistics.
fn trained_with(x: &[Tensor], dy: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
    let vars: Vec<Var> = x.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let running = RunningStatistics::new(x[1].elem_count(), DType::F64, &Device::Cpu)?;
    let options = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
    let y = batch_norm(&vars[0], Some([&vars[1], &vars[2]]), Some(&running), options, ctx)?;
    let grads = y.mul(dy)?.sum_all()?.backward()?;
    let mut all = vec![y.detach()];
    all.extend(vars.iter().filter_map(|var| grads.get(var)).cloned());
    all.extend([&running.mean, &running.variance].map(|var| var.as_detached_tensor()));
    Ok(all)
}

#[test]
fn processes_with_parts_of_a_batch_normalise_it_as_one_would() -> Result<()> {
    for shape in [vec![5, 3], vec![5, 4, 7], vec![5, 3, 2, 3], vec![5, 2, 130, 140]] {
        let (x, dy) = (inputs(&shape, DType::F64)?, randn(9, &*shape)?);
        let whole = trained_with(&x, &dy, &Ctx::train(0))?;
        let part = |start, rows, peers: Arc<dyn Peers>| {
            let x = [x[0].narrow(0, start, rows)?, x[1].clone(), x[2].clone()];
            trained_with(&x, &dy.narrow(0, start, rows)?, &Ctx::train(0).synchronised(&peers))
        };
        let [first, second] = Thread::pair();
        let (a, b) = std::thread::scope(|scope| {
            let b = scope.spawn(|| part(3, 2, second));
            (part(0, 3, first), b.join().expect("no panic"))
        });
        let (a, b) = (a?, b?);
        assert_eq!([a.len(), b.len(), whole.len()], [6; 3]);
        for at in 0..6 {
            let all = match at {
                // Of output and input the parts follow each other; parameters have a gradient for each part.
                0 | 1 => Tensor::cat(&[&a[at], &b[at]], 0)?,
                2 | 3 => (&a[at] + &b[at])?,
                _ => a[at].clone(),
            };
            assert_close(&all, &whole[at], 1e-10, 1e-12)?;
        }
        assert_close(&a[4], &b[4], 0.0, 0.0)?;
        assert_close(&a[5], &b[5], 0.0, 0.0)?;
    }
    Ok(())
}

/// One number a channel is enough where another process has one as well; evaluation asks nobody.
#[test]
fn peers_count() -> Result<()> {
    let one = |peers: Arc<dyn Peers>| {
        let ctx = Ctx::train(0).synchronised(&peers);
        batch_norm(&Tensor::new(&[[1f64]], &Device::Cpu)?, None, None, BatchNorm::default(), &ctx)
    };
    let [first, second] = Thread::pair();
    let still = Ctx::train(0).synchronised(&first).evaluating();
    assert!(batch_norm(&randn(1, (2, 3))?, None, None, BatchNorm::default(), &still).is_ok());
    let first = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(second));
        (one(first), other.join().expect("no panic"))
    });
    assert_eq!((first.0?.to_vec2::<f64>()?, first.1?.to_vec2::<f64>()?), (vec![vec![0.0]], vec![vec![0.0]]));
    Ok(())
}

/// What others tell must be of the same layer.
#[test]
fn processes_at_different_layers_are_an_error() -> Result<()> {
    #[derive(Debug)]
    struct Stranger;
    impl Peers for Stranger {
        fn gather(&self, own: &[f64]) -> Result<Vec<Vec<f64>>> {
            Ok(vec![own.to_vec(), vec![0.0; 3]])
        }
    }
    let peers: Arc<dyn Peers> = Arc::new(Stranger);
    let ctx = Ctx::train(0).synchronised(&peers);
    let error =
        batch_norm(&randn(1, (4, 2))?, None, None, BatchNorm::default(), &ctx).expect_err("a stranger");
    assert!(error.to_string().contains("6 numbers and 3 from another"), "{error}");
    Ok(())
}
