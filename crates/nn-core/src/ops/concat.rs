//! Tensors side by side in one.
//!
//! Why not Candle's: a graph with an operation of Candle's in it has to take Candle's way back
//! ([`backward`](crate::backward())).

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, on_cpu, wants_gradient, with_all_views};
use super::knot::Bundle;
use crate::cpu::Element;
use crate::cpu::blank::by_chunks;
use crate::ensure;
use crate::graph::Operation;

/// The tensors one after the other along `axis`: `[…, n₁, …]`, `[…, n₂, …]`, … → `[…, n₁ + n₂ + …, …]`. Any type.
///
/// # Errors
/// If there are none, they have no axis `axis`, other axes differ, or types do.
pub fn concat<A: AsRef<Tensor>>(xs: &[A], axis: usize) -> Result<Tensor> {
    let xs: Vec<&Tensor> = xs.iter().map(AsRef::as_ref).collect();
    let Some((first, others)) = xs.split_first() else {
        candle_core::bail!("concat: there must be a tensor")
    };
    ensure!(axis < first.rank(), "concat: there must be an axis {axis}, got {:?}", first.dims());
    for x in others {
        let fits =
            x.rank() == first.rank() && (0..x.rank()).all(|i| i == axis || x.dims()[i] == first.dims()[i]);
        ensure!(
            fits,
            "concat: all but axis {axis} must be the same, got {:?} and {:?}",
            first.dims(),
            x.dims()
        );
        ensure!(
            x.dtype() == first.dtype(),
            "concat: types must be the same, got {:?} and {:?}",
            first.dtype(),
            x.dtype()
        );
    }
    if others.is_empty() {
        return Ok((*first).clone());
    }
    if !(on_cpu(&xs) && xs.iter().any(|x| wants_gradient(x))) {
        return Tensor::cat(&xs, axis);
    }
    let (zero, bundle) = Bundle::of(&xs)?;
    let parts = xs.iter().map(|x| (x.dims()[axis], wants_gradient(x))).collect();
    let xs = xs.into_iter().cloned().collect();
    apply1(Concat { xs, parts, axis, bundle }, &zero)
}

#[derive(Clone)]
struct Concat {
    /// None once the forward pass is over and the graph keeps activations small.
    xs: Vec<Tensor>,
    /// How long each is along the axis, and whether it wants a gradient.
    parts: Vec<(usize, bool)>,
    axis: usize,
    bundle: Bundle,
}

impl Kernel<1> for Concat {
    const NAME: &'static str = "concat";

    fn forward<T: Element>(&self, _zero: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let mut dims = self.xs[0].dims().to_vec();
        dims[self.axis] = self.xs.iter().map(|x| x.dims()[self.axis]).sum();
        let (count, row) = (dims.iter().product(), dims[self.axis..].iter().product::<usize>());
        let y = with_all_views(&self.xs, |xs| {
            by_chunks(count, row, count, |i, y| {
                y.join(xs.iter().map(|x| {
                    let row: usize = x.dims[self.axis..].iter().product();
                    &x.data[i * row..][..row]
                }));
            })
        })?;
        Ok((y, dims.into()))
    }

    fn backward(&self, [zero]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let mut start = 0;
        let parts = self.parts.iter().map(|&(n, is_wanted)| {
            start += n;
            is_wanted.then(|| dy.narrow(self.axis, start - n, n)).transpose()
        });
        let zero = zero.zeros_like()?;
        self.bundle.put(parts.collect::<Result<_>>()?, &zero);
        Ok([Some(zero)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn settled(self) -> Self {
        Self { xs: Vec::new(), ..self }
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Concat(self.axis)]
    }

    fn operands(&self, _: &[Tensor]) -> Vec<Tensor> {
        self.xs.clone()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{assert_close, gradcheck, randn};

    #[test]
    fn worked_example() -> Result<()> {
        let [a, b] = [
            Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?,
            Tensor::new(&[[3f32, 4.0], [5.0, 6.0]], &Device::Cpu)?,
        ];
        let rows = [[1f32, 3.0, 4.0], [2.0, 5.0, 6.0]];
        assert_eq!(concat(&[&a, &b], 1)?.to_vec2::<f32>()?, rows);
        let trained = Var::from_tensor(&a)?;
        assert_eq!(concat(&[trained.as_tensor(), &b], 1)?.to_vec2::<f32>()?, rows);
        assert_eq!(concat(&[&a], 1)?.to_vec2::<f32>()?, [[1.0], [2.0]]);
        assert_eq!(concat(&[&a.to_dtype(DType::U8)?, &b.to_dtype(DType::U8)?], 1)?.dims(), [2, 3]);
        Ok(())
    }

    #[test]
    fn it_is_candles_along_every_axis_for_any_number() -> Result<()> {
        for axis in 0..3 {
            for count in 2..6 {
                let xs = (0..count).map(|i| {
                    let mut dims = [3, 4, 5];
                    dims[axis] = i as usize; // The first is empty.
                    Var::from_tensor(&randn(i, dims.as_slice())?)
                });
                let xs = xs.collect::<Result<Vec<_>>>()?;
                let xs: Vec<&Tensor> = xs.iter().map(Var::as_tensor).collect();
                assert_close(&concat(&xs, axis)?, &Tensor::cat(&xs, axis)?, 0.0, 0.0)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_check() -> Result<()> {
        let xs = [randn(1, (2, 3, 2))?, randn(2, (2, 1, 2))?, randn(3, (2, 2, 4))?, randn(4, (2, 3, 2))?];
        gradcheck(|x| concat(&[&x[0], &x[1], &x[2].narrow(2, 1, 2)?, &x[3], &x[0]], 1)?.sqr(), &xs)
    }

    #[test]
    fn the_way_back_hands_each_its_part() -> Result<()> {
        let [a, c] = [Var::from_tensor(&randn(1, (2, 3))?)?, Var::from_tensor(&randn(2, (2, 2))?)?];
        let b = randn(3, (2, 1))?;
        let y = crate::ops::tanh(&concat(&[a.as_tensor(), &b, &c, &a], 1)?)?;
        let (ours, candles) = (crate::backward(&y)?, y.backward()?);
        for x in [&a, &c] {
            assert_close(ours.get(x).expect("trained"), candles.get(x).expect("trained"), 0.0, 1e-15)?;
        }
        assert!(ours.get(&b).is_none());
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let (x, y) = (randn(1, (2, 3))?, randn(2, (4, 3))?);
        for (result, message) in [
            (concat::<Tensor>(&[], 0), "there must be a tensor"),
            (concat(&[&x, &x], 2), "an axis 2, got [2, 3]"),
            (concat(&[&x, &y], 1), "all but axis 1 must be the same, got [2, 3] and [4, 3]"),
            (concat(&[&x, &randn(3, 2)?], 0), "[2, 3] and [2]"),
            (concat(&[&x, &x.to_dtype(DType::F32)?], 0), "F64 and F32"),
        ] {
            let error = result.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }
}
