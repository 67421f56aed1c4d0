//! Fully connected layers.

use nn_core::ops::linear;

use super::case::{Case, trained};
use crate::bench::machine::Work;

/// Batch, features in, features out: classifier heads, LeNet-5's, a Transformer's.
const SIZES: &[[usize; 3]] = &[
    [1, 120, 84],
    [64, 120, 84],
    [1, 512, 1000],
    [1, 4096, 4096],
    [32, 2048, 1000],
    [16, 9216, 4096],
    [128, 784, 512],
    [1024, 512, 2048],
];

pub(super) fn cases() -> Vec<Case> {
    SIZES
        .iter()
        .map(|&[batch, c_in, c_out]| {
            let macs = (batch * c_in * c_out) as f64;
            Case::new(
                "linear",
                format!("{batch}×{c_in}→{c_out}"),
                [trained(&[batch, c_in]), trained(&[c_out, c_in]), trained(&[c_out])],
                |x| linear(&x[0], &x[1], Some(&x[2])),
            )
            .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(3.0 * macs))
            .candle(|x| x[0].matmul(&x[1].t()?)?.broadcast_add(&x[2]))
            .torch("F.linear(x[0], x[1], x[2])")
        })
        .collect()
}
