//! Operations that move numbers. A size that went with the batch is left open.

use candle_core::Result;
use nn_core::graph::Operation;

use crate::graph::{Builder, Call, int, ints};

/// Where two shapes of the two passes differ: that axis goes with the batch, so many times.
fn open_axis(call: &Call<'_>, [a, b]: [&[usize]; 2]) -> Result<Option<usize>> {
    let different: Vec<usize> = (0..a.len().min(b.len())).filter(|&axis| a[axis] != b[axis]).collect();
    let [first, second] = call.batches;
    match different[..] {
        _ if a.len() != b.len() => Err(call.refuse("a rank that depends on the batch")),
        [] => Ok(None),
        [axis] if a[axis] * second == b[axis] * first => Ok(Some(axis)),
        _ => Err(call.refuse("sizes that depend on the batch")),
    }
}

pub(crate) fn reshape(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let [Operation::Reshape(a), Operation::Reshape(b)] = call.operations else {
        return Err(call.refuse("another operation in another batch"));
    };
    let open = open_axis(call, [a, b])?;
    let size = |axis: usize| if open == Some(axis) { -1 } else { a[axis] as i64 };
    let shape: Vec<i64> = (0..a.len()).map(size).collect();
    let (x, shape) = (builder.value(call, 0)?, builder.integers(call, "shape", &shape));
    // A size of 0 is one, and not that of the input.
    Ok(builder.node(call, "Reshape", &[&x, &shape], vec![int("allowzero", 1)]))
}

pub(crate) fn expand(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let [Operation::Expand(a), Operation::Expand(b)] = call.operations else {
        return Err(call.refuse("another operation in another batch"));
    };
    let open = open_axis(call, [a, b])?;
    if open.is_some_and(|axis| a[axis] != call.batches[0]) {
        return Err(call.refuse("a multiple of the batch"));
    }
    let x = builder.value(call, 0)?;
    let sizes: Vec<Option<usize>> =
        a.iter().enumerate().map(|(axis, &n)| (open != Some(axis)).then_some(n)).collect();
    Ok(expanded(builder, call, &x, &sizes))
}

/// `x` in a larger shape, of which the size that is `None` is that of the batch.
pub(crate) fn expanded(builder: &mut Builder, call: &Call<'_>, x: &str, sizes: &[Option<usize>]) -> String {
    let parts: Vec<String> = sizes
        .chunk_by(|a, b| a.is_some() && b.is_some())
        .map(|sizes| match sizes {
            [None] => builder.node(call, "Shape", &["input"], vec![int("start", 0), int("end", 1)]),
            sizes => {
                let sizes: Vec<i64> = sizes.iter().flatten().map(|&n| n as i64).collect();
                builder.integers(call, "shape", &sizes)
            }
        })
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let shape = builder.node(call, "Concat", &parts, vec![int("axis", 0)]);
    builder.node(call, "Expand", &[x, &shape], Vec::new())
}

pub(crate) fn transpose(builder: &mut Builder, call: &Call<'_>, [a, b]: [usize; 2]) -> Result<String> {
    call.check_same()?;
    let mut order: Vec<usize> = (0..call.shape()?.len()).collect();
    order.swap(a, b);
    let x = builder.value(call, 0)?;
    Ok(builder.node(call, "Transpose", &[&x], vec![ints("perm", &order)]))
}

/// The places of `axis` from the first of `range` to before the second.
pub(crate) fn narrow(
    builder: &mut Builder,
    call: &Call<'_>,
    axis: usize,
    range: [usize; 2],
) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    let [start, end] = range.map(|n| n as i64);
    let [start, end] = [("start", start), ("end", end)].map(|(what, n)| builder.integers(call, what, &[n]));
    let axis = builder.integers(call, "axis", &[axis as i64]);
    Ok(builder.node(call, "Slice", &[&x, &start, &end, &axis], Vec::new()))
}

pub(crate) fn concat(builder: &mut Builder, call: &Call<'_>, axis: usize) -> Result<String> {
    call.check_same()?;
    let xs = (0..call.arguments.len()).map(|n| builder.value(call, n)).collect::<Result<Vec<_>>>()?;
    let xs: Vec<&str> = xs.iter().map(String::as_str).collect();
    Ok(builder.node(call, "Concat", &xs, vec![int("axis", axis as i64)]))
}

pub(crate) fn pad(
    builder: &mut Builder,
    call: &Call<'_>,
    axis: usize,
    [before, after]: [usize; 2],
) -> Result<String> {
    call.check_same()?;
    let x = builder.value(call, 0)?;
    let rank = call.shape()?.len();
    let mut pads = vec![0; 2 * rank];
    (pads[axis], pads[rank + axis]) = (before as i64, after as i64);
    let pads = builder.integers(call, "pads", &pads);
    Ok(builder.node(call, "Pad", &[&x, &pads], Vec::new()))
}
