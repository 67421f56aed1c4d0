//! The cosine of the angle between vectors.
//!
//! Why not Candle's: it has none; from its operations it takes ten passes over memory.

use candle_core::shape::Dim;
use candle_core::{D, Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply2, detached3, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use crate::cpu::axis::Axis;
use crate::cpu::{Element, vector};

/// `Σ aᵢ bᵢ / (max(‖a‖, ε) · max(‖b‖, ε))` along `dim` with `ε = 10⁻⁸`, as in PyTorch.
///
/// Two tensors whose shapes spread over each other → that shape without `dim`. Both get gradients; the bound of a
/// norm is not differentiated, and the norm of a vector of zeros has the gradient 0.
///
/// # Errors
/// If the shapes do not spread over each other, there is no axis `dim`, or the types differ or are no float type.
pub fn cosine_similarity<D: Dim>(a: &Tensor, b: &Tensor, dim: D) -> Result<Tensor> {
    if let Some(half) = half_precision(Norms::Bounded.name(), &[a, b])? {
        return cosine_similarity(&widen(a)?, &widen(b)?, dim)?.to_dtype(half);
    }
    let shape = a.shape().broadcast_shape_binary_op(b.shape(), Norms::Bounded.name())?;
    let axis = dim.to_index(&shape, Norms::Bounded.name())?;
    let rows = |x: &Tensor| -> Result<Tensor> {
        let x = if x.shape() == &shape { x.clone() } else { x.broadcast_as(&shape)? };
        if axis + 1 == shape.rank() {
            return Ok(x);
        }
        let order: Vec<usize> = (0..shape.rank()).filter(|&i| i != axis).chain([axis]).collect();
        x.permute(order)
    };
    cosine_of_rows(&rows(a)?, &rows(b)?, Norms::Bounded)
}

/// Which numbers stand for the norms of two vectors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Norms {
    /// `max(‖a‖, 10⁻⁸)`, of which the bound is not differentiated.
    Bounded,
    /// `√(‖a‖² + 10⁻¹²)`
    Shifted,
}

/// The cosine along the last axis of two tensors of one shape and type.
pub(super) fn cosine_of_rows(a: &Tensor, b: &Tensor, norms: Norms) -> Result<Tensor> {
    if on_cpu(&[a, b]) { apply2(Cosine(norms), a, b) } else { portable(a, b, norms) }
}

impl Norms {
    const fn name(self) -> &'static str {
        match self {
            Self::Bounded => "cosine_similarity",
            Self::Shifted => "cosine_embedding_loss",
        }
    }

    const BOUND: f64 = 1e-8;
    const SHIFT: f64 = 1e-12;

    /// The cosine, and `[p, q]` with the gradient `p · b − q · a` of `a`, from `a · b`, `‖a‖²` and `‖b‖²`.
    #[inline(always)]
    fn of(self, [dot, a, b]: [f64; 3]) -> (f64, [f64; 2]) {
        match self {
            Self::Bounded => {
                let norm = a.sqrt();
                let (bounded, other) = (norm.max(Self::BOUND), b.sqrt().max(Self::BOUND));
                let cosine = dot / bounded / other;
                let q = if norm > 0.0 { cosine / bounded / norm } else { 0.0 };
                (cosine, [1.0 / (bounded * other), q])
            }
            Self::Shifted => {
                let (a, b) = (a + Self::SHIFT, b + Self::SHIFT);
                let p = 1.0 / (a * b).sqrt();
                (dot * p, [p, dot * p / a])
            }
        }
    }
}

/// `a · b`, `‖a‖²` and `‖b‖²`
#[inline(always)]
fn products<T: Element>(a: &[T], b: &[T]) -> [f64; 3] {
    [vector::sum2(a, b, |a, b| a * b), vector::sum(a, |a| a * a), vector::sum(b, |b| b * b)]
}

/// Elementary operations per element, roughly.
const COST: usize = 4;

#[derive(Clone)]
struct Cosine(Norms);

impl Kernel<2> for Cosine {
    const NAME: &'static str = Norms::Bounded.name();

    fn forward<T: Element>(&self, [a, b]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let (before, axis) = (&a.dims[..a.dims.len() - 1], Axis::new(a.dims, a.dims.len() - 1));
        let y = axis.per_fibre(
            COST,
            #[inline(always)]
            |i| T::of(self.0.of(products(axis.fibre(&a.data, i), axis.fibre(&b.data, i))).0),
        );
        Ok((y, before.into()))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let gradient = |of: &Tensor, other: &Tensor| {
            wants_gradient(of).then(|| detached3(Gradient(self.0), of, other, dy)).transpose()
        };
        Ok([gradient(a, b)?, gradient(b, a)?])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }
}

/// The gradient of the first of two vectors.
#[derive(Clone)]
struct Gradient(Norms);

impl Kernel<3> for Gradient {
    const NAME: &'static str = Norms::Bounded.name();

