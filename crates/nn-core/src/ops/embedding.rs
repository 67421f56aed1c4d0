//! A table of vectors, looked up by number.
//!
//! Source: Bengio et al. 2003, "A neural probabilistic language model", JMLR 3, §2; `torch.nn.Embedding`.
//!
//! Why not Candle's: a number outside the table fails there without its place, and padding is trained.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::indexing::checked;
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::half_precision;
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::cpu::parallel::for_each_chunk;
use crate::ensure;
use crate::graph::Operation;

const NAME: &str = "embedding";

/// `y[…, :] = table[indices[…], :]`; the row `padding` gets no gradient.
///
/// `indices` of any shape, of type `u8`, `u32` or `i64`; `table` `[V, D]` → `[…, D]`. Rows that are looked up several times
/// get the sum of their gradients.
///
/// # Errors
/// If `table` is not a matrix of floats, an index is not below `V` (the message names it and its place), or `padding` is
/// not.
pub fn embedding(indices: &Tensor, table: &Tensor, padding: Option<usize>) -> Result<Tensor> {
    half_precision(NAME, &[table])?;
    let &[rows, width] = table.dims() else {
        candle_core::bail!("{NAME}: the table must be [V, D], got {:?}", table.dims())
    };
    if let Some(padding) = padding {
        ensure!(padding < rows, "{NAME}: the padding index must be in 0..{rows}, got {padding}");
    }
    let numbers = checked(NAME, indices, rows)?;
    let dims = [indices.dims(), &[width]].concat();
    if on_cpu(&[table]) {
        let source = indices.track_op().then(|| indices.clone());
        apply1(Lookup { indices: numbers.into(), source, dims: dims.into(), padding }, table)
    } else {
        portable(&numbers, table, padding)?.reshape(dims)
    }
}

#[derive(Clone)]
struct Lookup {
    indices: Arc<[u32]>,
    /// The indices, where they lead back to a variable: for [`crate::graph`].
    source: Option<Tensor>,
    /// Of the output.
    dims: Shape,
    padding: Option<usize>,
}

/// Numbers that a task copies at a time.
const CHUNK: usize = 16 * 1024;

