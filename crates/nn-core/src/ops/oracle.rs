//! For the tests of this folder: a kernel against its portable twin.

use candle_core::{DType, Result, Tensor, Var};

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

/// Demands that `f` computes in `f32` what it is given in half precision, gradients too, and refuses integers by name.
pub(super) fn assert_types(
    name: &str,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<()> {
    let cast = |dtype| inputs.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>();
    for (dtype, unit) in [(DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let halves = cast(dtype)?;
        let (y, dx) = with_gradients(&f, &halves)?;
        ensure!(y.dtype() == dtype, "{name} of {dtype:?} is {:?}", y.dtype());
        let wide = halves.iter().map(|x| x.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
        let (z, dz) = with_gradients(&f, &wide)?;
        assert_close(&y, &z, unit, unit * 1e-2)?;
        for pair in dx.iter().zip(&dz) {
            let (Some(a), Some(b)) = pair else { candle_core::bail!("{name} of {dtype:?} lacks a gradient") };
            // The output's gradient was rounded before it came in.
            let largest = b.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
            assert_close(a, b, 2.0 * unit, unit * f64::from(largest))?;
        }
    }
    let Err(error) = f(&cast(DType::U32)?) else { candle_core::bail!("{name} takes integers") };
    let error = error.to_string();
    ensure!(
        error.contains(name) && error.contains("U32"),
        "{name} does not name the type it refuses: {error}"
    );
    Ok(())
}
