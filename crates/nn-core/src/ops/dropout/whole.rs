//! Dropout of whole stretches: channels of an example, or examples.

use candle_core::{Result, Shape, Tensor};

use super::{Chance, chance};
use crate::Ctx;
use crate::cpu::Element;
use crate::cpu::axis::Axis;
use crate::cpu::blank::{Blank, by_columns};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::ops::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use crate::ops::precision::{half_precision, widen};
use crate::random::Random;

/// Drops each of the `stretches` equal parts of `x` as a whole, in the name of `op`.
pub(in crate::ops) fn dropout_whole(
    op: &str,
    x: &Tensor,
    stretches: usize,
    p: f64,
    ctx: &Ctx,
) -> Result<Tensor> {
    let half = half_precision(op, &[x])?;
    let Some(chance) = chance(op, p, ctx)? else { return Ok(x.clone()) };
    if let Some(half) = half {
        return dropout_whole(op, &widen(x)?, stretches, p, ctx)?.to_dtype(half);
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let whole = Whole { stretches, chance, random: ctx.random() };
    if on_cpu(&[x]) { apply1(whole, x) } else { whole.portable(x) }
}

#[derive(Clone, Copy)]
struct Whole {
    stretches: usize,
    chance: Chance,
    random: Random,
}

impl Whole {
    fn keeps(&self, stretch: usize) -> bool {
        self.random.block(stretch as u64 / 4)[stretch % 4] > self.chance.last
    }

    #[inline(always)]
    fn write<T: Element>(&self, stretch: usize, x: &[T], y: &mut Blank<'_, T>) {
        let scale = T::of(self.chance.scale);
        if self.keeps(stretch) {
            y.map(x, |x| x * scale)
        } else {
            y.fill(|_| T::ZERO)
        };
    }

    /// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        let kept: Vec<u8> = (0..self.stretches).map(|i| u8::from(self.keeps(i))).collect();
        let rows = x.reshape((self.stretches, ()))?;
        let kept = Tensor::from_vec(kept, (self.stretches, 1), x.device())?.broadcast_as(rows.shape())?;
        kept.where_cond(&(&rows * self.chance.scale)?, &rows.zeros_like()?)?.reshape(x.shape())
    }
}

impl Kernel<1> for Whole {
    const NAME: &'static str = "dropout_whole";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let len = x.data.len() / self.stretches;
        let y = if len <= CHUNK {
            let axis = Axis { slabs: self.stretches, rows: len, columns: 1 };
            axis.by_fibres(
                1,
                #[inline(always)]
                |i, y| self.write(i, axis.fibre(&x.data, i), y),
            )
        } else {
            by_columns([self.stretches, 1, len], CHUNK, x.data.len(), |at, y| {
                let x = &x.data[at.slab * len + at.start..][..y[0].len()];
                vectorised(
                    #[inline(always)]
                    || self.write(at.slab, x, &mut y[0]),
                );
            })
        };
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [_]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(*self, dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn the_kernel_is_its_portable_twin_to_the_bit() -> Result<()> {
        let ctx = Ctx::train(5);
        for p in [0.5, 1.0] {
            let twin = |stretches| Whole {
                stretches,
                chance: chance("op", p, &ctx).ok().flatten().expect("a training pass"),
                random: ctx.random(),
            };
            for (stretches, len) in [(1, 1), (7, 3), (200, 300), (2, 50_000)] {
                let x = randn(1, (stretches, len))?;
                let ours = |x: &[Tensor]| dropout_whole("op", &x[0], stretches, p, &ctx);
                assert_same(ours, |x| twin(stretches).portable(&x[0]), &[x], 0.0)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_and_types() -> Result<()> {
        let ctx = Ctx::train(5);
        gradcheck(|x| dropout_whole("op", &x[0].t()?, 6, 0.5, &ctx), &[randn(1, (4, 6))?])?;
        assert_types("op", |x| dropout_whole("op", &x[0], 4, 0.5, &ctx), &[randn(1, (4, 6))?])
    }
}
