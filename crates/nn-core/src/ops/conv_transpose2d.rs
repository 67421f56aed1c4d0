//! Transposed two-dimensional convolution: what a convolution's input gradient does, as a forward pass.
//!
//! Why not Candle's: it has no groups and one number for height and width, and its loops are scalar.
//! Source: Zeiler et al. 2010, "Deconvolutional networks"; Long et al. 2015, arXiv:1411.4038, §3.3, for upsampling.

use candle_core::{Result, Shape, Tensor};

use super::conv2d::backward::{Bias, Weight};
use super::conv2d::{Plan, check_bias, check_size};
use super::kernel::{Kernel, Reads, View, apply2, apply3, detached1, detached2, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::patches::Patches;
use crate::ensure;
use crate::graph::Operation;

/// The convolution, along `N` axes, that is transposed: its strides spread the input's pixels and its padding cuts off
/// the output's edge. The defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedConvolution<const N: usize = 2> {
    /// Output pixels from the kernel on one input pixel to the kernel on the next.
    pub stride: [usize; N],
    /// Output pixels cut off at each end.
    pub padding: [usize; N],
    /// Output pixels more at the end: a convolution with a stride has the same output for several sizes of its input,
    /// and this tells which of them is meant.
    pub output_padding: [usize; N],
    /// From a tap of the kernel to the next, in output pixels.
    pub dilation: [usize; N],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl<const N: usize> Default for TransposedConvolution<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [0; N], output_padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

/// `y[o] = b[o] + Σ` over the input channels `i` of `o`'s group, pixels and taps: `x[i]` at a pixel times `w[i, o]` at a
/// tap goes to the pixel of `y` at `pixel · stride + tap · dilation − padding`.
///
/// `[B, c_in, H, W]`, `w [c_in, c_out / groups, kh, kw]`, `b [c_out]` → `[B, c_out, H', W']` with
/// `H' = (H − 1) · stride + (kh − 1) · dilation + 1 + output_padding − 2 · padding`.
///
/// # Errors
/// If `x` or `w` is not of rank 4, the channels do not fit the groups, `b` is not one number an output channel,
/// a size but the batch, a stride, a dilation or `groups` is zero, `output_padding` is as large as both stride and
/// dilation, the padding leaves nothing, or the types differ or are integers.
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    p: TransposedConvolution,
) -> Result<Tensor> {
    let (&[batch, c_in, h, width], &[_, per_group, kh, kw]) = (x.dims(), w.dims()) else {
        candle_core::bail!(
            "conv_transpose2d: x must be [B, C, H, W] and w [c_in, c_out / groups, kh, kw], got {:?} and {:?}",
            x.dims(),
            w.dims()
        )
    };
    check("conv_transpose2d", x.dims(), w.dims(), p.groups)?;
    let plan = transposed("conv_transpose2d", [batch, c_in, per_group], [[h, width], [kh, kw]], p)?;
    check_bias("conv_transpose2d", b, plan.c_in, w)?;
    if let Some(half) = half_precision("conv_transpose2d", &[&[x, w][..], b.as_slice()].concat())? {
        let b = b.map(widen).transpose()?;
        return conv_transpose2d(&widen(x)?, &widen(w)?, b.as_ref(), p)?.to_dtype(half);
    }
    match b {
        Some(b) if on_cpu(&[x, w, b]) => apply3(Transposed(plan), x, w, b),
        None if on_cpu(&[x, w]) => apply2(Transposed(plan), x, w),
        _ => portable(plan, x, w, b),
    }
}

/// That `x [B, c_in, …]` and `w [c_in, c_out / groups, …]` have the channels of so many groups.
pub(super) fn check(who: &str, x: &[usize], w: &[usize], groups: usize) -> Result<()> {
    ensure!(groups > 0, "{who}: groups must be at least 1, got 0");
    ensure!(
        x[1] == w[0] && x[1].is_multiple_of(groups),
        "{who}: with {groups} groups the input channels must be those of w {w:?}, got x {x:?}"
    );
    Ok(())
}

