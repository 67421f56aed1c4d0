//! A leaky ReLU whose slope is trained.
//!
//! Source: He et al. 2015, arXiv:1502.01852, §2.1; numbers and gradients are those of `torch.nn.PReLU`.

use candle_core::{Result, Tensor};

use super::precision::{half_precision, widen};
use crate::ensure;

const NAME: &str = "prelu";

/// `x` where `x > 0`, else `slope · x`, with one slope in all or one a channel.
///
/// `x` `[B, C, …]` (or any shape with one slope), `slope` `[1]` or `[C]` → `x`'s shape. A composition: it is memory that
/// limits it, and networks have few of them.
///
/// # Errors
/// If `slope` is neither one number nor one a channel, or types differ.
pub fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[x, slope])? {
        return prelu(&widen(x)?, &widen(slope)?)?.to_dtype(half);
    }
    let (dims, channels) = (x.dims(), slope.elem_count());
    let fits = slope.rank() == 1 && (channels == 1 || dims.get(1) == Some(&channels));
    ensure!(fits, "{NAME}: x {dims:?} needs slope [1], or one a channel, got {:?}", slope.dims());
    let mut shape = vec![1; dims.len()];
    if channels > 1 {
        shape[1] = channels;
    }
    let negative = x.broadcast_mul(&slope.reshape(shape)?)?;
    x.gt(0.0)?.where_cond(x, &negative)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::oracle::assert_types;
    use crate::testing::{gradcheck, randn};

    #[test]
    fn a_worked_example_with_its_gradients() -> Result<()> {
        let x = candle_core::Var::new(&[[-2f32, 0.0, 3.0], [-1.0, -4.0, 5.0]], &Device::Cpu)?;
        let slope = candle_core::Var::new(&[0.5f32, 0.25, 1.0], &Device::Cpu)?;
        let y = prelu(&x, &slope)?;
        assert_eq!(y.to_vec2::<f32>()?, [[-1.0, 0.0, 3.0], [-0.5, -1.0, 5.0]]);
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&slope).expect("a variable").to_vec1::<f32>()?, [-3.0, -4.0, 0.0]);
        let dx = grads.get(&x).expect("a variable").to_vec2::<f32>()?;
        assert_eq!(dx, [[0.5, 0.25, 1.0], [0.5, 0.25, 1.0]]); // at 0 the slope, as in PyTorch
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        for (x, slope) in [(vec![3, 4], 1), (vec![2, 3, 4, 5], 3), (vec![5], 1)] {
            gradcheck(|v| prelu(&v[0], &v[1]), &[randn(1, x.as_slice())?, randn(2, slope)?])?;
        }
        assert_types(NAME, |v| prelu(&v[0], &v[1]), &[randn(1, (2, 3))?, randn(2, 3)?])
    }

    #[test]
    fn slopes_that_do_not_fit_are_named() -> Result<()> {
        let error = prelu(&randn(1, (2, 3))?, &randn(2, 2)?).expect_err("two slopes").to_string();
        assert!(error.contains("prelu: x [2, 3] needs slope [1], or one a channel, got [2]"), "{error}");
        Ok(())
    }
}
