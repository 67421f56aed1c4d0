//! One vector of a sequence of vectors: the mean or the maximum over its own steps.
//!
//! Why not Candle's: its mean and maximum know no lengths, and its maximum gives a gradient to every one of equals.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::indexing::checked_lengths;
use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::parallel::for_each_chunk;
use crate::graph::Operation;

const NAME: &str = "over_time";

/// What becomes of the steps of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    /// Their mean.
    Mean,
    /// The largest of each number; among equals the first takes the gradient, and NaN is the largest.
    Max,
}

/// The mean or the maximum over the steps of each sequence, of which sequence `b` has `lengths[b]`, all of them if `None`.
///
/// `[B, T, C]` → `[B, C]`. Steps beyond a sequence's end have no effect and take no gradient.
///
/// # Errors
/// If `x` is not rank 3 or has no steps, there is not one length a sequence, one is not in `1..=T`, or `x` is of no float
/// type.
pub fn over_time(x: &Tensor, lengths: Option<&[usize]>, how: OverTime) -> Result<Tensor> {
    if let Some(half) = half_precision(NAME, &[x])? {
        return over_time(&widen(x)?, lengths, how)?.to_dtype(half);
    }
    let &[batch, steps, _] = x.dims() else {
        candle_core::bail!("{NAME}: x must be [B, T, C], got {:?}", x.dims())
    };
    crate::ensure!(steps > 0, "{NAME}: x must have at least one step, got {:?}", x.dims());
    let lengths = checked_lengths(NAME, lengths, batch, steps)?;
    if on_cpu(&[x]) {
        apply1(Pool { how, lengths: lengths.into(), steps, places: Saved::for_gradients_of(&[x]) }, x)
    } else {
        portable(x, &lengths, how)
    }
}

#[derive(Clone)]
struct Pool {
    how: OverTime,
    lengths: Arc<[usize]>,
    /// Of the longest.
    steps: usize,
    /// Of each maximum, its step.
    places: Saved<Vec<u32>>,
}

impl Kernel<1> for Pool {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let &[batch, steps, width] = x.dims else { unreachable!("checked by over_time") };
        let mut y: Vec<(T, u32)> = vec![(T::ZERO, 0); batch * width];
        for_each_chunk(&mut y, width, x.data.len(), |b, y| {
            let rows = x.data[b * steps * width..][..self.lengths[b] * width].chunks_exact(width);
            match self.how {
                OverTime::Mean => {
                    rows.for_each(|row| y.iter_mut().zip(row).for_each(|(y, &x)| y.0 += x));
                    let length = T::of(self.lengths[b] as f64);
                    y.iter_mut().for_each(|y| y.0 /= length);
                }
                OverTime::Max => {
                    y.iter_mut().for_each(|y| y.0 = T::NEG_INFINITY);
                    for (t, row) in (0..).zip(rows) {
                        for (y, &x) in y.iter_mut().zip(row) {
                            let nan = |x: T| x.partial_cmp(&x).is_none();
                            if x > y.0 || (t == 0 || nan(x)) && !nan(y.0) {
                                *y = (x, t);
                            }
                        }
                    }
                }
            }
        });
        if self.how == OverTime::Max {
            self.places.keep(y.iter().map(|y| y.1).collect());
        }
        Ok((y.into_iter().map(|y| y.0).collect(), (batch, width).into()))
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(self.clone()), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn operations(&self) -> Vec<Operation> {
        let even = self.lengths.iter().all(|&length| length == self.steps);
        if even { vec![Operation::OverTime(self.how)] } else { Vec::new() }
    }
}

#[derive(Clone)]
struct Gradient(Pool);

impl Kernel<1> for Gradient {
    const NAME: &'static str = "over_time-dx";

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let (&[batch, width], Pool { how, lengths, steps, places }) = (dy.dims, &self.0) else {
            unreachable!("one row a sequence")
        };
        let mut dx = vec![T::ZERO; batch * steps * width];
        let work = dx.len();
        for_each_chunk(&mut dx, steps * width, work, |b, dx| {
            let dy = &dy.data[b * width..][..width];
            match (how, places.get()) {
                (OverTime::Mean, _) => {
                    let share = T::ONE / T::of(lengths[b] as f64);
                    for dx in dx[..lengths[b] * width].chunks_exact_mut(width.max(1)) {
                        dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx = dy * share);
                    }
                }
                (OverTime::Max, Some(places)) => {
                    for (c, (&dy, &t)) in dy.iter().zip(&places[b * width..]).enumerate() {
                        dx[t as usize * width + c] = dy;
                    }
                }
                (OverTime::Max, None) => unreachable!("kept by the forward pass"),
            }
        });
        Ok((dx, (batch, *steps, width).into()))
    }
}