impl Kernel<1> for Lookup {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [table]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (width, count) = (table.dims[1], self.indices.len());
        let many = (CHUNK / width.max(1)).max(1);
        let y = by_chunks(count * width, many * width, count * width, |i, y| {
            y.fill_parts(width, |j, y| {
                let row = self.indices[i * many + j] as usize;
                y.map(&table.data[row * width..][..width], |x| x);
            });
        });
        Ok((y, self.dims.clone()))
    }

    fn backward(&self, [table]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let rows = table.dim(0)?;
        Ok([Some(detached1(Scatter { lookup: self.clone(), rows }, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        self.source.iter().map(|_| Operation::Embedding).collect()
    }

    fn operands(&self, args: &[Tensor]) -> Vec<Tensor> {
        args.iter().chain(&self.source).cloned().collect()
    }
}

/// `dtable[v] = Σ dy[n]` over the places `n` where `v` was looked up, in their order.
#[derive(Clone)]
struct Scatter {
    lookup: Lookup,
    rows: usize,
}

impl Kernel<1> for Scatter {
    const NAME: &'static str = "embedding-dtable";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let Some(&width) = dy.dims.last() else { unreachable!("the last axis is the table's") };
        // The places of each row together: a counting sort, so that rows can be summed side by side.
        let mut first = vec![0u32; self.rows + 1];
        self.lookup.indices.iter().for_each(|&v| first[v as usize + 1] += 1);
        (0..self.rows).for_each(|v| first[v + 1] += first[v]);
        let (mut next, mut places) = (first.clone(), vec![0u32; self.lookup.indices.len()]);
        for (n, &v) in (0..).zip(self.lookup.indices.iter()) {
            places[next[v as usize] as usize] = n;
            next[v as usize] += 1;
        }
        let mut table = vec![T::ZERO; self.rows * width];
        let many = (CHUNK / width.max(1)).max(1);
        for_each_chunk(&mut table, many * width, dy.data.len(), |i, rows| {
            for (j, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
                let v = i * many + j;
                if self.lookup.padding == Some(v) {
                    continue;
                }
                for &n in &places[first[v] as usize..first[v + 1] as usize] {
                    let dy = &dy.data[n as usize * width..][..width];
                    row.iter_mut().zip(dy).for_each(|(sum, &d)| *sum += d);
                }
            }
        });
        Ok((table, (self.rows, width).into()))
    }
}

/// The same from differentiable Candle operations: other devices and types, and the kernel's oracle.
fn portable(indices: &[u32], table: &Tensor, padding: Option<usize>) -> Result<Tensor> {
    let count = indices.len();
    let index = Tensor::from_slice(indices, count, table.device())?;
    let y = table.index_select(&index, 0)?;
    let Some(padding) = padding else { return Ok(y) };
    let trained = indices.iter().map(|&i| u8::from(i as usize != padding)).collect();
    let trained = Tensor::from_vec(trained, (count, 1), table.device())?.broadcast_as(y.shape())?;
    trained.where_cond(&y, &y.detach())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::assert_same;
    use crate::testing::{gradcheck, randn};

    fn indices(of: &[u32], dims: &[usize]) -> Result<Tensor> {
        Tensor::from_slice(of, dims, &Device::Cpu)
    }

    #[test]
    fn repeated_rows_add_up_and_padding_is_not_trained() -> Result<()> {
        let table = Var::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu)?;
        let y = embedding(&indices(&[2, 0, 2, 1], &[2, 2])?, &table, Some(1))?;
        assert_eq!(y.dims(), [2, 2, 2]);
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0]);
        let grads = y.sum_all()?.backward()?;
        let d = grads.get(&table).expect("a variable").to_vec2::<f32>()?;
        assert_eq!(d, [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]);
        Ok(())
    }

    #[test]
    fn kernel_equals_portable_and_gradients_check() -> Result<()> {
        let many: Vec<u32> = (0..700).map(|i| (i * i + 3) % 50).collect();
        for (numbers, dims, width) in
            [(&[4u32, 1, 4, 4][..], vec![4], 3), (&[], vec![0], 3), (&many, vec![7, 100], 40)]
        {
            let index = indices(numbers, &dims)?;
            for padding in [None, Some(4)] {
                assert_same(
                    |x| embedding(&index, &x[0], padding)?.flatten_to(dims.len() - 1),
                    |x| portable(numbers, &x[0], padding),
                    &[randn(1, (50, width))?],
                    1e-12,
                )?;
            }
        }
        let index = indices(&[1, 1, 0], &[3])?;
        gradcheck(|x| embedding(&index, &x[0].t()?, None), &[randn(1, (3, 2))?])
    }

    #[test]
    fn indices_of_every_type_and_tables_of_half_precision() -> Result<()> {
        let table = randn(1, (5, 3))?;
        let truth = embedding(&indices(&[0, 4], &[2])?, &table, None)?;
        for dtype in [DType::U8, DType::I64] {
            let y = embedding(&indices(&[0, 4], &[2])?.to_dtype(dtype)?, &table, None)?;
            crate::testing::assert_close(&y, &truth, 0.0, 0.0)?;
        }
        let half = embedding(&indices(&[0, 4], &[2])?, &table.to_dtype(DType::BF16)?, Some(0))?;
        assert_eq!(half.dtype(), DType::BF16);
        crate::testing::assert_close(&half, &truth, 1e-2, 0.0)
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let table = randn(1, (5, 3))?;
        let index = indices(&[0, 1, 2, 5], &[2, 2])?;
        for (index, table, padding, message) in [
            (index.clone(), table.clone(), None, "indices must be in 0..5, got 5 at [1, 1]"),
            (Tensor::new(&[-1i64], &Device::Cpu)?, table.clone(), None, "got -1 at [0]"),
            (Tensor::new(&[1f32], &Device::Cpu)?, table.clone(), None, "indices must be integers"),
            (index.clone(), table.clone(), Some(5), "the padding index must be in 0..5, got 5"),
            (index.clone(), table.flatten_all()?, None, "the table must be [V, D], got [15]"),
            (index.clone(), table.to_dtype(DType::U32)?, None, "got U32"),
        ] {
            let error = embedding(&index, &table, padding).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
