//! Indices and lengths from outside: checked before anything is looked up, since a number beyond the table is bad input.

use candle_core::{DType, Result, Tensor, WithDType};

use crate::ensure;

/// The indices as numbers below `bound`, in row-major order.
///
/// # Errors
/// If they are not integers, or one is out of range; the message names it and its place.
pub(super) fn checked(op: &str, indices: &Tensor, bound: usize) -> Result<Vec<u32>> {
    ensure!(u32::try_from(bound).is_ok(), "{op}: at most 2³² − 1 rows can be told apart, got {bound}");
    match indices.dtype() {
        DType::U8 => below::<u8>(op, indices, bound),
        DType::U32 => below::<u32>(op, indices, bound),
        DType::I64 => below::<i64>(op, indices, bound),
        other => candle_core::bail!("{op}: indices must be integers (u8, u32 or i64), got {other:?}"),
    }
}

fn below<I: WithDType + TryInto<u32>>(op: &str, indices: &Tensor, bound: usize) -> Result<Vec<u32>> {
    let mut checked = Vec::with_capacity(indices.elem_count());
    for index in indices.flatten_all()?.to_vec1::<I>()? {
        match index.try_into() {
            Ok(known) if (known as usize) < bound => checked.push(known),
            _ => {
                let at = place(checked.len(), indices.dims());
                candle_core::bail!("{op}: indices must be in 0..{bound}, got {index} at {at:?}")
            }
        }
    }
    Ok(checked)
}

/// How many steps each sequence of a batch has: all there are if there are no lengths.
///
/// # Errors
/// If there is not one length a sequence, or one is not in `1..=steps`.
pub(super) fn checked_lengths(
    name: &str,
    lengths: Option<&[usize]>,
    batch: usize,
    steps: usize,
) -> Result<Vec<usize>> {
    let lengths = lengths.map_or_else(|| vec![steps; batch], <[usize]>::to_vec);
    ensure!(lengths.len() == batch, "{name}: one length a sequence of {batch}, got {}", lengths.len());
    for (b, &length) in lengths.iter().enumerate() {
        let fits = (1..=steps).contains(&length);
        ensure!(fits, "{name}: the length of sequence {b} must be in 1..={steps}, got {length}");
    }
    Ok(lengths)
}

/// The index of the `n`th element, in row-major order, of a tensor of these dimensions.
pub(super) fn place(mut n: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (index, &size) in index.iter_mut().zip(dims).rev() {
        *index = n % size;
        n /= size;
    }
    index
}
