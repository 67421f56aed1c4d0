//! Two-dimensional convolution (cross-correlation, as everywhere in the field) with groups and dilation.
//!
//! Why not Candle's: its CPU kernel is 4–10 times slower than PyTorch's, it takes one number for height and width,
//! and its gradient fails when a stride leaves different remainders along the axes.
//! Source: im2col over a matrix product, Chellapilla et al. 2006, cut into bands that stay in the cache; for 3×3 kernels
//! Lavin & Gray 2016, arXiv:1509.09308.

pub(super) mod backward;
mod depthwise;
mod direct;
mod ending;
mod linear;
mod pointwise;
mod portable;
mod scale_shift;
mod winograd;

use candle_core::{Result, Shape, Tensor};

pub use self::scale_shift::conv2d_scale_shift;

use self::ending::Ending;
use super::kernel::{Kernel, Reads, View, apply2, apply3, detached1, detached2, on_cpu, wants_gradient};
use super::padding::Padding;
use super::precision::{half_precision, widen};
use super::window::{Rounding, Window};
use crate::cpu::Element;
use crate::cpu::bands::by_bands;
use crate::cpu::gemm::Mat;
use crate::cpu::patches::Patches;
use crate::ensure;
use crate::graph::Operation;

/// How a kernel slides along `N` axes: `[length]`, or `[height, width]`. The defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution<const N: usize = 2> {
    /// From a window to the next, in input pixels.
    pub stride: [usize; N],
    /// Zeros around the input.
    pub padding: Padding<N>,
    /// From a tap of the kernel to the next, in input pixels.
    pub dilation: [usize; N],
    /// Channels are cut into this many groups that do not see each other; `c_in` is a depthwise convolution.
    pub groups: usize,
}

impl<const N: usize> Default for Convolution<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: Padding::default(), dilation: [1; N], groups: 1 }
    }
}

/// `y[o] = b[o] + Σ w[o, i] ⋆ x[i]` over the input channels `i` of `o`'s group.
///
/// `[B, c_in, H, W]`, `w [c_out, c_in / groups, kh, kw]`, `b [c_out]` → `[B, c_out, H', W']` with
/// `H' = ⌊(H + padding − (kh − 1) · dilation − 1) / stride⌋ + 1`.
///
/// # Errors
/// If `x` or `w` is not of rank 4, the channels do not fit the groups, `b` is not one number an output channel,
/// an option is zero, or the kernel exceeds the padded input.
pub fn conv2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, p: Convolution) -> Result<Tensor> {
    let plan = Plan::new("conv2d", x.dims(), w.dims(), p)?;
    check_bias("conv2d", b, plan.c_out, w)?;
    if let Some(half) = half_precision("conv2d", &[&[x, w][..], b.as_slice()].concat())? {
        let b = b.map(widen).transpose()?;
        return conv2d(&widen(x)?, &widen(w)?, b.as_ref(), p)?.to_dtype(half);
    }
    match b {
        Some(b) if on_cpu(&[x, w, b]) => apply3(plan, x, w, b),
        None if on_cpu(&[x, w]) => apply2(plan, x, w),
        _ => plan.portable(x, w, b),
    }
}

/// That `x [B, c_in, …]` and `w [c_out, c_in / groups, …]` have the channels of so many groups.
pub(super) fn check_channels(who: &str, x: &[usize], w: &[usize], groups: usize) -> Result<()> {
    ensure!(groups > 0, "{who}: groups must be at least 1, got 0");
    ensure!(
        w[0].is_multiple_of(groups) && Some(x[1]) == w[1].checked_mul(groups),
        "{who}: with {groups} groups the channels must be those of w {w:?}, got x {x:?}"
    );
    Ok(())
}

/// That the bias is one number an output channel.
pub(super) fn check_bias(who: &str, b: Option<&Tensor>, c_out: usize, w: &Tensor) -> Result<()> {
    if let Some(b) = b {
        ensure!(b.dims() == [c_out], "{who}: b must be [{c_out}] for w {:?}, got {:?}", w.dims(), b.dims());
    }
    Ok(())
}

/// That no product of sizes overflows later: the padded output of a wild option is refused here.
pub(super) fn check_size(who: &str, sizes: [usize; 3], output: [usize; 2]) -> Result<()> {
    let size = sizes.iter().chain(&output).try_fold(1usize, |n, &d| n.checked_mul(d));
    ensure!(
        size.is_some_and(|n| n < isize::MAX as usize / 8),
        "{who}: an output of {} × {} pixels is too large",
        output[0],
        output[1]
    );
    Ok(())
}

/// A convolution whose shapes have been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) groups: usize,
    pub(super) patches: Patches,
}

/// Columns of one band should stay in the second-level cache beside the kernel's own copies: 32 k numbers.
const BAND: usize = 32 * 1024;
/// Cut even a single image into about this many tasks, for machines with more cores than images.
const TASKS: usize = 16;
/// No band is narrower than this if it can be avoided: the matrix product is slow on slivers.
const NARROWEST: usize = 96;

