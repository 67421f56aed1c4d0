//! Transposed one-dimensional convolution: the two-dimensional one on images of one row.
//!
//! Why not Candle's: it has no gradient.

use candle_core::{Result, Tensor};

use super::conv_transpose2d::{self, Transposed, TransposedConvolution, transposed};
use super::conv1d::OfRows;
use super::conv2d::{Plan, check_bias};
use super::kernel::{apply2, apply3, on_cpu};
use super::precision::{half_precision, widen};

/// `y[o] = b[o] + Σ` over the input channels `i` of `o`'s group, places and taps: `x[i]` at a place times `w[i, o]` at a
/// tap goes to `y` at `place · stride + tap · dilation − padding`.
///
/// `[B, c_in, L]`, `w [c_in, c_out / groups, k]`, `b [c_out]` → `[B, c_out, L']` with
/// `L' = (L − 1) · stride + (k − 1) · dilation + 1 + output_padding − 2 · padding`.
///
/// # Errors
/// If `x` or `w` is not of rank 3, the channels do not fit the groups, `b` is not one number an output channel,
/// a size but the batch, a stride, a dilation or `groups` is zero, `output_padding` is as large as both stride and
/// dilation, the padding leaves nothing, or the types differ or are integers.
pub fn conv_transpose1d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    p: TransposedConvolution<1>,
) -> Result<Tensor> {
    let plan = plan(x.dims(), w.dims(), p)?;
    check_bias("conv_transpose1d", b, plan.c_in, w)?;
    if let Some(half) = half_precision("conv_transpose1d", &[&[x, w][..], b.as_slice()].concat())? {
        let b = b.map(widen).transpose()?;
        return conv_transpose1d(&widen(x)?, &widen(w)?, b.as_ref(), p)?.to_dtype(half);
    }
    match b {
        Some(b) if on_cpu(&[x, w, b]) => apply3(OfRows(Transposed(plan)), x, w, b),
        None if on_cpu(&[x, w]) => apply2(OfRows(Transposed(plan)), x, w),
        _ => portable(plan, x, w, b),
    }
}

fn plan(x: &[usize], w: &[usize], p: TransposedConvolution<1>) -> Result<Plan> {
    let (&[batch, c_in, length], &[_, per_group, kernel]) = (x, w) else {
        candle_core::bail!(
            "conv_transpose1d: x must be [B, C, L] and w [c_in, c_out / groups, k], got {x:?} and {w:?}"
        )
    };
    conv_transpose2d::check("conv_transpose1d", x, w, p.groups)?;
    let p = TransposedConvolution {
        stride: [1, p.stride[0]],
        padding: [0, p.padding[0]],
        output_padding: [0, p.output_padding[0]],
        dilation: [1, p.dilation[0]],
        groups: p.groups,
    };
    transposed("conv_transpose1d", [batch, c_in, per_group], [[1, length], [1, kernel]], p)
}

/// The same function from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(plan: Plan, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    conv_transpose2d::portable(plan, &x.unsqueeze(2)?, &w.unsqueeze(2)?, b)?.squeeze(2)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::oracle::{assert_same, assert_types};
    use super::*;
    use crate::testing::{gradcheck, randn};

    const PLAIN: TransposedConvolution<1> =
        TransposedConvolution { stride: [1], padding: [0], output_padding: [0], dilation: [1], groups: 1 };

    #[test]
    fn a_worked_example() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 2.0]]], &Device::Cpu)?;
        let w = Tensor::new(&[[[1f32, 10.0, 100.0]]], &Device::Cpu)?;
        let y = conv_transpose1d(&x, &w, None, TransposedConvolution { stride: [2], padding: [1], ..PLAIN })?;
        assert_eq!(y.to_vec3::<f32>()?, [[[10.0, 102.0, 20.0]]]);
        Ok(())
    }

    /// Input, weight, options.
    const CASES: &[([usize; 3], [usize; 3], TransposedConvolution<1>)] = &[
        ([2, 3, 5], [3, 2, 3], PLAIN),
        ([1, 2, 1], [2, 2, 1], PLAIN),
        ([2, 4, 4], [4, 3, 4], TransposedConvolution { groups: 2, stride: [2], padding: [1], ..PLAIN }),
        ([1, 2, 5], [2, 3, 3], TransposedConvolution { stride: [3], output_padding: [2], ..PLAIN }),
        ([2, 2, 5], [2, 1, 3], TransposedConvolution { groups: 2, dilation: [2], padding: [3], ..PLAIN }),
        ([1, 3, 4], [3, 2, 16], TransposedConvolution { stride: [8], padding: [4], ..PLAIN }),
    ];

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        for &(x, w, p) in CASES {
            let inputs = [randn(1, &x)?, randn(2, &w)?, randn(3, w[1] * p.groups)?];
            for inputs in [&inputs[..], &inputs[..2]] {
                assert_same(
                    |v| conv_transpose1d(&v[0], &v[1], v.get(2), p),
                    |v| portable(plan(v[0].dims(), v[1].dims(), p)?, &v[0], &v[1], v.get(2)),
                    inputs,
                    1e-11,
                )?;
            }
            gradcheck(|v| conv_transpose1d(&v[0], &v[1], v.get(2), p), &inputs)?;
        }
        Ok(())
    }

    #[test]
    fn views_are_read_as_they_are() -> Result<()> {
        let p = TransposedConvolution { stride: [2], ..PLAIN };
        let inputs = [randn(1, (2, 4, 3))?, randn(2, (2, 3, 3))?];
        gradcheck(|v| conv_transpose1d(&v[0].transpose(1, 2)?, &v[1].transpose(0, 1)?, None, p), &inputs)
    }

    #[test]
    fn half_precision_runs_in_single_and_integers_are_refused() -> Result<()> {
        let inputs = [randn(1, (2, 3, 6))?, randn(2, (3, 4, 3))?, randn(3, 4)?];
        assert_types("conv_transpose1d", |v| conv_transpose1d(&v[0], &v[1], v.get(2), PLAIN), &inputs)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, &Device::Cpu);
        for (x, w, p, part) in [
            (&[4, 5][..], &[4, 2, 3][..], PLAIN, "x must be [B, C, L]"),
            (&[1, 3, 5], &[4, 2, 3], PLAIN, "[4, 2, 3], got x [1, 3, 5]"),
            (
                &[1, 4, 5],
                &[4, 2, 3],
                TransposedConvolution { stride: [0], ..PLAIN },
                "stride must be at least 1",
            ),
            (
                &[1, 4, 5],
                &[4, 2, 3],
                TransposedConvolution { output_padding: [1], ..PLAIN },
                "output_padding must be less",
            ),
            (&[1, 4, 5], &[4, 2, 3], TransposedConvolution { padding: [9], ..PLAIN }, "must leave something"),
        ] {
            let error = conv_transpose1d(&zeros(x)?, &zeros(w)?, None, p).expect_err(part).to_string();
            assert!(error.contains(part) && error.contains("conv_transpose1d"), "{part} is not in: {error}");
        }
        Ok(())
    }
}
