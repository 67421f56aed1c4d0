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

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let shape = (70, 33, 61); // enough for several threads, and a multiple of nothing
    let tensor = |seed| testing::randn(seed, shape)?.to_dtype(DType::F32);
    let (x, target, third) = (tensor(1)?, tensor(2)?, tensor(3)?);
    let whole = |count: u32, below: u32| (0..count).map(|i| i * 7919 % below).collect::<Vec<u32>>();
    let pixels = Tensor::from_vec(whole(70 * 61, 33), (70, 61), &Device::Cpu)?;
    let rows = Tensor::from_vec(whole(2310, 61), 2310, &Device::Cpu)?;
    let spoken = (Tensor::from_vec(whole(33 * 9, 60), (33, 9), &Device::Cpu)? + 1.0)?;
    let lengths = |n: u32| Tensor::full(n, 33, &Device::Cpu);
    let (frames, counts) = (lengths(70)?, lengths(9)?);
    let weight = third.get(0)?.get(0)?.abs()?;
    let mut ops: Vec<(&str, Op)> = Vec::new();
    let (t, p, r) = (target.clone(), pixels.clone(), rows);
    ops.push(("labels of columns", Box::new(move |x| ops::cross_entropy(x, &p, Reduction::Mean))));
    ops.push((
        "labels of rows",
        Box::new(move |x| ops::cross_entropy(&x.flatten_to(1)?, &r, Reduction::Mean)),
    ));
    let smooth = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
    ops.push(("soft columns", Box::new(move |x| ops::cross_entropy(x, &t, smooth))));
    let t = target.flatten_to(1)?;
    ops.push(("soft rows", Box::new(move |x| ops::cross_entropy(&x.flatten_to(1)?, &t, Reduction::Mean))));
    ops.push(("nll", Box::new(move |x| ops::nll_loss(x, &pixels, NllLoss::default()))));
    let of_elements: [(&str, fn(&Tensor, &Tensor) -> Result<Tensor>); 5] = [
        ("l1", |x, t| ops::l1(x, t, Reduction::Mean)),
        ("huber", |x, t| ops::huber(x, t, Huber::default())),
        ("smooth l1", |x, t| ops::smooth_l1(x, t, SmoothL1::default())),
        ("bce", |x, t| ops::bce(&ops::sigmoid(x)?, &ops::sigmoid(t)?, Reduction::Mean)),
        ("kl", |x, t| ops::kl_div(x, &ops::sigmoid(t)?, KlDiv::default())),
    ];
    for (name, op) in of_elements {
        let t = target.clone();
        ops.push((name, Box::new(move |x| op(x, &t))));
    }
    let t = target.clone();
    ops.push((
        "weighted bce",
        Box::new(move |x| {
            ops::bce_with_logits(
                x,
                &t,
                BceWithLogits { pos_weight: Some(&weight), ..BceWithLogits::default() },
            )
        }),
    ));
    let t = target.clone();
    ops.push(("cosine", Box::new(move |x| ops::cosine_similarity(x, &t, 2)?.mean_all())));
    ops.push((
        "triplets",
        Box::new(move |x| ops::triplet_margin_loss(x, &target, &third, TripletMarginLoss::default())),
    ));
    ops.push((
        "ctc",
        Box::new(move |x| {
            ops::ctc_loss(&ops::log_softmax(x, 2)?, &spoken, &frames, &counts, CtcLoss::default())
        }),
    ));
    let pools = [1, 2, 5]
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started"));
    for (name, f) in &ops {
        let [one, two, five] = [0, 1, 2].map(|n| pools[n].install(|| bits(f, &x)));
        let one = one?;
        assert!(one == two? && one == five?, "{name} depends on the number of threads");
    }
    Ok(())
}