    fn forward<T: Element>(&self, [a, b, dy]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let axis = Axis::new(a.dims, a.dims.len() - 1);
        let da = axis.by_fibres(
            COST,
            #[inline(always)]
            |i, da| {
                let (a, b) = (axis.fibre(&a.data, i), axis.fibre(&b.data, i));
                let dy = dy.data[i].to_f64();
                let [p, q] = self.0.of(products(a, b)).1.map(|slope| T::of(slope * dy));
                da.map2(a, b, |a, b| p * b - q * a);
            },
        );
        Ok((da, a.dims.into()))
    }
}

/// The cosine from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(a: &Tensor, b: &Tensor, norms: Norms) -> Result<Tensor> {
    let dot = (a * b)?.sum(D::Minus1)?;
    let squares = [a.sqr()?.sum(D::Minus1)?, b.sqr()?.sum(D::Minus1)?];
    match norms {
        Norms::Bounded => {
            let [a, b] = squares.map(|square| {
                let norm = root(&square)?;
                &norm + (norm.maximum(Norms::BOUND)? - &norm)?.detach()
            });
            dot / (a? * b?)?
        }
        Norms::Shifted => {
            let [a, b] = squares.map(|square| square + Norms::SHIFT);
            dot / (a? * b?)?.sqrt()?
        }
    }
}

/// The square root, with the gradient 0 at 0.
pub(super) fn root(x: &Tensor) -> Result<Tensor> {
    let zero = x.eq(0.0)?.to_dtype(x.dtype())?;
    (x + &zero)?.sqrt()? - zero
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{assert_close, gradcheck, randn};

    const NORMS: [Norms; 2] = [Norms::Bounded, Norms::Shifted];

    #[test]
    fn worked_example() -> Result<()> {
        let a = Tensor::new(&[[3.0, 4.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], &Device::Cpu)?;
        let b = Tensor::new(&[[4.0, 3.0], [0.0, 2.0], [-2.0, -2.0], [1.0, 1.0]], &Device::Cpu)?;
        let truth = Tensor::new(&[0.96, 0.0, -1.0, 0.0], &Device::Cpu)?;
        assert_close(&cosine_similarity(&a, &b, 1)?, &truth, 1e-15, 0.0)?;
        assert_close(&cosine_similarity(&a.t()?, &b.t()?, 0)?, &truth, 1e-15, 0.0)
    }

    #[test]
    fn zeros_have_the_gradient_of_pytorch() -> Result<()> {
        let x = Var::zeros((1, 4), DType::F64, &Device::Cpu)?;
        let other = Tensor::ones((1, 4), DType::F64, &Device::Cpu)?;
        for norms in NORMS {
            let grads = cosine_of_rows(&x, &other, norms)?.backward()?;
            let truth = if let Norms::Bounded = norms { 5e7 } else { 5e5 }; // 1 / (ε · 2)
            let dx = grads.get(&x).expect("a variable");
            assert_close(dx, &Tensor::full(truth, (1, 4), &Device::Cpu)?, 1e-9, 0.0)?;
            let portable = portable(&x, &other, norms)?.backward()?;
            assert_close(portable.get(&x).expect("a variable"), dx, 1e-9, 0.0)?;
        }
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin() -> Result<()> {
        for norms in NORMS {
            for shape in [&[1usize] as &[usize], &[7], &[0, 3], &[3, 5], &[2, 3, 300], &[40, 1000]] {
                for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                    let inputs = [randn(1, shape)?.to_dtype(dtype)?, randn(2, shape)?.to_dtype(dtype)?];
                    assert_same(
                        |x| cosine_of_rows(&x[0], &x[1], norms),
                        |x| portable(&x[0], &x[1], norms),
                        &inputs,
                        tolerance,
                    )?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives_also_of_views() -> Result<()> {
        for norms in NORMS {
            let inputs = [randn(3, (4, 3))?, randn(4, (3, 4))?];
            gradcheck(|x| cosine_of_rows(&x[0].t()?, &x[1], norms), &inputs)?;
        }
        for dim in 0..3 {
            let inputs = [randn(5, (2, 3, 4))?, randn(6, (3, 1))?];
            gradcheck(|x| cosine_similarity(&x[0], &x[1], dim), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        let inputs = [randn(7, (3, 5))?, randn(8, (3, 5))?];
        assert_types("cosine_similarity", |x| cosine_similarity(&x[0], &x[1], 1), &inputs)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let (a, b) = (randn(1, (2, 3))?, randn(1, (2, 4))?);
        let error = cosine_similarity(&a, &b, 1).expect_err("other shapes").to_string();
        assert!(error.contains("cosine_similarity") && error.contains("[2, 4]"), "{error}");
        assert!(cosine_similarity(&a, &a, 2).expect_err("rank 2").to_string().contains("cosine_similarity"));
        Ok(())
    }
}
