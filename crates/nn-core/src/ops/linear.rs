//! The affine map of a fully connected layer, with its bias in the same pass.
//!
//! Why not Candle's: its layer is a broadcast matrix product and a broadcast sum, five nodes of the graph where
//! one does, and each costs the backward pass a zero-fill and an addition.

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply2, apply3, detached1, detached2, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::cpu::affine::affine;
use crate::cpu::gemm::{Mat, product};
use crate::ensure;
use crate::graph::Operation;

/// `y = x · wᵀ + b`
///
/// `[…, c_in]`, `w [c_out, c_in]`, `b [c_out]` → `[…, c_out]`
///
/// # Errors
/// If `w` is not a matrix, the last axis of `x` is not its number of columns, or `b` not one number a row.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (c_out, c_in) = w.dims2()?;
    ensure!(
        x.dims().last() == Some(&c_in),
        "linear: the last axis of x must be {c_in} as in w {:?}, got x {:?}",
        w.dims(),
        x.dims()
    );
    if let Some(b) = b {
        ensure!(b.dims() == [c_out], "linear: b must be [{c_out}] for w {:?}, got {:?}", w.dims(), b.dims());
    }
    if let Some(half) = half_precision("linear", &[&[x, w][..], b.as_slice()].concat())? {
        let b = b.map(widen).transpose()?;
        return linear(&widen(x)?, &widen(w)?, b.as_ref())?.to_dtype(half);
    }
    match b {
        Some(b) if on_cpu(&[x, w, b]) => apply3(Linear, x, w, b),
        None if on_cpu(&[x, w]) => apply2(Linear, x, w),
        _ => portable(x, w, b),
    }
}

#[derive(Clone)]
struct Linear;

/// The number of rows of `x` seen as a matrix, and the shape of the output.
fn shapes(x: &[usize], c_in: usize, c_out: usize) -> (usize, Shape) {
    let lead = &x[..x.len() - 1];
    debug_assert_eq!(x[x.len() - 1], c_in);
    (lead.iter().product(), [lead, &[c_out]].concat().into())
}

impl Kernel<2> for Linear {
    const NAME: &'static str = "linear";

    fn forward<T: Element>(&self, [x, w]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let &[c_out, c_in] = w.dims else { unreachable!("checked by linear") };
        let (rows, shape) = shapes(x.dims, c_in, c_out);
        Ok((affine(Mat::new(&x.data, rows, c_in), Mat::new(&w.data, c_out, c_in), None), shape))
    }

    fn backward(&self, [x, w]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dx = if wants_gradient(x) { Some(detached2(InputGradient, dy, w)?) } else { None };
        let dw = if wants_gradient(w) { Some(detached2(WeightGradient, dy, x)?) } else { None };
        Ok([dx, dw])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Linear]
    }
}

impl Kernel<3> for Linear {
    const NAME: &'static str = "linear";

    fn forward<T: Element>(&self, [x, w, b]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let &[c_out, c_in] = w.dims else { unreachable!("checked by linear") };
        let (rows, shape) = shapes(x.dims, c_in, c_out);
        let (x, w) = (Mat::new(&x.data, rows, c_in), Mat::new(&w.data, c_out, c_in));
        Ok((affine(x, w, Some(&b.data)), shape))
    }

    fn backward(&self, [x, w, b]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let [dx, dw] = Kernel::<2>::backward(self, [x, w], y, dy)?;
        let db = if wants_gradient(b) { Some(detached1(BiasGradient, dy)?) } else { None };
        Ok([dx, dw, db])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Linear]
    }
}

/// `dx = dy · w`
#[derive(Clone)]
struct InputGradient;

impl Kernel<2> for InputGradient {
    const NAME: &'static str = "linear-dx";

    fn forward<T: Element>(&self, [dy, w]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let &[c_out, c_in] = w.dims else { unreachable!("checked by linear") };
        let (rows, shape) = shapes(dy.dims, c_out, c_in);
        Ok((product(Mat::new(&dy.data, rows, c_out), Mat::new(&w.data, c_out, c_in)), shape))
    }
}

/// `dw = dyᵀ · x`
#[derive(Clone)]
struct WeightGradient;

impl Kernel<2> for WeightGradient {
    const NAME: &'static str = "linear-dw";

