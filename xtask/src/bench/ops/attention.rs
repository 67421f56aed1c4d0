//! Scaled dot-product attention.

use candle_core::{D, Result, Tensor};
use nn_core::Ctx;
use nn_core::ops::{Attention, scaled_dot_product_attention};

use super::case::{Case, trained};
use crate::bench::machine::Work;

/// Batch, heads, positions and numbers a head: a Transformer's, ViT-B's at batch 4 and 1, and longer ones.
const SIZES: &[[usize; 4]] = &[
    [16, 8, 64, 64],
    [4, 12, 197, 64],
    [1, 12, 197, 64],
    [2, 8, 512, 64],
    [1, 8, 1024, 64],
    [1, 8, 2048, 64],
];

/// From this length on also with a causal mask.
const LONG: usize = 512;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &dims in SIZES {
        cases.push(case(dims, Attention::default()));
        if dims[2] >= LONG {
            cases.push(case(dims, Attention { causal: true, ..Attention::default() }));
        }
    }
    cases
}

fn case([b, n, t, d]: [usize; 4], attention: Attention<'static>) -> Case {
    let causal = attention.causal;
    let pairs = if causal { t * (t + 1) / 2 } else { t * t };
    let product = (b * n * pairs * d) as f64;
    let inputs = [(); 3].map(|()| trained(&[b, n, t, d]));
    let masked = if causal { ", causal" } else { "" };
    let case = Case::new("attention", format!("{b}×{n}×{t}×{d}{masked}"), inputs, move |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], attention, &Ctx::eval())
    })
    // Two products forward; backward those of the scores again, and four for gradients.
    .work(Work::MultiplyAdds(2.0 * product), Work::MultiplyAdds(7.0 * product))
    .torch(format!(
        "F.scaled_dot_product_attention(x[0], x[1], x[2], is_causal={})",
        if causal { "True" } else { "False" }
    ));
    if causal { case } else { case.candle(composed) }
}

/// Stock Candle's own attention has no CPU form.
fn composed(x: &[Tensor]) -> Result<Tensor> {
    let scores = (x[0].matmul(&x[1].t()?)? * (x[0].dim(D::Minus1)? as f64).powf(-0.5))?;
    let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?.matmul(&x[2])
}