/// The convolution from the output's size to the input's, whose input gradient is wanted.
pub(super) fn transposed(
    who: &str,
    [batch, c_in, per_group]: [usize; 3],
    [input, kernel]: [[usize; 2]; 2],
    p: TransposedConvolution,
) -> Result<Plan> {
    let window = |axis: usize| -> Result<(Window, usize)> {
        let name = ["height", "width"][axis];
        let (stride, dilation, padding) = (p.stride[axis], p.dilation[axis], p.padding[axis]);
        let sizes =
            [("input", input[axis]), ("kernel", kernel[axis]), ("stride", stride), ("dilation", dilation)];
        for (what, value) in sizes {
            ensure!(value > 0, "{who}: {what} must be at least 1 along the {name}, got {value}");
        }
        let more = p.output_padding[axis];
        ensure!(
            more < stride.max(dilation),
            "{who}: output_padding must be less than stride {stride} or dilation {dilation} along the {name}, got {more}"
        );
        let w = Window {
            kernel: kernel[axis],
            stride,
            dilation,
            padding: [padding; 2],
            rounding: Rounding::Floor,
        };
        let whole = (input[axis] - 1).saturating_mul(stride).saturating_add(w.span()).saturating_add(more);
        let output = whole.saturating_sub(padding.saturating_mul(2));
        ensure!(
            output > 0,
            "{who}: padding must leave something of {whole} pixels along the {name}, got {padding} at each end"
        );
        Ok((w, output))
    };
    let ((rows, h_out), (cols, w_out)) = (window(0)?, window(1)?);
    let c_out = per_group.saturating_mul(p.groups);
    check_size(who, [batch, c_in.max(c_out), kernel[0].saturating_mul(kernel[1])], [h_out, w_out])?;
    let patches = Patches { input: [h_out, w_out], windows: [rows, cols], output: input };
    Ok(Plan { batch, c_in: c_out, c_out: c_in, groups: p.groups, patches })
}

/// Takes the gradient of a convolution's output, and gives that of its input.
#[derive(Clone)]
pub(super) struct Transposed(pub(super) Plan);

impl Kernel<2> for Transposed {
    const NAME: &'static str = "conv_transpose2d";

    fn forward<T: Element>(&self, [x, w]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        Ok(self.0.input_gradient(&x.data, &w.data, None))
    }

    fn backward(&self, [x, w]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dx = if wants_gradient(x) { Some(detached2(self.0, dy, w)?) } else { None };
        let dw = if wants_gradient(w) { Some(detached2(Weight(self.0), x, dy)?) } else { None };
        Ok([dx, dw])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        let Patches { input, windows, output } = &self.0.patches;
        let over = [0, 1].map(|axis| {
            let (w, whole) =
                (&windows[axis], (output[axis] - 1) * windows[axis].stride + windows[axis].span());
            input[axis] + w.padding[0] + w.padding[1] - whole
        });
        let taps = self.0.patches.sliding(self.0.groups);
        vec![Operation::TransposedConvolution { taps, output_padding: over }]
    }
}

impl Kernel<3> for Transposed {
    const NAME: &'static str = "conv_transpose2d";

    fn forward<T: Element>(&self, [x, w, b]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        Ok(self.0.input_gradient(&x.data, &w.data, Some(&b.data)))
    }

    fn backward(&self, [x, w, b]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let [dx, dw] = Kernel::<2>::backward(self, [x, w], y, dy)?;
        let db = if wants_gradient(b) { Some(detached1(Bias::of_input(&self.0), dy)?) } else { None };
        Ok([dx, dw, db])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        Kernel::<2>::operations(self)
    }
}

/// The same function from differentiable Candle operations: the input's pixels a stride apart, zeros between and around
/// them, under a convolution of stride 1 with the kernel turned around.
pub(super) fn portable(plan: Plan, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let Plan { batch, c_in: c_out, c_out: c_in, groups, patches: Patches { windows, input, output } } = plan;
    let mut x = x.clone();
    for (axis, w) in windows.iter().enumerate() {
        let (dim, count) = (axis + 2, output[axis]);
        let spread = x.unsqueeze(dim + 1)?.pad_with_zeros(dim + 1, 0, w.stride - 1)?;
        let spread = spread.flatten(dim, dim + 1)?.narrow(dim, 0, (count - 1) * w.stride + 1)?;
        // With `span − 1` zeros before it, every tap is seen; the padding cuts some of that off, and what is left of it ...
        let (first, wanted) = (w.padding[0], input[axis] + w.span() - 1);
        let spread = spread.pad_with_zeros(dim, w.span() - 1, wanted + first)?;
        x = spread.narrow(dim, first, wanted)?; // ... is as long as the output's windows.
    }
    let (o, i) = (c_in / groups, c_out / groups);
    let w = w.contiguous()?.flip(&[2, 3])?.reshape((groups, o, i, windows[0].kernel, windows[1].kernel))?;
    let w = w.transpose(1, 2)?.flatten(0, 1)?; // [c_out, c_in / groups, kh, kw]
    let windows = windows.map(|w| Window { stride: 1, padding: [0, 0], ..w });
    let patches = Patches { input: [x.dim(2)?, x.dim(3)?], windows, output: input };
    Plan { batch, c_in, c_out, groups, patches }.portable(&x.contiguous()?, &w, b)
}

#[cfg(test)]
mod tests;