/// The same from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, lengths: &[usize], how: OverTime) -> Result<Tensor> {
    let (batch, steps, _) = x.dims3()?;
    let inside = lengths.iter().flat_map(|&length| (0..steps).map(move |t| u8::from(t < length))).collect();
    let inside = Tensor::from_vec(inside, (batch, steps, 1), x.device())?;
    let inside = inside.broadcast_as(x.shape())?.contiguous()?;
    match how {
        OverTime::Mean => {
            let counts: Vec<f64> = lengths.iter().map(|&length| length as f64).collect();
            let counts = Tensor::from_vec(counts, (batch, 1), x.device())?.to_dtype(x.dtype())?;
            inside.where_cond(x, &x.zeros_like()?)?.sum(1)?.broadcast_div(&counts)
        }
        OverTime::Max => {
            let least = Tensor::full(f32::NEG_INFINITY, x.shape(), x.device())?.to_dtype(x.dtype())?;
            inside.where_cond(x, &least)?.max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    const HOW: [OverTime; 2] = [OverTime::Mean, OverTime::Max];

    #[test]
    fn worked_example() -> Result<()> {
        let x = Var::new(&[[[1f32, 5.0], [3.0, 5.0], [9.0, 9.0]]], &Device::Cpu)?;
        assert_eq!(over_time(&x, Some(&[2]), OverTime::Mean)?.to_vec2::<f32>()?, [[2.0, 5.0]]);
        let y = over_time(&x, Some(&[2]), OverTime::Max)?;
        assert_eq!(y.to_vec2::<f32>()?, [[3.0, 5.0]]);
        let grads = crate::backward(&y)?;
        let dx = grads.get(&x).expect("trained").squeeze(0)?.to_vec2::<f32>()?;
        assert_eq!(dx, [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]);
        let nan = Tensor::new(&[[[1f32], [f32::NAN], [3.0]]], &Device::Cpu)?;
        assert!(over_time(&nan, None, OverTime::Max)?.to_vec2::<f32>()?[0][0].is_nan());
        let least = Tensor::new(&[[[f32::NEG_INFINITY]]], &Device::Cpu)?;
        assert_eq!(over_time(&least, None, OverTime::Max)?.to_vec2::<f32>()?, [[f32::NEG_INFINITY]]);
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin_and_gradients_check() -> Result<()> {
        for how in HOW {
            for (shape, lengths) in
                [((1, 1, 1), vec![1]), ((3, 4, 5), vec![4, 1, 3]), ((2, 50, 700), vec![49, 50])]
            {
                let x = [randn(1, shape)?];
                let f = |x: &[Tensor]| over_time(&x[0], Some(&lengths), how);
                assert_same(f, |x| portable(&x[0], &lengths, how), &x, 1e-12)?;
            }
            gradcheck(|x| over_time(&x[0].transpose(0, 1)?, Some(&[2, 3]), how), &[randn(2, (3, 2, 2))?])?;
            gradcheck(|x| over_time(&x[0], None, how), &[randn(3, (2, 3, 2))?])?;
            assert_types(NAME, |x| over_time(&x[0], None, how), &[randn(4, (2, 3, 2))?])?;
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        for (shape, lengths, rule) in [
            (&[2, 3][..], None, "x must be [B, T, C], got [2, 3]"),
            (&[2, 0, 3], None, "at least one step"),
            (&[2, 3, 1], Some(&[1][..]), "one length a sequence of 2, got 1"),
            (&[2, 3, 1], Some(&[1, 4]), "the length of sequence 1 must be in 1..=3, got 4"),
        ] {
            let x = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
            let error = over_time(&x, lengths, OverTime::Mean).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        Ok(())
    }
}
