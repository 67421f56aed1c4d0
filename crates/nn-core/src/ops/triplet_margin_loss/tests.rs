use candle_core::{Device, Var};

use super::*;
use crate::ops::oracle::{assert_same, assert_types};
use crate::testing::{gradcheck, randn};

const REDUCTIONS: [Reduction; 4] = [Reduction::Mean, Reduction::Sum, Reduction::BatchMean, Reduction::None];

/// Every order of norm, with and without swap.
fn options(reduction: Reduction) -> impl Iterator<Item = TripletMarginLoss> {
    [1.0, 2.0, 3.5, f64::INFINITY].into_iter().flat_map(move |p| {
        let plain = TripletMarginLoss { p, reduction, ..TripletMarginLoss::default() };
        [plain, TripletMarginLoss { swap: true, ..plain }]
    })
}

fn loss(x: &[Tensor], options: TripletMarginLoss) -> Result<Tensor> {
    triplet_margin_loss(&x[0], &x[1], &x[2], options)
}

#[test]
fn worked_example() -> Result<()> {
    let t = |x: [[f64; 2]; 2]| Tensor::new(&x, &Device::Cpu);
    let x = [t([[0.0, 0.0], [0.0, 0.0]])?, t([[3.0, 4.0], [1.0, 0.0]])?, t([[0.0, 2.0], [0.0, 9.0]])?];
    let plain = TripletMarginLoss { eps: 0.0, reduction: Reduction::None, ..TripletMarginLoss::default() };
    assert_eq!(loss(&x, plain)?.to_vec1::<f64>()?, [4.0, 0.0]);
    assert_eq!(loss(&x, TripletMarginLoss { p: 1.0, ..plain })?.to_vec1::<f64>()?, [6.0, 0.0]);
    assert_eq!(loss(&x, TripletMarginLoss { p: f64::INFINITY, ..plain })?.to_vec1::<f64>()?, [3.0, 0.0]);
    let mean = TripletMarginLoss { reduction: Reduction::Mean, ..plain };
    assert_eq!(loss(&x, mean)?.to_scalar::<f64>()?, 2.0);
    // The negative is nearer to the positive than to the anchor.
    let x = [t([[0.0, 0.0]; 2])?, t([[4.0, 0.0]; 2])?, t([[5.0, 0.0]; 2])?];
    assert_eq!(loss(&x, plain)?.to_vec1::<f64>()?, [0.0, 0.0]);
    assert_eq!(loss(&x, TripletMarginLoss { swap: true, ..plain })?.to_vec1::<f64>()?, [4.0, 4.0]);
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    for shape in [&[1usize] as &[usize], &[7], &[0, 3], &[4, 5], &[2, 3, 70], &[130, 300]] {
        for options in [Reduction::Sum, Reduction::None].into_iter().flat_map(options) {
            // Terms are differences of distances, those by powers rounded at each of three hundred.
            for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-4)] {
                let inputs = [1, 2, 3].map(|seed| randn(seed, shape));
                let inputs = inputs.into_iter().map(|x| x?.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
                let twin = |x: &[Tensor]| portable([&x[0], &x[1], &x[2]], options);
                assert_same(|x| loss(x, options), twin, &inputs, tolerance)?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_derivatives_also_of_views() -> Result<()> {
    for options in REDUCTIONS.into_iter().flat_map(options) {
        let inputs = [randn(4, (3, 4))?, randn(5, (4, 3))?, randn(6, (4, 3))?];
        gradcheck(|x| triplet_margin_loss(&x[0].t()?, &x[1], &x[2], options), &inputs)?;
    }
    Ok(())
}

#[test]
fn ties_share_a_gradient() -> Result<()> {
    let t = |x: [f64; 2]| Var::new(&x, &Device::Cpu);
    let (a, p, n) = (t([0.0, 0.0])?, t([0.0, 0.0])?, t([2.0, -2.0])?);
    let options = TripletMarginLoss {
        margin: 9.0,
        eps: 0.0,
        p: f64::INFINITY,
        swap: true,
        ..TripletMarginLoss::default()
    };
    let grads = triplet_margin_loss(&a, &p, &n, options)?.backward()?;
    let get = |v: &Var| grads.get(v).expect("a variable").to_vec1::<f64>();
    // d(a, n) and d(p, n) are one, and so are the two differences in each; d(a, p) = 0 has no direction.
    assert_eq!([get(&a)?, get(&p)?, get(&n)?], [[0.25, -0.25], [0.25, -0.25], [-0.5, 0.5]]);
    Ok(())
}

#[test]
fn types() -> Result<()> {
    let inputs = [randn(1, (3, 5))?, randn(2, (3, 5))?, randn(3, (3, 5))?];
    let options = TripletMarginLoss { margin: 9.0, ..TripletMarginLoss::default() };
    assert_types("triplet_margin_loss", |x| loss(x, options), &inputs)
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let (x, row, number) = (randn(1, (2, 3))?, randn(1, (1, 3))?, randn(1, ())?);
    let plain = TripletMarginLoss::default();
    for (x, options, message) in [
        ([&x, &x, &row], plain, "one shape, got [2, 3], [2, 3] and [1, 3]"),
        ([&number, &number, &number], plain, "vectors need an axis, got shape []"),
        ([&x, &x, &x], TripletMarginLoss { p: 0.0, ..plain }, "p must be positive, got 0"),
    ] {
        let error = triplet_margin_loss(x[0], x[1], x[2], options).expect_err(message).to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }
    Ok(())
}
