//! Attention of heads side by side, from products and a softmax.

use candle_core::{Device, Result, Tensor};

use crate::graph::{Builder, Call, int, ints};

/// What heads do.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) scale: f64,
    pub(crate) causal: bool,
}

/// `softmax(scale · q kᵀ) v` of each head.
pub(crate) fn attention(builder: &mut Builder, call: &Call<'_>, heads: Heads) -> Result<String> {
    call.check_same()?;
    let (q, k, v) = (builder.value(call, 0)?, builder.value(call, 1)?, builder.value(call, 2)?);
    let (&[_, queries, _], &[_, keys, _]) = (call.shape()?, call.shape_of(1)?) else {
        return Err(call.refuse("tokens without three axes"));
    };
    of_heads(builder, call, [&q, &k, &v], heads, [queries, keys])
}

/// The same of one value, whose last axis has `q`, `k` and `v` in three equal parts.
pub(crate) fn self_attention(builder: &mut Builder, call: &Call<'_>, heads: Heads) -> Result<String> {
    call.check_same()?;
    let &[_, tokens, all] = call.shape()? else { return Err(call.refuse("tokens without three axes")) };
    let (x, width) = (builder.value(call, 0)?, (all / 3) as i64);
    let axis = builder.integers(call, "axis", &[2]);
    let mut part = |i: i64| {
        let start = builder.integers(call, "start", &[i * width]);
        let end = builder.integers(call, "end", &[(i + 1) * width]);
        builder.node(call, "Slice", &[&x, &start, &end, &axis], Vec::new())
    };
    let parts = [part(0), part(1), part(2)];
    of_heads(builder, call, parts.each_ref().map(String::as_str), heads, [tokens, tokens])
}

fn of_heads(
    builder: &mut Builder,
    call: &Call<'_>,
    qkv: [&str; 3],
    Heads { heads, scale, causal }: Heads,
    tokens: [usize; 2],
) -> Result<String> {
    let apart = builder.integers(call, "apart", &[0, 0, heads as i64, -1]);
    let mut head = |n: usize, order: [usize; 4]| {
        let x = builder.node(call, "Reshape", &[qkv[n], &apart], Vec::new());
        builder.node(call, "Transpose", &[&x], vec![ints("perm", &order)])
    };
    let (q, k, v) = (head(0, [0, 2, 1, 3]), head(1, [0, 2, 3, 1]), head(2, [0, 2, 1, 3]));
    let scale = builder.number(call, "scale", scale);
    let q = builder.node(call, "Mul", &[&q, &scale], Vec::new());
    let mut scores = builder.node(call, "MatMul", &[&q, &k], Vec::new());
    if causal {
        let mask = builder.constant(call, "mask", &later(tokens)?)?;
        scores = builder.node(call, "Add", &[&scores, &mask], Vec::new());
    }
    let weights = builder.node(call, "Softmax", &[&scores], vec![int("axis", -1)]);
    let y = builder.node(call, "MatMul", &[&weights, &v], Vec::new());
    let y = builder.node(call, "Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])]);
    let joined = builder.integers(call, "joined", &[0, 0, -1]);
    Ok(builder.node(call, "Reshape", &[&y, &joined], Vec::new()))
}

/// −∞ where a key comes after the query, else 0.
fn later([queries, keys]: [usize; 2]) -> Result<Tensor> {
    let hidden = |at: usize| if at % keys > at / keys { f32::NEG_INFINITY } else { 0.0 };
    Tensor::from_iter((0..queries * keys).map(hidden), &Device::Cpu)?.reshape((queries, keys))
}
