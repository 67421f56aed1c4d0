//! Pooling and resampling.

use nn_core::ops::{
    self, AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, AvgPool2d, Divisor, Interpolation, MaxPool, MaxPool2d,
    OverTime, Rounding, Sampling,
};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("max_pool1d", &[&[2, 3, 9]], |x| ops::max_pool1d(&x[0], MaxPool::new([2]))),
    ("max_pool2d", &[&[2, 3, 9, 8]], |x| ops::max_pool2d(&x[0], MaxPool2d::new([3, 2]))),
    ("max_pool2d, overlapping", &[&[2, 3, 9, 8]], |x| {
        let options = MaxPool2d { stride: [2, 2], padding: [1, 1], ..MaxPool2d::new([3, 3]) };
        ops::max_pool2d(&x[0], options)
    }),
    ("avg_pool1d", &[&[2, 3, 9]], |x| ops::avg_pool1d(&x[0], AvgPool::new([2]))),
    ("avg_pool2d", &[&[2, 3, 9, 8]], |x| ops::avg_pool2d(&x[0], AvgPool2d::new([3, 2]))),
    ("avg_pool2d, overlapping", &[&[2, 3, 9, 8]], |x| {
        let window = AvgPool2d { stride: [2, 2], padding: [1, 1], ..AvgPool2d::new([3, 3]) };
        ops::avg_pool2d(&x[0], AvgPool2d { rounding: Rounding::Ceil, divisor: Divisor::Inside, ..window })
    }),
    ("adaptive_avg_pool1d", &[&[2, 3, 9]], |x| {
        ops::adaptive_avg_pool1d(&x[0], AdaptiveAvgPool { output: [4] })
    }),
    ("adaptive_avg_pool2d", &[&[2, 3, 9, 8]], |x| {
        ops::adaptive_avg_pool2d(&x[0], AdaptiveAvgPool { output: [4, 3] })
    }),
    ("adaptive_max_pool1d", &[&[2, 3, 9]], |x| {
        ops::adaptive_max_pool1d(&x[0], AdaptiveMaxPool { output: [4] })
    }),
    ("adaptive_max_pool2d", &[&[2, 3, 9, 8]], |x| {
        ops::adaptive_max_pool2d(&x[0], AdaptiveMaxPool { output: [4, 3] })
    }),
    ("global_avg_pool", &[&[2, 3, 9, 8]], |x| ops::global_avg_pool(&x[0])),
    ("global_max_pool", &[&[2, 3, 9, 8]], |x| ops::global_max_pool(&x[0])),
    ("over_time, mean", &[&[3, 5, 4]], |x| ops::over_time(&x[0], Some(&[5, 1, 3]), OverTime::Mean)),
    ("over_time, max", &[&[3, 5, 4]], |x| ops::over_time(&x[0], Some(&[5, 1, 3]), OverTime::Max)),
    ("interpolate, nearest", &[&[2, 3, 5, 4]], |x| ops::interpolate(&x[0], [8, 7], Interpolation::Nearest)),
    ("interpolate, bilinear", &[&[2, 3, 5, 4]], |x| {
        ops::interpolate(&x[0], [8, 7], Interpolation::Bilinear(Sampling::Corners))
    }),
    ("interpolate, bicubic", &[&[2, 3, 9, 8]], |x| {
        ops::interpolate(&x[0], [5, 11], Interpolation::Bicubic(Sampling::Antialiased))
    }),
];
