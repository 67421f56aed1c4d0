//! Numbers picked along an axis, and their way back: gather, scatter-add, one-hot.
//!
//! Why not Candle's: its `scatter` and `scatter_add` have each other's gradients (docs/candle-gaps.md); `gather`'s is
//! right, and is used here.

use candle_core::shape::Dim;
use candle_core::{DType, Result, Tensor};

use super::indexing::checked;
use super::precision::half_precision;
use crate::ensure;

/// `y[i, j, k] = x[i, index[i, j, k], k]`, for the middle axis as `dim`, and so on for others.
///
/// `x` and `index` of one rank, `index` no longer along any other axis → `index`'s shape. Candle's op, with its indices
/// checked: the message names the one that is out of range.
///
/// # Errors
/// If ranks or sizes do not fit, or an index is out of range.
pub fn gather<D: Dim>(x: &Tensor, index: &Tensor, dim: D) -> Result<Tensor> {
    let axis = dim.to_index(x.shape(), "gather")?;
    half_precision("gather", &[x])?;
    check("gather", x, index, axis)?;
    let numbers = checked("gather", index, x.dim(axis)?)?;
    let index = Tensor::from_vec(numbers, index.shape(), x.device())?;
    // Candle walks `x` as it lies in memory, and wants the other axes equal.
    let mut x = x.clone();
    for other in (0..x.rank()).filter(|&other| other != axis) {
        x = x.narrow(other, 0, index.dim(other)?)?;
    }
    x.contiguous()?.gather(&index, axis)
}

/// `y = x`, and then `y[i, index[i, j, k], k] += source[i, j, k]`, for the middle axis as `dim`, and so on for others.
///
/// `x` of any shape, `index` and `source` of one shape, no longer along any other axis → `x`'s shape. Both `x` and
/// `source` get gradients; equal indices add up.
///
/// # Errors
/// If ranks, sizes or types do not fit, or an index is out of range; the message names it.
pub fn scatter_add<D: Dim>(x: &Tensor, index: &Tensor, source: &Tensor, dim: D) -> Result<Tensor> {
    const NAME: &str = "scatter_add";
    let axis = dim.to_index(x.shape(), NAME)?;
    half_precision(NAME, &[x, source])?;
    check(NAME, x, index, axis)?;
    let (a, b) = (index.dims(), source.dims());
    ensure!(a == b, "{NAME}: index and source must have one shape, got {a:?} and {b:?}");
    let numbers = checked(NAME, index, x.dim(axis)?)?;
    let index = Tensor::from_vec(numbers, index.shape(), x.device())?;
    // Zeros wherever the index is shorter than `x`.
    let added = Scattered { dims: x.dims().to_vec(), axis, index }.apply(source)?;
    x + added
}

fn check(op: &str, x: &Tensor, index: &Tensor, axis: usize) -> Result<()> {
    let (a, b) = (x.dims(), index.dims());
    let fits = a.len() == b.len() && (0..a.len()).all(|i| i == axis || b[i] <= a[i]);
    ensure!(fits, "{op}: along axis {axis} the index must fit x {a:?}, got {b:?}");
    Ok(())
}

/// `source` added up in a tensor of zeros. It is linear, and what it does to a gradient is [`gather`].
struct Scattered {
    dims: Vec<usize>,
    axis: usize,
    index: Tensor,
}

impl Scattered {
    fn apply(&self, source: &Tensor) -> Result<Tensor> {
        // The sum over places of source · onehot(place) is a gather of rows in disguise: Candle's `index_add` on flat
        // positions has the gradient that `scatter_add` lacks.
        let count = self.dims.iter().product::<usize>();
        let flat = self.positions()?;
        let zeros = Tensor::zeros(count, source.dtype(), source.device())?;
        zeros.index_add(&flat, &source.flatten_all()?.contiguous()?, 0)?.reshape(self.dims.as_slice())
    }

