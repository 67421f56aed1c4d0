//! Class labels: whole numbers that choose one class of each fibre of logits.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, WithDType};

use crate::cpu::simd::vectorised;
use crate::ensure;

/// The label whose places count nothing unless another is chosen, as in PyTorch.
pub(super) const IGNORE_INDEX: i64 = -100;

/// Stands for a label to ignore: no class, however many there are.
const IGNORED: u32 = u32::MAX;

/// The class of each fibre along axis 1, in row-major order of the targets.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    classes: Arc<Vec<u32>>,
    /// What each class counts; 1 if there is nothing.
    weight: Option<Arc<Vec<f64>>>,
}

impl Labels {
    /// Reads the targets `[B, d₁, …]` of `x` `[B, C, d₁, …]` for `op`, and the weights `[C]` of the classes.
    pub(super) fn read(
        op: &str,
        x: &Tensor,
        targets: &Tensor,
        weight: Option<&Tensor>,
        ignore_index: i64,
    ) -> Result<Self> {
        let (dims, t) = (x.dims(), targets.dims());
        let fits = dims.len() >= 2 && dims.len() == t.len() + 1 && dims[0] == t[0] && dims[2..] == t[1..];
        ensure!(fits, "{op}: input [B, C, …] needs targets [B, …], got shapes {dims:?} and {t:?}");
        let classes = dims[1];
        ensure!(classes > 0, "{op}: input must have at least one class on axis 1, got shape {dims:?}");
        let labels = match targets.dtype() {
            DType::U8 => checked::<u8>(op, targets, classes, ignore_index)?,
            DType::U32 => checked::<u32>(op, targets, classes, ignore_index)?,
            DType::I64 => checked::<i64>(op, targets, classes, ignore_index)?,
            other => candle_core::bail!("{op}: targets must be integers (u8, u32 or i64), got {other:?}"),
        };
        Ok(Self { classes: labels.into(), weight: class_weight(op, x, weight)?.map(Arc::new) })
    }

    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The class at place `i` and what it counts; nothing if the place is ignored.
    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> Option<(usize, f64)> {
        let label = self.classes[i];
        (label != IGNORED).then(|| {
            let class = label as usize;
            (class, self.weight.as_ref().map_or(1.0, |weight| weight[class]))
        })
    }

    /// What class `c` counts.
    pub(super) fn weight_of(&self, c: usize) -> f64 {
        self.weight.as_ref().map_or(1.0, |weight| weight[c])
    }

    /// What all places count together: what a mean is over.
    pub(super) fn total(&self) -> f64 {
        match &self.weight {
            None => vectorised(
                #[inline(always)]
                || self.classes.iter().map(|&label| usize::from(label != IGNORED)).sum::<usize>() as f64,
            ),
            Some(_) => (0..self.len()).filter_map(|i| self.at(i)).map(|(_, weight)| weight).sum(),
        }
    }

    /// For Candle's operations on `x`: the classes, 0 where ignored, in the targets' shape.
    pub(super) fn classes(&self, x: &Tensor) -> Result<Tensor> {
        let classes: Vec<u32> =
            self.classes.iter().map(|&label| if label == IGNORED { 0 } else { label }).collect();
        Tensor::from_vec(classes, places(x.dims()), x.device())
    }

    /// For Candle's operations on `x`: `f` of what each place counts, 0 where ignored, in the targets' shape.
    pub(super) fn weights(&self, x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
        let weights: Vec<f64> = (0..self.len()).map(|i| self.at(i).map_or(0.0, |(_, w)| f(w))).collect();
        Tensor::from_vec(weights, places(x.dims()), x.device())?.to_dtype(x.dtype())
    }
}

/// The shape `[B, d₁, …]` of what `[B, C, d₁, …]` has one of for each fibre.
pub(super) fn places(dims: &[usize]) -> Vec<usize> {
    [&dims[..1], &dims[2..]].concat()
}

