//! Functions of one number, dropout and softmax.

use candle_core::{Result, Tensor};
use candle_nn::ops::leaky_relu;
use nn_core::{Ctx, ops};

use super::case::{Case, trained};
use crate::bench::machine::Work;

/// A layer of ResNet-50 at batch 8, and one of LeNet-5.
const SIZES: [[usize; 4]; 2] = [[8, 64, 56, 56], [64, 6, 28, 28]];

type Function = fn(&Tensor) -> Result<Tensor>;

/// Name, ours, stock Candle's, PyTorch's.
type Pointwise = (&'static str, Function, Option<Function>, &'static str);

const POINTWISE: &[Pointwise] = &[
    ("relu", ops::relu, Some(Tensor::relu), "F.relu(x[0])"),
    ("relu6", ops::relu6, Some(|x| x.clamp(0f32, 6f32)), "F.relu6(x[0])"),
    ("leaky_relu", |x| ops::leaky_relu(x, 0.01), Some(|x| leaky_relu(x, 0.01)), "F.leaky_relu(x[0])"),
    ("hard_tanh", ops::hard_tanh, Some(|x| x.clamp(-1f32, 1f32)), "F.hardtanh(x[0])"),
    ("hard_sigmoid", ops::hard_sigmoid, None, "F.hardsigmoid(x[0])"),
    ("hard_swish", ops::hard_swish, None, "F.hardswish(x[0])"),
    ("sigmoid", ops::sigmoid, Some(candle_nn::ops::sigmoid), "torch.sigmoid(x[0])"),
    ("tanh", ops::tanh, Some(Tensor::tanh), "torch.tanh(x[0])"),
    ("softsign", ops::softsign, None, "F.softsign(x[0])"),
    ("log_sigmoid", ops::log_sigmoid, None, "F.logsigmoid(x[0])"),
    ("gelu", ops::gelu, Some(Tensor::gelu_erf), "F.gelu(x[0])"),
    ("gelu_tanh", ops::gelu_tanh, Some(Tensor::gelu), "F.gelu(x[0], approximate='tanh')"),
    ("silu", ops::silu, Some(Tensor::silu), "F.silu(x[0])"),
    ("mish", ops::mish, None, "F.mish(x[0])"),
    ("elu", |x| ops::elu(x, 1.0), Some(|x| x.elu(1.0)), "F.elu(x[0])"),
    ("selu", ops::selu, None, "F.selu(x[0])"),
    ("softplus", |x| ops::softplus(x, 1.0), None, "F.softplus(x[0])"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, ours, candle, torch) in POINTWISE {
        for dims in SIZES {
            let pass = memory(&dims);
            let case = Case::new(name, size(&dims), [trained(&dims)], move |x| ours(&x[0]));
            let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
            let case = case.torch(torch);
            cases.push(match candle {
                Some(candle) => case.candle(move |x| candle(&x[0])),
                None => case,
            });
        }
    }
    for dims in SIZES {
        let (pass, inputs) = (memory(&dims), [trained(&dims), trained(&dims[1..2])]);
        let case = Case::new("prelu", size(&dims), inputs, |x| ops::prelu(&x[0], &x[1]));
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
        cases.push(case.torch("F.prelu(x[0], x[1])"));
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
        let case = Case::new("log_softmax", size(&dims), [trained(&dims)], |x| ops::log_softmax(&x[0], 1));
        let case = case.work(Work::Bytes(2.0 * pass), Work::Bytes(5.0 * pass));
        cases.push(case.candle(|x| candle_nn::ops::log_softmax(&x[0], 1)).torch("F.log_softmax(x[0], 1)"));
        let case = Case::new("log_sum_exp", size(&dims), [trained(&dims)], |x| ops::log_sum_exp(&x[0], 1));
        let case = case.work(Work::Bytes(pass), Work::Bytes(3.0 * pass));
        cases.push(case.candle(|x| x[0].log_sum_exp(1)).torch("torch.logsumexp(x[0], 1)"));
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
