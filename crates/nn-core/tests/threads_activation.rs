//! Pointwise functions, softmax, losses and dropout give the same bits on any number of threads.

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{self, Activation, Reduction};
use nn_core::{Ctx, candle_core, testing};

type Op = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// The bits of the output and of the gradient.
fn bits(f: &Op, x: &Tensor) -> Result<Vec<u32>> {
    let x = Var::from_tensor(x)?;
    let y = f(&x)?;
    let grads = y.sqr()?.sum_all()?.backward()?;
    let dx = grads.get(&x).expect("a gradient").flatten_all()?;
    let numbers = Tensor::cat(&[y.flatten_all()?, dx], 0)?.to_vec1::<f32>()?;
    Ok(numbers.into_iter().map(f32::to_bits).collect())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let shape = (7, 33, 641); // enough for several threads, and a multiple of nothing
    let x = testing::randn(1, shape)?.to_dtype(DType::F32)?;
    let target = testing::randn(2, shape)?.to_dtype(DType::F32)?;
    let labels: Vec<u32> = (0..7 * 641).map(|i| i * 7919 % 33).collect();
    let labels = Tensor::from_vec(labels, (7, 641), &Device::Cpu)?;

    let mut cases: Vec<(String, Op)> = Vec::new();
    for kind in Activation::ALL {
        cases.push((kind.name().to_owned(), Box::new(move |x| candle_core::Module::forward(&kind, x))));
    }
    for axis in 0..3 {
        cases.push((format!("softmax {axis}"), Box::new(move |x| ops::softmax(x, axis))));
        cases.push((format!("log_softmax {axis}"), Box::new(move |x| ops::log_softmax(x, axis))));
    }
    for reduction in [Reduction::Mean, Reduction::None] {
        let (t, l) = (target.clone(), labels.clone());
        cases.push((format!("mse {reduction:?}"), Box::new(move |x| ops::mse(x, &t, reduction))));
        let t = target.clone();
        cases.push((format!("bce {reduction:?}"), Box::new(move |x| ops::bce_with_logits(x, &t, reduction))));
        cases.push((
            format!("cross_entropy {reduction:?}"),
            Box::new(move |x| ops::cross_entropy(x, &l, reduction)),
        ));
    }
    cases.push(("dropout".to_owned(), Box::new(|x| ops::dropout(x, 0.3, &Ctx::train(1)))));

    let pools = [1, 2, 5]
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started"));
    for (name, f) in &cases {
        let [one, two, five] = [0, 1, 2].map(|n| pools[n].install(|| bits(f, &x)));
        let one = one?;
        assert!(one == two? && one == five?, "{name} depends on the number of threads");
    }
    Ok(())
}
