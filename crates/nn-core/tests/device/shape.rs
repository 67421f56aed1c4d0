//! What moves numbers and does not change them.

use candle_core::Tensor;
use nn_core::ops;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("add", &[&[4, 3], &[4, 3]], |x| ops::add(&x[0], &x[1])),
    ("scale", &[&[4, 3]], |x| ops::scale(&x[0], 0.3)),
    ("concat", &[&[2, 3, 4], &[2, 5, 4]], |x| ops::concat(x, 1)),
    ("narrow", &[&[2, 5, 4]], |x| ops::narrow(&x[0], 1, 2, 2)),
    ("select", &[&[2, 5, 4]], |x| ops::select(&x[0], 1, 2)),
    ("pad", &[&[2, 5, 4]], |x| ops::pad(&x[0], 1, [1, 2])),
    ("transpose", &[&[2, 5, 4]], |x| ops::transpose(&x[0], 0, 2)),
    ("reshape", &[&[2, 5, 4]], |x| ops::reshape(&x[0], (4, 10))),
    ("flatten", &[&[2, 5, 4]], |x| ops::flatten(&x[0], 1)),
    ("expand", &[&[2, 1, 4]], |x| ops::expand(&x[0], (2, 3, 4))),
    ("gather", &[&[2, 5]], |x| {
        ops::gather(&x[0], &Tensor::new(&[[0u32, 4, 0], [1, 1, 1]], x[0].device())?, 1)
    }),
    ("scatter_add", &[&[2, 5], &[2, 3]], |x| {
        ops::scatter_add(&x[0], &Tensor::new(&[[0u32, 4, 0], [1, 1, 1]], x[0].device())?, &x[1], 1)
    }),
    ("cosine_similarity", &[&[2, 5, 4], &[2, 5, 4]], |x| ops::cosine_similarity(&x[0], &x[1], 2)),
];
