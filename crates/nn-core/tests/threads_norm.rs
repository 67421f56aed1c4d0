//! Norms give the same bits on any number of threads.

use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::ops::{self, Activation, BatchNorm, LocalResponseNorm, StochasticDepth};
use nn_core::{Ctx, testing};

type Op = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// The bits of the output and of the gradients.
fn bits(f: &Op, shape: &[usize], row: &[usize]) -> Result<Vec<u32>> {
    let vars = [testing::randn(1, shape)?, testing::randn(2, row)?, testing::randn(3, row)?];
    let vars = vars.iter().map(|x| Var::from_tensor(&x.to_dtype(DType::F32)?)).collect::<Result<Vec<_>>>()?;
    let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&args)?;
    let grads = y.sqr()?.sum_all()?.backward()?;
    let mut all = vec![y.flatten_all()?];
    for var in &vars {
        all.extend(grads.get(var).map(Tensor::flatten_all).transpose()?);
    }
    Ok(Tensor::cat(&all, 0)?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

/// An op, the shape of its input and that of its weight and bias.
type Case = (&'static str, Op, Vec<usize>, Vec<usize>);

fn cases() -> Vec<Case> {
    fn channels(f: impl Fn(&Tensor, Option<[&Tensor; 2]>) -> Result<Tensor> + Send + Sync + 'static) -> Op {
        Box::new(move |x| f(&x[0], Some([&x[1], &x[2]])))
    }
    let options = BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() };
    let batch = || channels(move |x, affine| ops::batch_norm(x, affine, None, options, &Ctx::train(0)));
    let group = |groups| channels(move |x, affine| ops::group_norm(x, groups, affine, 1e-5));
    let images = vec![3, 20, 67, 41];
    let few = vec![1, 2, 301, 307];
    vec![
        ("batch_norm", batch(), images.clone(), vec![20]),
        ("batch_norm of short planes", batch(), vec![5, 600, 3, 7], vec![600]),
        ("batch_norm of few channels", batch(), few.clone(), vec![2]),
        ("group_norm", group(5), images.clone(), vec![20]),
        ("group_norm of few groups", group(1), few, vec![2]),
        (
            "instance_norm",
            channels(|x, affine| ops::instance_norm(x, affine, 1e-5)),
            images.clone(),
            vec![20],
        ),
        (
            "scale_shift",
            Box::new(|x| ops::scale_shift(&x[0], [&x[1], &x[2]], Some(Activation::Tanh))),
            images.clone(),
            vec![20],
        ),
        (
            "layer_norm",
            Box::new(|x| ops::layer_norm(&x[0], 1, Some(&x[1]), Some(&x[2]), 1e-5)),
            vec![500, 333],
            vec![333],
        ),
        (
            "local_response_norm",
            Box::new(|x| ops::local_response_norm(&x[0], LocalResponseNorm::new(5))),
            images.clone(),
            vec![20],
        ),
        (
            "dropout",
            Box::new(|x| {
                ops::dropout_channels(&ops::dropout(&x[0], 0.3, &Ctx::train(1))?, 0.3, &Ctx::train(2))
            }),
            images.clone(),
            vec![20],
        ),
        (
            "stochastic_depth",
            Box::new(|x| {
                let y = ops::stochastic_depth(&x[0], 0.3, StochasticDepth::Row, &Ctx::train(1))?;
                ops::add_activate(&x[0], &y, Activation::Relu)
            }),
            images,
            vec![20],
        ),
    ]
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let pools = [1, 2, 5]
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started"));
    for (name, f, shape, row) in &cases() {
        let [one, two, five] = [0, 1, 2].map(|n| pools[n].install(|| bits(f, shape, row)));
        let one = one?;
        assert!(one == two? && one == five?, "{name} depends on the number of threads");
    }
    Ok(())
}
