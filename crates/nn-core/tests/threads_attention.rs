//! Attention gives the same bits on any number of threads.

use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::ops::{Attention, scaled_dot_product_attention};
use nn_core::{Ctx, testing};

/// The bits of the output and of the gradients, for two heads of keys and values that four of queries share.
fn bits(attention: Attention<'_>) -> Result<Vec<u32>> {
    let input = |seed, heads| -> Result<Var> {
        Var::from_tensor(&testing::randn(seed, (1, heads, 300, 40))?.to_dtype(DType::F32)?)
    };
    let x = [input(1, 4)?, input(2, 2)?, input(3, 2)?];
    let y = scaled_dot_product_attention(&x[0], &x[1], &x[2], attention, &Ctx::train(1))?;
    let grads = y.sqr()?.sum_all()?.backward()?;
    let mut numbers = y.flatten_all()?.to_vec1::<f32>()?;
    for x in &x {
        numbers.extend(grads.get(x).map(Tensor::flatten_all).expect("a gradient")?.to_vec1::<f32>()?);
    }
    Ok(numbers.into_iter().map(f32::to_bits).collect())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let pools = [1, 2, 5]
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started"));
    let plain = Attention::default();
    for attention in [plain, Attention { causal: true, dropout: 0.2, ..plain }] {
        let [one, two, five] = [0, 1, 2].map(|n| pools[n].install(|| bits(attention)));
        let one = one?;
        assert!(one == two? && one == five?, "{attention:?} depends on the number of threads");
    }
    Ok(())
}