/// The numbers of a tensor of weights `[C]`, one for each class of `x` `[B, C, …]`.
pub(super) fn class_weight(op: &str, x: &Tensor, weight: Option<&Tensor>) -> Result<Option<Vec<f64>>> {
    let Some(weight) = weight else { return Ok(None) };
    let (dims, classes) = (weight.dims(), x.dims()[1]);
    ensure!(dims == [classes], "{op}: weight must be one number a class, [{classes}], got shape {dims:?}");
    let (a, b) = (x.dtype(), weight.dtype());
    ensure!(a == b, "{op}: input and weight must have one type, got {a:?} and {b:?}");
    weight.to_dtype(DType::F64)?.to_vec1().map(Some)
}

/// The targets as classes or [`IGNORED`].
fn checked<I: WithDType + Into<i64>>(
    op: &str,
    targets: &Tensor,
    classes: usize,
    ignore_index: i64,
) -> Result<Vec<u32>> {
    let labels = targets.flatten_all()?.to_vec1::<I>()?;
    let is_class = |label: i64| (0..classes as i64).contains(&label);
    // Without a branch a place, since images have a label a pixel.
    let all_fit = vectorised(
        #[inline(always)]
        || {
            labels.iter().fold(true, |fit, &label| {
                let label = label.into();
                fit & (is_class(label) | (label == ignore_index))
            })
        },
    );
    if !all_fit {
        let fits = |label: &I| is_class((*label).into()) || (*label).into() == ignore_index;
        let at = labels.iter().position(|label| !fits(label)).unwrap_or_default();
        let place = index_of(at, targets.dims());
        candle_core::bail!("{op}: targets must be classes in 0..{classes}, got {} at {place:?}", labels[at]);
    }
    Ok(vectorised(
        #[inline(always)]
        || {
            let class = |label: i64| if label == ignore_index { IGNORED } else { label as u32 };
            labels.iter().map(|&label| class(label.into())).collect()
        },
    ))
}

/// All numbers of a tensor of integers.
pub(super) fn integers(op: &str, what: &str, x: &Tensor) -> Result<Vec<i64>> {
    ensure!(
        matches!(x.dtype(), DType::U8 | DType::U32 | DType::I64),
        "{op}: {what} must be integers (u8, u32 or i64), got {:?}",
        x.dtype()
    );
    x.to_dtype(DType::I64)?.flatten_all()?.to_vec1()
}

/// The index of the `n`th element, in row-major order, of a tensor of these dimensions.
pub(super) fn index_of(mut n: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (index, &size) in index.iter_mut().zip(dims).rev() {
        *index = n % size;
        n /= size;
    }
    index
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn places_and_classes_count_what_they_should() -> Result<()> {
        let x = Tensor::zeros((2, 3, 2), DType::F32, &Device::Cpu)?;
        let targets = Tensor::new(&[[0u8, 255], [2, 2]], &Device::Cpu)?;
        let labels = Labels::read("op", &x, &targets, None, 255)?;
        assert_eq!((labels.total(), labels.at(0), labels.at(1)), (3.0, Some((0, 1.0)), None));
        let weight = Tensor::new(&[0.5f32, 7.0, 2.0], &Device::Cpu)?;
        let labels = Labels::read("op", &x, &targets, Some(&weight), 255)?;
        assert_eq!((labels.total(), labels.at(3), labels.weight_of(1)), (4.5, Some((2, 2.0)), 7.0));
        assert_eq!(labels.classes(&x)?.to_vec2::<u32>()?, [[0, 0], [2, 2]]);
        assert_eq!(labels.weights(&x, |w| 2.0 * w)?.to_vec2::<f32>()?, [[1.0, 0.0], [4.0, 4.0]]);
        Ok(())
    }

    #[test]
    fn indices_count_the_last_axis_fastest() {
        assert_eq!([index_of(0, &[2, 3]), index_of(4, &[2, 3])], [[0, 0], [1, 1]]);
    }
}
