//! Functions of one number, dropout and softmax.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, ops};

use super::case::{Case, Work, trained};

/// A layer of ResNet-50 at batch 8, and one of LeNet-5.
const SIZES: [[usize; 4]; 2] = [[8, 64, 56, 56], [64, 6, 28, 28]];

/// Name, ours, stock Candle's, PyTorch's.
type Pointwise = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(&Tensor) -> Result<Tensor>, &'static str);

const POINTWISE: &[Pointwise] = &[
    ("relu", ops::relu, Tensor::relu, "F.relu(x[0])"),
    ("sigmoid", ops::sigmoid, candle_nn::ops::sigmoid, "torch.sigmoid(x[0])"),
    ("tanh", ops::tanh, Tensor::tanh, "torch.tanh(x[0])"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, ours, candle, torch) in POINTWISE {
        for dims in SIZES {
            let pass = memory(&dims);
            let case = Case::new(name, size(&dims), [trained(&dims)], move |x| ours(&x[0]));
            let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
            cases.push(case.candle(move |x| candle(&x[0])).torch(torch));
        }
    }
    for dims in SIZES {
        let pass = memory(&dims);
        let ours = |x: &[Tensor]| ops::dropout(&x[0], 0.5, &Ctx::train(1).step(1));
        let case = Case::new("dropout", size(&dims), [trained(&dims)], ours);
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(4.0 * pass));
        cases.push(case.torch("F.dropout(x[0], 0.5, True)"));
    }
    for dims in [[64, 10], [128, 1000], [8192, 64]] {
        let pass = memory(&dims);
        let case = Case::new("softmax", size(&dims), [trained(&dims)], |x| ops::softmax(&x[0], 1));
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
        cases.push(case.candle(|x| x[0].softmax_last()).torch("F.softmax(x[0], 1)"));
    }
    cases
}

/// Bytes of a tensor of `f32`.
pub(super) fn memory(dims: &[usize]) -> f64 {
    4.0 * dims.iter().product::<usize>() as f64
}

/// `[8, 64, 56, 56]` → `8×64×56×56`
pub(super) fn size(dims: &[usize]) -> String {
    crate::output::dims(dims)
}

/// Stock Candle's softmax with a gradient.
trait Softmax {
    fn softmax_last(&self) -> Result<Tensor>;
}

impl Softmax for Tensor {
    fn softmax_last(&self) -> Result<Tensor> {
        let e = self.broadcast_sub(&self.max_keepdim(1)?.detach())?.exp()?;
        e.broadcast_div(&e.sum_keepdim(1)?)
    }
}
