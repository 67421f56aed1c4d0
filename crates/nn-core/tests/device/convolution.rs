//! Convolutions, forwards and transposed, and matrix products.

use nn_core::ops::{self, Activation, Convolution, Padding, TransposedConvolution};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("linear", &[&[3, 5], &[4, 5], &[4]], |x| ops::linear(&x[0], &x[1], Some(&x[2]))),
    ("conv1d", &[&[2, 4, 19], &[6, 4, 3]], |x| {
        ops::conv1d(&x[0], &x[1], None, Convolution { dilation: [2], ..Convolution::default() })
    }),
    ("conv2d", &[&[2, 4, 9, 8], &[6, 2, 3, 3], &[6]], |x| {
        let p = Convolution { stride: [2, 1], padding: Padding::Same, groups: 2, ..Convolution::default() };
        ops::conv2d(&x[0], &x[1], Some(&x[2]), p)
    }),
    // Wide enough for the transforms of the CPU.
    ("conv2d 3×3", &[&[1, 32, 9, 10], &[32, 32, 3, 3]], |x| {
        ops::conv2d(&x[0], &x[1], None, Convolution { padding: Padding::Same, ..Convolution::default() })
    }),
    ("conv2d 1×1", &[&[2, 8, 5, 6], &[16, 8, 1, 1]], |x| {
        ops::conv2d(&x[0], &x[1], None, Convolution::default())
    }),
    ("depthwise", &[&[2, 4, 9, 8], &[4, 1, 3, 3]], |x| {
        ops::conv2d(&x[0], &x[1], None, Convolution { groups: 4, ..Convolution::default() })
    }),
    ("conv2d_scale_shift", &[&[2, 4, 9, 8], &[6, 4, 3, 3], &[6], &[6]], |x| {
        let (scale_shift, end) = ([&x[2], &x[3]], Some(Activation::Relu6));
        ops::conv2d_scale_shift(&x[0], &x[1], scale_shift, end, Convolution::default())
    }),
    ("conv_transpose1d", &[&[2, 4, 7], &[4, 3, 4], &[3]], |x| {
        let p =
            TransposedConvolution { stride: [3], output_padding: [1], ..TransposedConvolution::default() };
        ops::conv_transpose1d(&x[0], &x[1], Some(&x[2]), p)
    }),
    ("conv_transpose2d", &[&[2, 4, 5, 6], &[4, 3, 4, 4]], |x| {
        let p = TransposedConvolution { stride: [2, 2], padding: [1, 1], ..TransposedConvolution::default() };
        ops::conv_transpose2d(&x[0], &x[1], None, p)
    }),
    ("conv_transpose2d in groups", &[&[2, 4, 5, 6], &[4, 3, 3, 2]], |x| {
        let p = TransposedConvolution { dilation: [2, 1], groups: 2, ..TransposedConvolution::default() };
        ops::conv_transpose2d(&x[0], &x[1], None, p)
    }),
];
