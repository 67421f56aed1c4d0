//! Attention of heads side by side, from products and a softmax.

use candle_core::Result;

use crate::graph::{Builder, Call, int, ints};

/// `softmax(scale · q kᵀ) v` of each head.
pub(crate) fn attention(builder: &mut Builder, call: &Call<'_>, heads: usize, scale: f64) -> Result<String> {
    call.check_same()?;
    let (q, k, v) = (builder.value(call, 0)?, builder.value(call, 1)?, builder.value(call, 2)?);
    Ok(of_heads(builder, call, [&q, &k, &v], heads, scale))
}

/// The same of one value, whose last axis has `q`, `k` and `v` in three equal parts.
pub(crate) fn self_attention(
    builder: &mut Builder,
    call: &Call<'_>,
    heads: usize,
    scale: f64,
) -> Result<String> {
    call.check_same()?;
    let &[.., all] = call.shape()? else { return Err(call.refuse("tokens without an axis")) };
    let (x, width) = (builder.value(call, 0)?, (all / 3) as i64);
    let axis = builder.integers(call, "axis", &[2]);
    let mut part = |i: i64| {
        let start = builder.integers(call, "start", &[i * width]);
        let end = builder.integers(call, "end", &[(i + 1) * width]);
        builder.node(call, "Slice", &[&x, &start, &end, &axis], Vec::new())
    };
    let parts = [part(0), part(1), part(2)];
    Ok(of_heads(builder, call, parts.each_ref().map(String::as_str), heads, scale))
}

fn of_heads(builder: &mut Builder, call: &Call<'_>, qkv: [&str; 3], heads: usize, scale: f64) -> String {
    let apart = builder.integers(call, "apart", &[0, 0, heads as i64, -1]);
    let mut head = |n: usize, order: [usize; 4]| {
        let x = builder.node(call, "Reshape", &[qkv[n], &apart], Vec::new());
        builder.node(call, "Transpose", &[&x], vec![ints("perm", &order)])
    };
    let (q, k, v) = (head(0, [0, 2, 1, 3]), head(1, [0, 2, 3, 1]), head(2, [0, 2, 1, 3]));
    let scale = builder.number(call, "scale", scale);
    let q = builder.node(call, "Mul", &[&q, &scale], Vec::new());
    let scores = builder.node(call, "MatMul", &[&q, &k], Vec::new());
    let weights = builder.node(call, "Softmax", &[&scores], vec![int("axis", -1)]);
    let y = builder.node(call, "MatMul", &[&weights, &v], Vec::new());
    let y = builder.node(call, "Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])]);
    let joined = builder.integers(call, "joined", &[0, 0, -1]);
    builder.node(call, "Reshape", &[&y, &joined], Vec::new())
}
