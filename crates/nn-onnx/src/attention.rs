//! Attention of heads side by side, from products and a softmax.

use candle_core::Result;

use crate::graph::{Builder, Call, int, ints};

/// `softmax(scale · q kᵀ) v` of each head.
pub(crate) fn attention(builder: &mut Builder, call: &Call<'_>, heads: usize, scale: f64) -> Result<String> {
    call.check_same()?;
    let apart = builder.integers(call, "apart", &[0, 0, heads as i64, -1]);
    let mut head = |n: usize, order: [usize; 4]| -> Result<String> {
        let x = builder.value(call, n)?;
        let x = builder.node(call, "Reshape", &[&x, &apart], Vec::new());
        Ok(builder.node(call, "Transpose", &[&x], vec![ints("perm", &order)]))
    };
    let (q, k, v) = (head(0, [0, 2, 1, 3])?, head(1, [0, 2, 3, 1])?, head(2, [0, 2, 1, 3])?);
    let scale = builder.number(call, "scale", scale);
    let q = builder.node(call, "Mul", &[&q, &scale], Vec::new());
    let scores = builder.node(call, "MatMul", &[&q, &k], Vec::new());
    let weights = builder.node(call, "Softmax", &[&scores], vec![int("axis", -1)]);
    let y = builder.node(call, "MatMul", &[&weights, &v], Vec::new());
    let y = builder.node(call, "Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])]);
    let joined = builder.integers(call, "joined", &[0, 0, -1]);
    Ok(builder.node(call, "Reshape", &[&y, &joined], Vec::new()))
}
