//! For the tests of this folder: a kernel against its portable twin.

use candle_core::{Result, Tensor, Var};

use crate::ensure;
use crate::testing::{assert_close, randn};

/// Demands equal outputs, and equal gradients of every input, of two forms of one op.
///
/// The inputs are the graph's leaves; make views of them inside the functions.
pub(super) fn assert_same(
    kernel: impl Fn(&[Tensor]) -> Result<Tensor>,
    portable: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let (y, dy) = with_gradients(kernel, inputs)?;
    let (z, dz) = with_gradients(portable, inputs)?;
    assert_close(&y, &z, tolerance, tolerance)?;
    for (n, pair) in dy.iter().zip(&dz).enumerate() {
        if inputs[n].elem_count() == 0 {
            continue; // Candle's own operations hand an empty tensor through and lose track of it.
        }
        match pair {
            (Some(a), Some(b)) => assert_close(a, b, tolerance, tolerance)?,
            (a, b) => ensure!(
                a.is_none() && b.is_none(),
                "input {n} has a gradient: kernel {}, portable {}",
                a.is_some(),
                b.is_some()
            ),
        }
    }
    Ok(())
}

/// The output of `f` and the gradients of its inputs under a randomly weighted sum.
pub(super) fn with_gradients(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(&x.copy()?)).collect::<Result<_>>()?;
    let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&args)?;
    let weight = randn(0x51, y.dims())?.to_dtype(y.dtype())?;
    let grads = y.mul(&weight)?.sum_all()?.backward()?;
    let dx = vars.iter().map(|v| grads.get(v).cloned()).collect();
    Ok((y, dx))
}