impl Plan {
    pub(super) fn new(who: &str, x: &[usize], w: &[usize], p: Convolution) -> Result<Self> {
        let (&[batch, c_in, h, width], &[c_out, _, kh, kw]) = (x, w) else {
            candle_core::bail!(
                "{who}: x must be [B, C, H, W] and w [c_out, c_in / groups, kh, kw], got {x:?} and {w:?}"
            )
        };
        let groups = p.groups;
        check_channels(who, x, w, groups)?;
        let window = |axis: usize, input: usize, kernel: usize| -> Result<(Window, usize)> {
            let (stride, dilation) = (p.stride[axis], p.dilation[axis]);
            let bare = Window { kernel, stride, dilation, padding: [0, 0], rounding: Rounding::Floor };
            ensure!(kernel > 0, "{who}: the kernel must have taps, got w {w:?}");
            let window = Window { padding: p.padding.around(axis, input, bare.span(), stride), ..bare };
            Ok((window, window.count(who, ["height", "width"][axis], input)?))
        };
        let ((rows, h_out), (cols, w_out)) = (window(0, h, kh)?, window(1, width, kw)?);
        check_size(who, [batch, c_out.max(c_in), kh * kw], [h_out, w_out])?;
        let patches = Patches { input: [h, width], windows: [rows, cols], output: [h_out, w_out] };
        Ok(Self { batch, c_in, c_out, groups, patches })
    }

    /// Input channels of a group.
    fn i(&self) -> usize {
        self.c_in / self.groups
    }

    /// Output channels of a group.
    fn o(&self) -> usize {
        self.c_out / self.groups
    }

    /// Rows of a group's columns: what one output number is summed over.
    fn depth(&self) -> usize {
        self.i() * self.patches.taps()
    }

    fn multiply_adds(&self) -> usize {
        self.batch * self.c_out * self.patches.positions() * self.depth()
    }

    /// Output rows of a band whose columns have `depth` rows, when `tasks` bands run anyway without cutting.
    fn band_rows(&self, depth: usize, tasks: usize) -> usize {
        let [h_out, w_out] = self.patches.output;
        let for_cache = BAND / (depth * w_out).max(1);
        let for_tasks = h_out.div_ceil(TASKS.div_ceil(tasks.max(1)));
        for_cache.min(for_tasks.max(NARROWEST.div_ceil(w_out.max(1)))).clamp(1, h_out.max(1))
    }

    /// The planes of group `m % groups` of image `m / groups`.
    fn group<'a, T>(&self, planes: &'a [T], m: usize, per_group: usize, plane: usize) -> &'a [T] {
        &planes[m * per_group * plane..(m + 1) * per_group * plane]
    }

    fn forward<T: Element>(&self, x: &[T], w: &[T], end: Ending<T>) -> (Vec<T>, Shape) {
        let [h_out, w_out] = self.patches.output;
        let shape = (self.batch, self.c_out, h_out, w_out).into();
        if self.is_depthwise() {
            return (self.depthwise_forward(x, w, end), shape);
        }
        if self.is_linear() {
            return (self.linear_forward(x, w, end), shape);
        }
        if let Some(y) = self.pointwise_forward(x, w, end) {
            return (y, shape);
        }
        let single = || self.single_forward(T::as_f32(x)?, T::as_f32(w)?, end.as_f32()?);
        let y = single().and_then(T::from_f32).unwrap_or_else(|| self.forward_by_patches(x, w, end));
        (y, shape)
    }

    /// In single precision, without patches, where one of the ways to do that is made for it.
    fn single_forward(&self, x: &[f32], w: &[f32], end: Ending<f32>) -> Option<Vec<f32>> {
        self.winograd_forward(x, w, end).or_else(|| self.direct_forward(x, w, end))
    }

    fn forward_by_patches<T: Element>(&self, x: &[T], w: &[T], end: Ending<T>) -> Vec<T> {
        let (o, depth, w_out) = (self.o(), self.depth(), self.patches.output[1]);
        let matrices = self.batch * self.groups;
        let band = self.band_rows(depth, matrices) * w_out;
        let dims = [matrices, o, self.patches.positions()];
        by_bands(dims, band, self.multiply_adds(), |m, first, empty| {
            let group = m % self.groups;
            let x = self.group(x, m, self.i(), self.patches.plane());
            let w = Mat::new(&w[group * o * depth..(group + 1) * o * depth], o, depth);
            let mut buffer = Vec::new();
            let rows = first / w_out..(first + empty.cols()) / w_out;
            let columns = self.patches.columns(x, rows, &mut buffer);
            end.of(group * o..(group + 1) * o).after(empty, |empty, b| match b {
                None => empty.product(w, columns),
                Some(b) => empty.rows(b).add_product(w, columns),
            })
        })
    }
}

impl Kernel<2> for Plan {
    const NAME: &'static str = "conv2d";

    fn forward<T: Element>(&self, [x, w]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        Ok(Plan::forward(self, &x.data, &w.data, Ending::Nothing))
    }

    fn backward(&self, [x, w]: [&Tensor; 2], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dx = if wants_gradient(x) { Some(detached2(backward::Input(*self), dy, w)?) } else { None };
        let dw = if wants_gradient(w) { Some(detached2(backward::Weight(*self), dy, x)?) } else { None };
        Ok([dx, dw])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Convolution(self.patches.sliding(self.groups))]
    }
}

impl Kernel<3> for Plan {
    const NAME: &'static str = "conv2d";

    fn forward<T: Element>(&self, [x, w, b]: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        Ok(Plan::forward(self, &x.data, &w.data, Ending::Bias(&b.data)))
    }

    fn backward(&self, [x, w, b]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let [dx, dw] = Kernel::<2>::backward(self, [x, w], y, dy)?;
        let db = if wants_gradient(b) { Some(detached1(backward::Bias::of_output(self), dy)?) } else { None };
        Ok([dx, dw, db])
    }

    fn reads(&self) -> Reads {
        Reads::Arguments
    }

    fn operations(&self) -> Vec<Operation> {
        Kernel::<2>::operations(self)
    }
}

#[cfg(test)]
mod tests;