    fn forward<T: Element>(&self, [dy, x]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let (Some(&c_out), Some(&c_in)) = (dy.dims.last(), x.dims.last()) else {
            unreachable!("checked by linear")
        };
        let rows = dy.dims[..dy.dims.len() - 1].iter().product();
        let (dy, x) = (Mat::new(&dy.data, rows, c_out), Mat::new(&x.data, rows, c_in));
        Ok((product(dy.t(), x), (c_out, c_in).into()))
    }
}

/// `db = Σ dy` over all axes but the last.
#[derive(Clone)]
struct BiasGradient;

impl Kernel<1> for BiasGradient {
    const NAME: &'static str = "linear-db";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let Some(&c_out) = dy.dims.last() else { unreachable!("checked by linear") };
        let mut db = vec![T::ZERO; c_out];
        for row in dy.data.chunks_exact(c_out.max(1)) {
            db.iter_mut().zip(row).for_each(|(sum, &d)| *sum += d);
        }
        Ok((db, c_out.into()))
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (c_out, c_in) = w.dims2()?;
    let (rows, shape) = shapes(x.dims(), c_in, c_out);
    let y = x.reshape((rows, c_in))?.matmul(&w.t()?)?;
    let y = match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    y.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn, square_gradient};

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let inputs = [randn(1, (2, 3))?, randn(2, (4, 3))?, randn(3, 4)?];
        crate::ops::oracle::assert_types("linear", |v| linear(&v[0], &v[1], Some(&v[2])), &inputs)
    }

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let w = Tensor::new(&[[3f32, 4.0], [5.0, 6.0], [7.0, 8.0]], &Device::Cpu)?;
        let b = Tensor::new(&[0.5f32, -0.5, 0.0], &Device::Cpu)?;
        assert_eq!(linear(&x, &w, Some(&b))?.to_vec2::<f32>()?, [[11.5, 16.5, 23.0]]);
        assert_eq!(linear(&x, &w, None)?.to_vec2::<f32>()?, [[11.0, 17.0, 23.0]]);
        Ok(())
    }

    /// Leading axes, inputs, outputs.
    const CASES: &[(&[usize], usize, usize)] =
        &[(&[1], 1, 1), (&[3], 5, 2), (&[2, 3], 4, 7), (&[], 3, 2), (&[0], 3, 2), (&[65], 33, 17)];

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for &(lead, c_in, c_out) in CASES {
            let inputs = [randn(1, [lead, &[c_in]].concat())?, randn(2, (c_out, c_in))?, randn(3, c_out)?];
            let [x, w, b] = &inputs.each_ref().map(Var::from_tensor).map(|var| var.expect("a float tensor"));
            for (b, vars) in [(Some(b.as_tensor()), &[x, w, b][..]), (None, &[x, w])] {
                let (ours, oracle) = (linear(x, w, b)?, portable(x, w, b)?);
                assert_close(&ours, &oracle, 1e-12, 1e-12)?;
                for var in vars {
                    let oracle = square_gradient(&oracle, var)?;
                    assert_close(&square_gradient(&ours, var)?, &oracle, 1e-12, 1e-12)?;
                }
            }
            gradcheck(|v| linear(&v[0], &v[1], Some(&v[2])), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let (x, w, b) = (randn(1, (4, 6))?, randn(2, (4, 3))?, randn(3, 5)?);
        gradcheck(
            |v| linear(&v[0].t()?.narrow(0, 1, 3)?, &v[1].t()?, Some(&v[2].narrow(0, 1, 3)?)),
            &[x, w, b],
        )
    }

    #[test]
    fn inputs_that_are_not_trained_get_no_gradient() -> Result<()> {
        let (x, w) = (randn(1, (2, 3))?, Var::from_tensor(&randn(2, (2, 3))?)?);
        let grads = linear(&x, &w, None)?.sum_all()?.backward()?;
        assert!(grads.get(&x).is_none() && grads.get(&w).is_some());
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let (x, w) = (randn(1, (2, 4))?, randn(2, (2, 3))?);
        let error = linear(&x, &w, None).expect_err("4 is not 3").to_string();
        assert!(error.contains("[2, 4]") && error.contains("[2, 3]"), "{error}");
        let error = linear(&randn(1, (2, 3))?, &w, Some(&randn(3, 3)?)).expect_err("3 is not 2").to_string();
        assert!(error.contains("b must be [2]"), "{error}");
        Ok(())
    }
}
