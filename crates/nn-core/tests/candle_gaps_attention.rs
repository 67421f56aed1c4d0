//! What stock Candle's attention lacks on a CPU, and what ours has.

use nn_core::Ctx;
use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{Attention, scaled_dot_product_attention};

#[test]
fn attention_runs_on_a_cpu_and_has_a_gradient() -> Result<()> {
    let x = Var::ones((1, 2, 3, 4), DType::F32, &Device::Cpu)?;
    let stock = candle_nn::ops::sdpa(&x, &x, &x, None, false, 0.5, 1.0);
    assert!(stock.is_err(), "Candle's attention runs on a CPU now");
    let y = scaled_dot_product_attention(&x, &x, &x, Attention::default(), &Ctx::eval())?;
    let grads = y.sum_all()?.backward()?;
    assert_eq!(grads.get(&x).map(Tensor::dims), Some(&[1, 2, 3, 4][..]));
    Ok(())
}
