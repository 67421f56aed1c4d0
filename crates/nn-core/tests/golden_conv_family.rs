//! One-dimensional, transposed, depthwise and unevenly padded convolutions against PyTorch: outputs and gradients.
//!
//! The numbers are made by `tests/golden/conv_family.py`, which has the same tables of options.

use nn_core::candle_core::{Result, Tensor};
use nn_core::ops::{
    Convolution, Padding, TransposedConvolution, conv_transpose1d, conv_transpose2d, conv1d, conv2d,
};
use nn_core::testing::Golden;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/conv_family.safetensors");
const ALL: &[&str] = &["x", "w", "b"];

/// Stride, padding, dilation, groups.
const CONV1D: &[(usize, usize, usize, usize)] = &[(1, 0, 1, 1), (2, 2, 1, 2), (1, 4, 4, 3)];

/// Stride, padding, output padding, dilation, groups.
const CONV_TRANSPOSE1D: &[(usize, usize, usize, usize, usize)] =
    &[(1, 0, 0, 1, 1), (2, 1, 0, 1, 2), (3, 0, 2, 2, 1)];

/// The same, the first four `[height, width]`.
type Transposed = ([usize; 2], [usize; 2], [usize; 2], [usize; 2], usize);

const CONV_TRANSPOSE2D: &[Transposed] = &[
    ([1, 1], [0, 0], [0, 0], [1, 1], 1),
    ([2, 2], [1, 1], [0, 0], [1, 1], 1),
    ([2, 3], [1, 0], [1, 2], [1, 1], 1),
    ([2, 1], [2, 1], [0, 0], [1, 1], 2),
    ([1, 1], [1, 2], [2, 1], [3, 2], 1),
    ([4, 4], [2, 2], [0, 0], [1, 1], 1),
];

/// Stride, padding, dilation.
const DEPTHWISE: &[([usize; 2], [usize; 2], [usize; 2])] = &[
    ([1, 1], [1, 1], [1, 1]),
    ([2, 2], [1, 1], [1, 1]),
    ([1, 1], [2, 2], [1, 1]),
    ([2, 2], [2, 2], [1, 1]),
    ([1, 3], [1, 0], [3, 2]),
];

/// Zeros before and after each axis, stride, groups.
type Uneven = ([[usize; 2]; 2], [usize; 2], usize);

const UNEVEN: &[Uneven] = &[([[0, 1], [2, 0]], [1, 1], 1), ([[0, 1], [0, 1]], [2, 2], 2)];

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let mut golden = Golden::open(PATH)?;
    for (n, &(stride, padding, dilation, groups)) in CONV1D.iter().enumerate() {
        let p = Convolution {
            stride: [stride],
            padding: Padding::Symmetric([padding]),
            dilation: [dilation],
            groups,
        };
        golden.check(&format!("conv1d.{n}"), ALL, |v| conv1d(&v[0], &v[1], v.get(2), p))?;
    }
    for (n, &(stride, padding, more, dilation, groups)) in CONV_TRANSPOSE1D.iter().enumerate() {
        let p = TransposedConvolution {
            stride: [stride],
            padding: [padding],
            output_padding: [more],
            dilation: [dilation],
            groups,
        };
        let f = |v: &[Tensor]| conv_transpose1d(&v[0], &v[1], v.get(2), p);
        golden.check(&format!("conv_transpose1d.{n}"), ALL, f)?;
    }
    for (n, &(stride, padding, output_padding, dilation, groups)) in CONV_TRANSPOSE2D.iter().enumerate() {
        let p = TransposedConvolution { stride, padding, output_padding, dilation, groups };
        let f = |v: &[Tensor]| conv_transpose2d(&v[0], &v[1], v.get(2), p);
        golden.check(&format!("conv_transpose2d.{n}"), ALL, f)?;
    }
    for (n, &(stride, padding, dilation)) in DEPTHWISE.iter().enumerate() {
        let f = |v: &[Tensor]| {
            let padding = Padding::Symmetric(padding);
            let p = Convolution { stride, padding, dilation, groups: v[0].dims()[1] };
            conv2d(&v[0], &v[1], v.get(2), p)
        };
        golden.check(&format!("depthwise.{n}"), ALL, f)?;
    }
    for (n, &(zeros, stride, groups)) in UNEVEN.iter().enumerate() {
        let p = Convolution { stride, padding: Padding::Asymmetric(zeros), groups, ..Convolution::default() };
        golden.check(&format!("uneven.{n}"), &["x", "w"], |v| conv2d(&v[0], &v[1], None, p))?;
    }
    let p = Convolution { padding: Padding::Asymmetric([[4, 0]]), dilation: [2], ..Convolution::default() };
    golden.check("causal", &["x", "w"], |v| conv1d(&v[0], &v[1], None, p))?;
    golden.finish()
}
