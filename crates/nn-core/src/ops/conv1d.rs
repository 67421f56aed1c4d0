//! One-dimensional convolution of sequences, channels first: the two-dimensional one on images of one row.
//!
//! Why not Candle's: it takes one number of padding for both ends, and its gradient is a convolution whose kernel is as
//! long as the sequence.

use candle_core::{Result, Shape, Tensor};

use super::conv2d::{Convolution, Plan, check_bias, check_channels};
use super::kernel::{Kernel, Reads, View, apply2, apply3, on_cpu};
use super::precision::{half_precision, widen};
use crate::cpu::Element;
use crate::ensure;

/// `y[o] = b[o] + Σ w[o, i] ⋆ x[i]` over the input channels `i` of `o`'s group.
///
/// `[B, c_in, L]`, `w [c_out, c_in / groups, k]`, `b [c_out]` → `[B, c_out, L']` with
/// `L' = ⌊(L + padding − (k − 1) · dilation − 1) / stride⌋ + 1`.
///
/// # Errors
/// If `x` or `w` is not of rank 3, the channels do not fit the groups, `b` is not one number an output channel,
/// an option is zero, the kernel exceeds the padded input, or the types differ or are integers.
pub fn conv1d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, p: Convolution<1>) -> Result<Tensor> {
    let plan = plan(x.dims(), w.dims(), p)?;
    check_bias("conv1d", b, plan.c_out, w)?;
    if let Some(half) = half_precision("conv1d", &[&[x, w][..], b.as_slice()].concat())? {
        let b = b.map(widen).transpose()?;
        return conv1d(&widen(x)?, &widen(w)?, b.as_ref(), p)?.to_dtype(half);
    }
    match b {
        Some(b) if on_cpu(&[x, w, b]) => apply3(OfRows(plan), x, w, b),
        None if on_cpu(&[x, w]) => apply2(OfRows(plan), x, w),
        _ => portable(plan, x, w, b),
    }
}

fn plan(x: &[usize], w: &[usize], p: Convolution<1>) -> Result<Plan> {
    let (&[batch, c_in, length], &[c_out, per_group, kernel]) = (x, w) else {
        candle_core::bail!("conv1d: x must be [B, C, L] and w [c_out, c_in / groups, k], got {x:?} and {w:?}")
    };
    check_channels("conv1d", x, w, p.groups)?;
    ensure!(kernel > 0, "conv1d: the kernel must have taps, got w {w:?}");
    let p = Convolution {
        stride: [1, p.stride[0]],
        padding: p.padding.of_a_row(),
        dilation: [1, p.dilation[0]],
        groups: p.groups,
    };
    Plan::new("conv1d", &[batch, c_in, 1, length], &[c_out, per_group, 1, kernel], p)
}

/// A kernel for images of one row, on sequences: the same numbers, with an axis less.
#[derive(Clone)]
pub(super) struct OfRows<K>(pub(super) K);

impl<K: Kernel<N>, const N: usize> Kernel<N> for OfRows<K> {
    const NAME: &'static str = K::NAME;

