//! Which types an op runs in: `f32` and `f64` as they are, half precision in `f32`, integers not at all.

use candle_core::{DType, Result, Tensor};

use crate::ensure;

/// Refuses integers and arguments of different types, and gives the type to round to if they are of half precision.
///
/// An op then calls itself on [`widen`]ed arguments and rounds its result once: sums accumulate in `f32`, as
/// PyTorch's do.
pub(crate) fn half_precision(op: &str, xs: &[&Tensor]) -> Result<Option<DType>> {
    let dtype = xs[0].dtype();
    for x in xs {
        ensure!(
            matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64),
            "{op}: arguments must be f16, bf16, f32 or f64, got {:?}",
            x.dtype()
        );
        ensure!(x.dtype() == dtype, "{op}: arguments must be of one type, got {dtype:?} and {:?}", x.dtype());
    }
    Ok(matches!(dtype, DType::F16 | DType::BF16).then_some(dtype))
}

/// A tensor of half precision in `f32`, differentiably.
pub(crate) fn widen(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn types_are_told_apart() -> Result<()> {
        let of = |dtype| Tensor::zeros(1, dtype, &Device::Cpu);
        assert_eq!(half_precision("op", &[&of(DType::F64)?])?, None);
        assert_eq!(half_precision("op", &[&of(DType::BF16)?, &of(DType::BF16)?])?, Some(DType::BF16));
        for (xs, message) in [
            ([of(DType::F32)?, of(DType::F64)?], "op: arguments must be of one type, got F32 and F64"),
            ([of(DType::F32)?, of(DType::U32)?], "op: arguments must be f16, bf16, f32 or f64, got U32"),
        ] {
            let error = half_precision("op", &[&xs[0], &xs[1]]).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
