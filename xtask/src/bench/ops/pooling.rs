//! Pooling.

use nn_core::ops::{AvgPool2d, MaxPool2d, avg_pool2d, max_pool2d};

use super::activation::{memory, size};
use super::case::{Case, Work, trained};

/// Input, kernel, stride, padding: stems of ResNet and AlexNet, VGG's, LeNet-5's, Inception's.
const SIZES: &[([usize; 4], usize, usize, usize)] = &[
    ([8, 64, 112, 112], 3, 2, 1),
    ([8, 64, 55, 55], 3, 2, 0),
    ([8, 64, 112, 112], 2, 2, 0),
    ([64, 6, 28, 28], 2, 2, 0),
    ([64, 16, 14, 14], 2, 2, 0),
    ([8, 192, 35, 35], 3, 1, 1),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(dims, k, s, pad) in SIZES {
        let [_, _, h, w] = dims;
        let out = |n: usize| (n + 2 * pad - k) / s + 1;
        let (read, written) = (memory(&dims), memory(&[dims[0], dims[1], out(h), out(w)]));
        let (stride, padding) = ([s; 2], [pad; 2]);
        let name = format!("{}, k{k} s{s} p{pad}", size(&dims));
        let max = MaxPool2d { stride, padding, ..MaxPool2d::new([k; 2]) };
        let forward = Work::Bytes(read + written);
        let case = Case::new("max_pool2d", &name, [trained(&dims)], move |x| max_pool2d(&x[0], max));
        let case = case.work(forward, Work::Bytes(2.0 * (read + written)));
        let torch = |op: &str| format!("F.{op}(x[0], {k}, stride={s}, padding={pad})");
        let stock = pad == 0;
        let case = case.torch(torch("max_pool2d"));
        cases.push(if stock {
            case.candle_forward(move |x| x[0].max_pool2d_with_stride(k, s))
        } else {
            case
        });
        let avg = AvgPool2d { stride, padding, ..AvgPool2d::new([k; 2]) };
        let case = Case::new("avg_pool2d", name, [trained(&dims)], move |x| avg_pool2d(&x[0], avg));
        let case = case.work(forward, Work::Bytes(2.0 * (read + written))).torch(torch("avg_pool2d"));
        cases.push(if stock {
            case.candle_forward(move |x| x[0].avg_pool2d_with_stride(k, s))
        } else {
            case
        });
    }
    cases
}
