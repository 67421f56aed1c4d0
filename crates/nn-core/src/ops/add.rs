//! The sum of two tensors.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())).

use candle_core::{Result, Tensor};

use super::add_activate::sum;
use super::expand::expand;
use super::precision::{half_precision, widen};

/// `a + b`; one of them may be smaller, and is then repeated as [`expand`] does it. Also half precision.
///
/// # Errors
/// If neither is, or can be repeated to, the shape of the other; if types differ or are no float types.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_precision("add", &[a, b])? {
        return add(&widen(a)?, &widen(b)?)?.to_dtype(half);
    }
    let (dims, others) = (a.dims(), b.dims());
    let larger = if a.elem_count() < b.elem_count() { b } else { a }.shape();
    let (Ok(a), Ok(b)) = (expand(a, larger), expand(b, larger)) else {
        candle_core::bail!("add: one must be, or repeat to, the other's shape, got {dims:?} and {others:?}")
    };
    sum(&a, &b)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let (a, b) = (
            Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?,
            Tensor::new(&[10f32, 20.0], &Device::Cpu)?,
        );
        assert_eq!(add(&a, &a)?.to_vec2::<f32>()?, [[2.0, 4.0], [6.0, 8.0]]);
        assert_eq!(add(&a, &b)?.to_vec2::<f32>()?, [[11.0, 22.0], [13.0, 24.0]]);
        assert_eq!(add(&b, &a)?.to_vec2::<f32>()?, [[11.0, 22.0], [13.0, 24.0]]);
        Ok(())
    }

    #[test]
    fn it_is_candles_and_its_gradients_check() -> Result<()> {
        for (a, b) in [
            (vec![2, 3], vec![2, 3]),
            (vec![4, 2, 3], vec![1, 2, 3]),
            (vec![3], vec![2, 3]),
            (vec![2, 3], vec![]),
        ] {
            let xs = [randn(1, a.as_slice())?, randn(2, b.as_slice())?];
            assert_same(|x| add(&x[0], &x[1]), |x| x[0].broadcast_add(&x[1]), &xs, 1e-14)?;
            gradcheck(|x| add(&x[0], &x[1])?.sqr(), &xs)?;
        }
        let x = Var::from_tensor(&randn(3, (2, 3))?)?;
        let grads = crate::backward(&add(&x, &x)?)?;
        assert_close(grads.get(&x).expect("trained"), &(x.ones_like()? * 2.0)?, 0.0, 0.0)
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("add", |x| add(&x[0], &x[1]), &[randn(1, (3, 4))?, randn(2, 4)?])
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        for (a, b) in [(vec![2, 3], vec![2]), (vec![2, 1], vec![1, 3])] {
            let error =
                add(&randn(1, a.as_slice())?, &randn(2, b.as_slice())?).expect_err("no fit").to_string();
            assert!(error.contains(&format!("got {a:?} and {b:?}")), "{error}");
        }
        Ok(())
    }
}
