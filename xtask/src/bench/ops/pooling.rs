//! Pooling.

use candle_core::Tensor;
use nn_core::ops::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool1d, MaxPool2d, adaptive_avg_pool2d,
    adaptive_max_pool2d, avg_pool2d, global_avg_pool, global_max_pool, max_pool1d, max_pool2d,
};

use super::activation::{memory, size};
use super::case::{Case, trained};
use crate::bench::machine::Work;

/// Input, bins: AlexNet's on a larger image, VGG's.
const ADAPTIVE: &[([usize; 4], usize)] = &[([8, 256, 13, 13], 6), ([8, 512, 14, 14], 7)];

/// The last layer of ResNet-50, the first squeeze of an SE-ResNet.
const GLOBAL: &[[usize; 4]] = &[[8, 2048, 7, 7], [8, 64, 56, 56]];

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
    cases.extend(adaptive());
    cases.extend(global());
    let (dims, read) = ([64, 64, 512], memory(&[64, 64, 512]));
    let (forward, both) = (Work::Bytes(1.5 * read), Work::Bytes(3.0 * read));
    let ours = |x: &[Tensor]| max_pool1d(&x[0], MaxPool1d::new([2]));
    let case = Case::new("max_pool1d", "64×64×512, k2 s2", [trained(&dims)], ours).work(forward, both);
    cases.push(case.torch("F.max_pool1d(x[0], 2)"));
    cases
}

fn adaptive() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(dims, bins) in ADAPTIVE {
        let bytes = memory(&dims) + memory(&[dims[0], dims[1], bins, bins]);
        let (forward, both) = (Work::Bytes(bytes), Work::Bytes(2.0 * bytes));
        let (name, output) = (format!("{} → {bins}²", size(&dims)), [bins; 2]);
        let ours = move |x: &[Tensor]| adaptive_avg_pool2d(&x[0], AdaptiveAvgPool2d { output });
        let case = Case::new("adaptive_avg_pool2d", &name, [trained(&dims)], ours).work(forward, both);
        cases.push(case.torch(format!("F.adaptive_avg_pool2d(x[0], {bins})")));
        let ours = move |x: &[Tensor]| adaptive_max_pool2d(&x[0], AdaptiveMaxPool2d { output });
        let case = Case::new("adaptive_max_pool2d", name, [trained(&dims)], ours).work(forward, both);
        cases.push(case.torch(format!("F.adaptive_max_pool2d(x[0], {bins})")));
    }
    cases
}

fn global() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in GLOBAL {
        let bytes = memory(dims) + memory(&dims[..2]);
        let (forward, both) = (Work::Bytes(bytes), Work::Bytes(2.0 * bytes));
        let ours = |x: &[Tensor]| global_avg_pool(&x[0]);
        let case = Case::new("global_avg_pool", size(dims), [trained(dims)], ours).work(forward, both);
        cases.push(case.candle(|x| x[0].mean((2, 3))).torch("x[0].mean((2, 3))"));
        let ours = |x: &[Tensor]| global_max_pool(&x[0]);
        let case = Case::new("global_max_pool", size(dims), [trained(dims)], ours).work(forward, both);
        let stock = |x: &[Tensor]| x[0].flatten_from(2)?.max(2);
        cases.push(case.candle_forward(stock).torch("F.adaptive_max_pool2d(x[0], 1).flatten(1)"));
    }
    cases
}
