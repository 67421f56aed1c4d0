//! A convolution whose outputs go through a line and an activation in the same pass: batch norm in evaluation.

use candle_core::{Result, Shape, Tensor};

use super::{Convolution, Ending, Plan, conv2d};
use crate::cpu::Element;
use crate::ensure;
use crate::ops::activation::Activation;
use crate::ops::fused::Fused;
use crate::ops::kernel::{Kernel, View, detached, on_cpu, wants_gradient};
use crate::ops::scale_shift;

/// `f(conv2d(x, w) · scale + shift)` with a scale and a shift for each output channel; see [`conv2d`].
///
/// Scale and shift `[c_out]`; `f` is the activation. A batch norm that uses its running statistics is such a line
/// ([`RunningStatistics::scale_and_shift`](crate::ops::RunningStatistics::scale_and_shift)). On the CPU it is one pass
/// over memory unless a gradient is asked for: then it is the convolution and the line, one after the other.
///
/// # Errors
/// As [`conv2d`], and if scale or shift is not one number an output channel.
pub fn conv2d_scale_shift(
    x: &Tensor,
    w: &Tensor,
    [scale, shift]: [&Tensor; 2],
    activation: Option<Activation>,
    p: Convolution,
) -> Result<Tensor> {
    let plan = Plan::new("conv2d_scale_shift", x.dims(), w.dims(), p)?;
    for (name, t) in [("scale", scale), ("shift", shift)] {
        let c_out = plan.c_out;
        ensure!(t.dims() == [c_out], "conv2d_scale_shift: {name} must be [{c_out}], got {:?}", t.dims());
    }
    let args = [x, w, scale, shift];
    let is_float = matches!(x.dtype(), candle_core::DType::F32 | candle_core::DType::F64);
    let same = args.iter().all(|t| t.dtype() == x.dtype());
    if !is_float || !same || !on_cpu(&args) || args.iter().any(|t| wants_gradient(t)) {
        return scale_shift(&conv2d(x, w, None, p)?, [scale, shift], activation);
    }
    detached(&Ended { plan, fused: Fused(activation) }, args)
}

#[derive(Clone)]
struct Ended {
    plan: Plan,
    fused: Fused,
}

impl Kernel<4> for Ended {
    const NAME: &'static str = "conv2d_scale_shift";

    fn forward<T: Element>(&self, [x, w, scale, shift]: [View<'_, T>; 4]) -> Result<(Vec<T>, Shape)> {
        let end = Ending::Line { scale: &scale.data, shift: &shift.data, fused: self.fused };
        Ok(self.plan.forward(&x.data, &w.data, end))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::Padding;
    use crate::testing::{assert_close, randn};

    /// Every path: direct, by patches (`f64`, 1×1), depthwise in parts and in planes, groups, a linear layer.
    #[test]
    fn it_is_the_convolution_and_the_line() -> Result<()> {
        for (x, w, groups, stride) in [
            ([2, 6, 9, 8], [5, 6, 3, 3], 1, 1),
            ([1, 6, 9, 8], [4, 3, 3, 3], 2, 2),
            ([2, 7, 8, 8], [9, 7, 1, 1], 1, 1),
            ([2, 6, 40, 150], [6, 1, 3, 3], 6, 1),
            ([3, 4, 5, 5], [8, 1, 3, 3], 4, 2),
            ([2, 3, 4, 4], [5, 3, 4, 4], 1, 1),
            ([0, 3, 4, 4], [5, 3, 3, 3], 1, 1),
        ] {
            for dtype in [DType::F32, DType::F64] {
                let pad = if w[2] == 3 { 1 } else { 0 };
                let p = Convolution {
                    stride: [stride; 2],
                    padding: Padding::Symmetric([pad; 2]),
                    groups,
                    ..Convolution::default()
                };
                let [x, w, scale, shift] =
                    [randn(1, x.as_slice())?, randn(2, w.as_slice())?, randn(3, w[0])?, randn(4, w[0])?]
                        .map(|t| t.to_dtype(dtype).expect("a float"));
                for activation in [None, Some(Activation::Relu6)] {
                    let ours = conv2d_scale_shift(&x, &w, [&scale, &shift], activation, p)?;
                    let two = scale_shift(&conv2d(&x, &w, None, p)?, [&scale, &shift], activation)?;
                    assert_close(&ours, &two, 1e-6, 1e-6)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_trained_gets_its_gradient() -> Result<()> {
        let w = candle_core::Var::from_tensor(&randn(2, (3, 2, 3, 3))?)?;
        let (x, line) = (randn(1, (1, 2, 5, 5))?, Tensor::ones(3, DType::F64, &Device::Cpu)?);
        let y = conv2d_scale_shift(&x, &w, [&line, &line], Some(Activation::Relu), Convolution::default())?;
        assert!(y.sum_all()?.backward()?.get(&w).is_some());
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let (x, w) = (randn(1, (1, 2, 5, 5))?, randn(2, (3, 2, 3, 3))?);
        let (right, wrong) = (randn(3, 3)?, randn(3, 2)?);
        let p = Convolution::default();
        let error = conv2d_scale_shift(&x, &w, [&wrong, &right], None, p).expect_err("too few").to_string();
        assert!(error.contains("scale must be [3], got [2]"), "{error}");
        let error = conv2d_scale_shift(&x, &w, [&right, &wrong], None, p).expect_err("too few").to_string();
        assert!(error.contains("shift must be [3], got [2]"), "{error}");
        Ok(())
    }
}