    fn forward<T: Element>(&self, xs: [View<'_, T>; N]) -> Result<(Vec<T>, Shape)> {
        let (y, shape) = self.0.forward(xs)?;
        let &[batch, channels, _, length] = shape.dims() else { unreachable!("a kernel for images") };
        Ok((y, (batch, channels, length).into()))
    }

    fn backward(&self, xs: [&Tensor; N], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; N]> {
        let mut gradients = self.0.backward(xs, y, dy)?;
        for gradient in gradients.iter_mut().flatten().filter(|d| d.rank() == 4) {
            *gradient = gradient.squeeze(2)?;
        }
        Ok(gradients)
    }

    fn reads(&self) -> Reads {
        self.0.reads()
    }
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(plan: Plan, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    plan.portable(&x.unsqueeze(2)?, &w.unsqueeze(2)?, b)?.squeeze(2)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::oracle::{assert_same, assert_types};
    use super::super::padding::Padding;
    use super::*;
    use crate::testing::{gradcheck, randn};

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 2.0, 4.0, 7.0]]], &Device::Cpu)?;
        let w = Tensor::new(&[[[-1f32, 1.0]]], &Device::Cpu)?;
        let b = Tensor::new(&[10f32], &Device::Cpu)?;
        let y = conv1d(&x, &w, Some(&b), Convolution::default())?;
        assert_eq!(y.to_vec3::<f32>()?, [[[11.0, 12.0, 13.0]]]); // differences of neighbours
        Ok(())
    }

    /// Input, weight, options.
    fn cases() -> Vec<([usize; 3], [usize; 3], Convolution<1>)> {
        let plain = Convolution::default();
        let padded = |n| Convolution { padding: Padding::Symmetric([n]), ..plain };
        vec![
            ([2, 3, 9], [4, 3, 3], plain),
            ([1, 1, 1], [1, 1, 1], plain),
            ([3, 4, 6], [2, 4, 1], plain),
            ([2, 4, 11], [6, 2, 5], Convolution { groups: 2, stride: [2], ..padded(2) }),
            ([2, 3, 12], [6, 1, 3], Convolution { groups: 3, dilation: [4], ..padded(4) }),
            ([1, 2, 8], [2, 2, 2], Convolution { padding: Padding::Asymmetric([[1, 0]]), ..plain }), // causal
            ([1, 2, 7], [3, 2, 4], Convolution { stride: [3], padding: Padding::Same, ..plain }),
            ([2, 3, 5], [4, 3, 5], plain), // the kernel covers the sequence
        ]
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for (x, w, p) in cases() {
            let inputs = [randn(1, &x)?, randn(2, &w)?, randn(3, w[0])?];
            let bare = |v: &[Tensor]| portable(plan(v[0].dims(), v[1].dims(), p)?, &v[0], &v[1], None);
            assert_same(|v| conv1d(&v[0], &v[1], None, p), bare, &inputs[..2], 1e-11)?;
            let full = |v: &[Tensor]| portable(plan(v[0].dims(), v[1].dims(), p)?, &v[0], &v[1], v.get(2));
            assert_same(|v| conv1d(&v[0], &v[1], v.get(2), p), full, &inputs, 1e-11)?;
            gradcheck(|v| conv1d(&v[0], &v[1], v.get(2), p), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn no_sequences_give_no_sequences() -> Result<()> {
        let y = conv1d(&randn(1, (0, 2, 5))?, &randn(2, (3, 2, 2))?, None, Convolution::default())?;
        assert_eq!(y.dims(), [0, 3, 4]);
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let p = Convolution { stride: [2], ..Convolution::default() };
        let inputs = [randn(1, (2, 7, 3))?, randn(2, (3, 3, 4))?];
        gradcheck(
            |v| conv1d(&v[0].transpose(1, 2)?, &v[1].transpose(0, 1)?.narrow(2, 1, 3)?, None, p),
            &inputs,
        )
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let inputs = [randn(1, (2, 3, 6))?, randn(2, (4, 3, 3))?, randn(3, 4)?];
        assert_types("conv1d", |v| conv1d(&v[0], &v[1], v.get(2), Convolution::default()), &inputs)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let plain = Convolution::default();
        for (x, w, p, part) in [
            (&[3, 5][..], &[2, 3, 3][..], plain, "x must be [B, C, L]"),
            (&[1, 4, 5], &[2, 3, 3], plain, "[2, 3, 3], got x [1, 4, 5]"),
            (&[1, 4, 5], &[3, 2, 3], Convolution { groups: 2, ..plain }, "with 2 groups"),
            (&[1, 3, 5], &[2, 3, 3], Convolution { stride: [0], ..plain }, "stride must be at least 1"),
            (&[1, 3, 5], &[2, 3, 3], Convolution { dilation: [0], ..plain }, "dilation must be at least 1"),
            (&[1, 3, 5], &[2, 3, 0], plain, "the kernel must have taps"),
            (&[1, 3, 5], &[2, 3, 6], plain, "conv1d: the window must fit into the padded input"),
        ] {
            let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, &Device::Cpu);
            let error = conv1d(&zeros(x)?, &zeros(w)?, None, p).expect_err(part).to_string();
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        let (x, w) = (randn(1, (1, 1, 3))?, randn(2, (2, 1, 3))?);
        let error = conv1d(&x, &w, Some(&randn(3, 3)?), plain).expect_err("three biases").to_string();
        assert!(error.contains("b must be [2]"), "{error}");
        Ok(())
    }
}
