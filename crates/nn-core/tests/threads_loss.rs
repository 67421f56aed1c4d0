//! Losses give the same bits on any number of threads.

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{
    self, BceWithLogits, CrossEntropy, CtcLoss, Huber, KlDiv, NllLoss, Reduction, SmoothL1, TripletMarginLoss,
};
use nn_core::testing;

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

const SHAPE: (usize, usize, usize) = (70, 33, 61); // enough for several threads, and a multiple of nothing

fn tensor(seed: u64) -> Result<Tensor> {
    testing::randn(seed, SHAPE)?.to_dtype(DType::F32)
}

/// Whole numbers below `below`, in an order without pattern.
fn whole(dims: &[usize], below: u32) -> Result<Tensor> {
    let count: usize = dims.iter().product();
    Tensor::from_vec((0..count as u32).map(|i| i * 7919 % below).collect(), dims, &Device::Cpu)
}

fn of_classes() -> Result<Vec<(&'static str, Op)>> {
    let (pixels, rows, soft) = (whole(&[70, 61], 33)?, whole(&[2310], 61)?, tensor(2)?);
    let (labels, soft_rows) = (pixels.clone(), soft.flatten_to(1)?);
    let smooth = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
    Ok(vec![
        ("labels of columns", Box::new(move |x| ops::cross_entropy(x, &pixels, Reduction::Mean))),
        ("labels of rows", Box::new(move |x| ops::cross_entropy(&x.flatten_to(1)?, &rows, Reduction::Mean))),
        ("soft columns", Box::new(move |x| ops::cross_entropy(x, &soft, smooth))),
        ("soft rows", Box::new(move |x| ops::cross_entropy(&x.flatten_to(1)?, &soft_rows, Reduction::Mean))),
        ("nll", Box::new(move |x| ops::nll_loss(x, &labels, NllLoss::default()))),
    ])
}

fn of_elements() -> Result<Vec<(&'static str, Op)>> {
    type Plain = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let ops: [(&str, Plain); 5] = [
        ("l1", |x, t| ops::l1(x, t, Reduction::Mean)),
        ("huber", |x, t| ops::huber(x, t, Huber::default())),
        ("smooth l1", |x, t| ops::smooth_l1(x, t, SmoothL1::default())),
        ("bce", |x, t| ops::bce(&ops::sigmoid(x)?, &ops::sigmoid(t)?, Reduction::Mean)),
        ("kl", |x, t| ops::kl_div(x, &ops::sigmoid(t)?, KlDiv::default())),
    ];
    let (target, weight) = (tensor(2)?, tensor(3)?.get(0)?.get(0)?.abs()?);
    let mut all: Vec<(&str, Op)> = Vec::new();
    for (name, op) in ops {
        let t = target.clone();
        all.push((name, Box::new(move |x| op(x, &t))));
    }
    let weighted = move |x: &Tensor| {
        let options = BceWithLogits { pos_weight: Some(&weight), ..BceWithLogits::default() };
        ops::bce_with_logits(x, &target, options)
    };
    all.push(("weighted bce", Box::new(weighted)));
    Ok(all)
}

fn of_vectors() -> Result<Vec<(&'static str, Op)>> {
    let (a, b, c) = (tensor(2)?, tensor(2)?, tensor(3)?);
    let spoken = (whole(&[33, 9], 60)? + 1.0)?;
    let lengths = |n: u32| Tensor::full(n, 33, &Device::Cpu);
    let (frames, counts) = (lengths(70)?, lengths(9)?);
    let ctc = move |x: &Tensor| {
        ops::ctc_loss(&ops::log_softmax(x, 2)?, &spoken, &frames, &counts, CtcLoss::default())
    };
    Ok(vec![
        ("cosine", Box::new(move |x| ops::cosine_similarity(x, &a, 2)?.mean_all())),
        ("triplets", Box::new(move |x| ops::triplet_margin_loss(x, &b, &c, TripletMarginLoss::default()))),
        ("ctc", Box::new(ctc)),
    ])
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let x = tensor(1)?;
    let pools = [1, 2, 5]
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started"));
    for (name, f) in [of_classes()?, of_elements()?, of_vectors()?].into_iter().flatten() {
        let [one, two, five] = [0, 1, 2].map(|n| pools[n].install(|| bits(&f, &x)));
        let one = one?;
        assert!(one == two? && one == five?, "{name} depends on the number of threads");
    }
    Ok(())
}