    /// Of each element of the source, the row-major position it goes to.
    fn positions(&self) -> Result<Tensor> {
        let steps: Vec<usize> =
            (0..self.dims.len()).map(|i| self.dims[i + 1..].iter().product::<usize>()).collect();
        let index = self.index.flatten_all()?.to_vec1::<u32>()?;
        let sizes = self.index.dims();
        let positions = index.iter().enumerate().map(|(n, &chosen)| {
            let place = super::indexing::place(n, sizes);
            let at = |i: usize| if i == self.axis { chosen as usize } else { place[i] };
            (0..sizes.len()).map(|i| at(i) * steps[i]).sum::<usize>() as u32
        });
        let positions: Vec<u32> = positions.collect();
        let count = positions.len();
        Tensor::from_vec(positions, count, self.index.device())
    }
}

/// `y[…, c] = 1` where `indices[…] = c`, else 0.
///
/// `indices` of any shape → `[…, classes]` of type `dtype`; without a gradient.
///
/// # Errors
/// If an index is not below `classes`; the message names it and its place.
pub fn one_hot(indices: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let numbers = checked("one_hot", indices, classes)?;
    let mut hot = vec![0u8; numbers.len() * classes];
    numbers.iter().enumerate().for_each(|(n, &class)| hot[n * classes + class as usize] = 1);
    let dims = [indices.dims(), &[classes]].concat();
    Tensor::from_vec(hot, dims, indices.device())?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{gradcheck, randn};

    fn index(of: &[[i64; 3]; 2]) -> Result<Tensor> {
        Tensor::new(of, &Device::Cpu)
    }

    #[test]
    fn worked_examples() -> Result<()> {
        let x = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
        let i = index(&[[0, 0, 2], [1, 2, 1]])?;
        assert_eq!(gather(&x, &i, 1)?.to_vec2::<f32>()?, [[1.0, 1.0, 3.0], [5.0, 6.0, 5.0]]);
        let sum = scatter_add(&x, &i, &x, 1)?;
        assert_eq!(sum.to_vec2::<f32>()?, [[4.0, 2.0, 6.0], [4.0, 15.0, 11.0]]);
        let hot = one_hot(&Tensor::new(&[2u32, 0], &Device::Cpu)?, 3, DType::F32)?;
        assert_eq!(hot.to_vec2::<f32>()?, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        Ok(())
    }

    #[test]
    fn gradients_check_along_both_axes() -> Result<()> {
        let i = index(&[[0, 0, 2], [1, 2, 1]])?;
        gradcheck(|x| gather(&x[0], &i, 1), &[randn(1, (2, 4))?])?;
        gradcheck(|x| gather(&x[0].t()?, &i, 1), &[randn(1, (4, 3))?])?;
        gradcheck(|x| scatter_add(&x[0], &i, &x[1], 1), &[randn(1, (3, 4))?, randn(2, (2, 3))?])?;
        gradcheck(|x| scatter_add(&x[0], &i, &x[1].t()?, 0), &[randn(1, (3, 5))?, randn(2, (3, 2))?])
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let (x, i) = (randn(1, (2, 3))?, index(&[[0, 0, 2], [1, 3, 1]])?);
        let long = Tensor::zeros((3, 1), DType::U32, &Device::Cpu)?;
        let fails = |result: Result<Tensor>, message: &str| {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        };
        fails(gather(&x, &i, 1), "gather: indices must be in 0..3, got 3 at [1, 1]");
        fails(gather(&x, &long, 1), "gather: along axis 1 the index must fit x [2, 3], got [3, 1]");
        fails(scatter_add(&x, &i, &x, 1), "scatter_add: indices must be in 0..3, got 3 at [1, 1]");
        fails(scatter_add(&x, &long.narrow(0, 0, 2)?, &x, 1), "one shape, got [2, 1] and [2, 3]");
        fails(gather(&x.to_dtype(DType::U32)?, &i, 1), "got U32");
        fails(one_hot(&i, 3, DType::F32), "one_hot: indices must be in 0..3, got 3 at [1, 1]");
        Ok(())
    }
}
