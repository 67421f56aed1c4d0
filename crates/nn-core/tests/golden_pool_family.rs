//! Pooling of sequences, adaptive pooling and global pooling against PyTorch: outputs and gradients.
//!
//! The numbers are made by `tests/golden/pool_family.py`, which has the same tables of options.

use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::ops::{
    AdaptiveAvgPool1d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, Divisor, MaxPool1d, Rounding,
    adaptive_avg_pool1d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d, global_avg_pool,
    global_max_pool, max_pool1d,
};
use nn_core::testing::{Golden, assert_close};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pool_family.safetensors");

const MAX_POOL1D: &[MaxPool1d] = &[
    MaxPool1d::new([2]),
    MaxPool1d { stride: [2], padding: [1], rounding: Rounding::Ceil, ..MaxPool1d::new([3]) },
    MaxPool1d { stride: [1], padding: [1], dilation: [3], ..MaxPool1d::new([3]) },
];

const AVG_POOL1D: &[AvgPool1d] = &[
    AvgPool1d::new([2]),
    AvgPool1d { stride: [2], padding: [1], rounding: Rounding::Ceil, ..AvgPool1d::new([3]) },
    AvgPool1d { stride: [1], padding: [2], divisor: Divisor::Inside, ..AvgPool1d::new([5]) },
];

const ADAPTIVE1D: &[usize] = &[1, 4, 5];
const ADAPTIVE2D: &[[usize; 2]] = &[[1, 1], [6, 7], [5, 3], [1, 1]];

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let mut golden = Golden::open(PATH)?;
    for (n, &options) in MAX_POOL1D.iter().enumerate() {
        golden.check(&format!("max_pool1d.{n}"), &["x"], |x| max_pool1d(&x[0], options))?;
    }
    for (n, &options) in AVG_POOL1D.iter().enumerate() {
        golden.check(&format!("avg_pool1d.{n}"), &["x"], |x| avg_pool1d(&x[0], options))?;
    }
    for (n, &bins) in ADAPTIVE1D.iter().enumerate() {
        let (avg, max) = (AdaptiveAvgPool1d { output: [bins] }, AdaptiveMaxPool1d { output: [bins] });
        golden.check(&format!("adaptive_avg_pool1d.{n}"), &["x"], |x| adaptive_avg_pool1d(&x[0], avg))?;
        golden.check(&format!("adaptive_max_pool1d.{n}"), &["x"], |x| adaptive_max_pool1d(&x[0], max))?;
    }
    for (n, &output) in ADAPTIVE2D.iter().enumerate() {
        let f = |x: &[Tensor]| adaptive_max_pool2d(&x[0], AdaptiveMaxPool2d { output });
        golden.check(&format!("adaptive_max_pool2d.{n}"), &["x"], f)?;
        golden.check(&format!("adaptive_max_pool2d.ties.{n}"), &["x"], f)?;
    }
    golden.check("global_avg_pool", &["x"], |x| global_avg_pool(&x[0]))?;
    golden.check("global_max_pool", &["x"], |x| global_max_pool(&x[0]))?;
    not_a_number(&mut golden)?;
    golden.finish()
}

/// NaN comes through, and its gradient goes where PyTorch says that the maximum is.
fn not_a_number(golden: &mut Golden) -> Result<()> {
    let x = Var::from_tensor(&golden.tensor("nan.x")?)?;
    let y = adaptive_max_pool2d(&x, AdaptiveMaxPool2d { output: [2, 2] })?;
    let shown = |y: &Tensor| y.ne(y)?.where_cond(&Tensor::full(1e9, y.dims(), y.device())?, y);
    assert_close(&shown(&y)?, &shown(&golden.tensor("nan.y")?)?, 0.0, 0.0)?;
    let dx = y.sum_all()?.backward()?.remove(&x).expect("the input's gradient");
    let places = golden.tensor("nan.places")?.flatten_from(2)?; // [B, C, bins]
    let ones = places.ones_like()?.to_dtype(DType::F64)?;
    let expected = dx.zeros_like()?.flatten_from(2)?.scatter_add(&places, &ones, 2)?;
    assert_close(&dx.flatten_from(2)?, &expected, 0.0, 0.0)
}
