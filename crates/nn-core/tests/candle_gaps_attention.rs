//! Where stock Candle 0.11.1 is lacking and these ops are not: attention.
//!
//! Each test shows both. One that fails on Candle's half after an upgrade is good news: the gap is closed.

use nn_core::Ctx;
use nn_core::candle_core::{D, Device, Result, Tensor, Var};
use nn_core::candle_nn;
use nn_core::ops::{Attention, scaled_dot_product_attention};
use nn_core::testing::{assert_close, randn};

#[test]
fn attention_runs_on_a_cpu_and_has_a_gradient() -> Result<()> {
    let [q, k, v] = [1, 2, 3].map(|seed| randn(seed, (2, 3, 5, 8)).and_then(|x| Var::from_tensor(&x)));
    let (q, k, v) = (q?, k?, v?);
    let scale = 8f64.powf(-0.5);
    assert!(candle_nn::ops::sdpa(&q, &k, &v, None, false, scale as f32, 1.0).is_err());

    let y = scaled_dot_product_attention(&q, &k, &v, Attention::default(), &Ctx::eval())?;
    let weights = candle_nn::ops::softmax(&(q.matmul(&k.t()?)? * scale)?, D::Minus1)?;
    let z = weights.matmul(&v)?;
    assert_close(&y, &z, 1e-12, 1e-12)?;
    let (dy, dz) = (y.sqr()?.sum_all()?.backward()?, z.sqr()?.sum_all()?.backward()?);
    for x in [&q, &k, &v] {
        let (Some(a), Some(b)) = (dy.get(x), dz.get(x)) else { panic!("a variable without a gradient") };
        assert_close(a, b, 1e-12, 1e-12)?;
    }
    Ok(())
}

#[test]
fn a_query_may_see_no_key() -> Result<()> {
    let x = randn(1, (1, 1, 2, 4))?;
    let keys = Tensor::zeros((1, 2), nn_core::candle_core::DType::U8, &Device::Cpu)?;
    // Put together from Candle's operations: the softmax of −∞ alone is NaN, and so is every gradient behind it.
    let hidden = Tensor::new(&[[[[f64::NEG_INFINITY; 2]; 2]]], &Device::Cpu)?;
    let stock = candle_nn::ops::softmax(&(x.matmul(&x.t()?)? + hidden)?, D::Minus1)?.matmul(&x)?;
    assert!(stock.flatten_all()?.to_vec1::<f64>()?.iter().all(|y| y.is_nan()));
    let attention = Attention { keys: Some(&keys), ..Attention::default() };
    let y = scaled_dot_product_attention(&x, &x, &x, attention, &Ctx::eval())?;
    assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [0.0; 8]);
    Ok(())
}
