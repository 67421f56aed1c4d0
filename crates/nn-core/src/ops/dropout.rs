//! Dropout: in training, numbers are zeroed at random and the others scaled up, so that the expectation stays.
//!
//! Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15,
//! §10 (the scaling is in training, as in PyTorch).
//!
//! Why not Candle's: its mask cannot be seeded, and takes as much memory as the tensor (docs/candle-gaps.md).

mod whole;

use candle_core::{Result, Shape, Tensor};

use super::kernel::{Kernel, Reads, View, apply1, detached1, on_cpu};
use super::precision::{half_precision, widen};
use super::saved::Saved;
use crate::cpu::Element;
use crate::cpu::blank::{Blank, by_chunks, by_chunks_finding};
use crate::cpu::simd::vectorised;
use crate::cpu::vector::CHUNK;
use crate::random::Random;
use crate::{Ctx, Mode, ensure};

pub(super) use whole::dropout_whole;

/// In training each element becomes 0 with probability `p` and `x / (1 − p)` otherwise; in evaluation, `x`. Any shape;
/// also half precision.
///
/// Whether element `i` stays depends on the seed, the step and the path of `ctx`, and on `i`; calls at one place in
/// the model need names of their own ([`Ctx::at`]) to differ.
///
/// # Errors
/// If `p` is not in [0, 1], or `x` is not of a float type.
pub fn dropout(x: &Tensor, p: f64, ctx: &Ctx) -> Result<Tensor> {
    let half = half_precision(Dropout::NAME, &[x])?;
    let Some(chance) = chance(Dropout::NAME, p, ctx)? else { return Ok(x.clone()) };
    if let Some(half) = half {
        return dropout(&widen(x)?, p, ctx)?.to_dtype(half);
    }
    let draw = Draw { random: ctx.random(), chance };
    if on_cpu(&[x]) {
        apply1(Dropout { draw, kept: Saved::for_gradients_of(&[x]) }, x)
    } else {
        portable(x, draw)
    }
}

/// How likely something is dropped.
#[derive(Clone, Copy)]
struct Chance {
    /// What has a random word that is not above this is dropped.
    last: u32,
    /// By what the rest is multiplied.
    scale: f64,
}

/// `None` if nothing is ever dropped.
fn chance(op: &str, p: f64, ctx: &Ctx) -> Result<Option<Chance>> {
    ensure!((0.0..=1.0).contains(&p), "{op}: the probability must be in [0, 1], got {p}");
    // Of all 2³² words the fraction `p` is below this.
    let limit = (p * 4_294_967_296.0) as u64;
    if ctx.mode() == Mode::Eval || limit == 0 {
        return Ok(None);
    }
    // Where nothing stays any scale will do, except 0: Candle's multiple by 0 has no gradient.
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 1.0 };
    Ok(Some(Chance { last: (limit - 1) as u32, scale }))
}

/// Elements that are decided on at once: 256 blocks of random words, the first words of all blocks first.
const ELEMENTS: usize = 1024;

/// [`ELEMENTS`] decisions, one a bit.
type Kept = [u32; ELEMENTS / 32];

/// Elementary operations per element, roughly.
const COST: usize = 8;

#[derive(Clone, Copy)]
struct Draw {
    random: Random,
    chance: Chance,
}

impl Draw {
    /// The words of the elements from `first`, a multiple of [`ELEMENTS`], on.
    #[inline(always)]
    fn words(self, first: usize) -> [u32; ELEMENTS] {
        let mut words = [0; ELEMENTS];
        let (a, rest) = words.split_at_mut(ELEMENTS / 4);
        let (b, rest) = rest.split_at_mut(ELEMENTS / 4);
        let (c, d) = rest.split_at_mut(ELEMENTS / 4);
        for i in 0..ELEMENTS / 4 {
            [a[i], b[i], c[i], d[i]] = self.random.block((first / 4 + i) as u64);
        }
        words
    }

    /// A bit for each word: bit `i` of number `j` says whether element `32·i + j` is kept.
    #[inline(always)]
    fn pack(self, words: &[u32; ELEMENTS]) -> Kept {
        let mut kept = [0; ELEMENTS / 32];
        for (i, words) in words.as_chunks::<{ ELEMENTS / 32 }>().0.iter().enumerate() {
            for (kept, &word) in kept.iter_mut().zip(words) {
                *kept |= u32::from(word > self.chance.last) << i;
            }
        }
        kept
    }

    /// `y` from `x` and words.
    #[inline(always)]
    fn write<T: Element>(self, x: &[T], words: &[u32; ELEMENTS], y: &mut Blank<'_, T>) {
        let (scale, last) = (T::of(self.chance.scale), self.chance.last);
        y.map2(x, &words[..x.len()], |x, word| if word > last { x * scale } else { T::ZERO });
    }
}

/// Words that [`Draw::write`] reads as these decisions.
#[inline(always)]
fn unpack(kept: &Kept) -> [u32; ELEMENTS] {
    let mut words = [0; ELEMENTS];
    for (i, words) in words.as_chunks_mut::<{ ELEMENTS / 32 }>().0.iter_mut().enumerate() {
        for (word, kept) in words.iter_mut().zip(kept) {
            *word = if kept & (1 << i) == 0 { 0 } else { u32::MAX };
        }
    }
    words
}

#[derive(Clone)]
struct Dropout {
    draw: Draw,
    kept: Saved<Vec<Kept>>,
}

impl Kernel<1> for Dropout {
    const NAME: &'static str = "dropout";

    fn forward<T: Element>(&self, [x]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let draw = self.draw;
        let wanted = self.kept.is_wanted();
        let (y, kept) = by_chunks_finding(x.data.len(), CHUNK, COST * x.data.len(), |i, y| {
            let x = &x.data[CHUNK * i..][..y.len()];
            let mut kept = Vec::with_capacity(if wanted { CHUNK / ELEMENTS } else { 0 });
            vectorised(
                #[inline(always)]
                || {
                    y.fill_parts(
                        ELEMENTS,
                        #[inline(always)]
                        |j, y| {
                            let words = draw.words(CHUNK * i + ELEMENTS * j);
                            draw.write(&x[ELEMENTS * j..][..y.len()], &words, y);
                            if wanted {
                                kept.push(draw.pack(&words));
                            }
                        },
                    );
                },
            );
            kept
        });
        if wanted {
            self.kept.keep(kept.concat());
        }
        Ok((y, x.dims.into()))
    }

    fn backward(&self, [_]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(detached1(Gradient(self.clone()), dy)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}

/// The same decisions, from the bits the forward pass kept.
#[derive(Clone)]
struct Gradient(Dropout);

impl Kernel<1> for Gradient {
    const NAME: &'static str = Dropout::NAME;

    fn forward<T: Element>(&self, [dy]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let Some(kept) = self.0.kept.get() else { unreachable!("kept by the forward pass") };
        let dx = by_chunks(dy.data.len(), CHUNK, 2 * dy.data.len(), |i, dx| {
            let dy = &dy.data[CHUNK * i..][..dx.len()];
            vectorised(
                #[inline(always)]
                || {
                    dx.fill_parts(
                        ELEMENTS,
                        #[inline(always)]
                        |j, dx| {
                            let words = unpack(&kept[CHUNK / ELEMENTS * i + j]);
                            self.0.draw.write(&dy[ELEMENTS * j..][..dx.len()], &words, dx);
                        },
                    );
                },
            );
        });
        Ok((dx, dy.dims.into()))
    }
}

/// The same function from differentiable Candle operations: other devices, and the kernel's oracle.
fn portable(x: &Tensor, draw: Draw) -> Result<Tensor> {
    let count = x.elem_count();
    let mut kept = Vec::with_capacity(count.next_multiple_of(ELEMENTS));
    for first in (0..count).step_by(ELEMENTS) {
        kept.extend(draw.words(first).map(|word| u8::from(word > draw.chance.last)));
    }
    kept.truncate(count);
    let kept = Tensor::from_vec(kept, x.shape(), x.device())?;
    kept.where_cond(&(x * draw.chance.scale)?, &x.zeros_like()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::oracle::{assert_same, assert_types};
    use crate::testing::{gradcheck, randn};

    #[test]
    fn an_element_is_decided_by_its_own_random_word() -> Result<()> {
        let ctx = Ctx::train(3).step(5);
        let ctx = ctx.at("drop");
        let x = Var::ones(40_000, DType::F32, &Device::Cpu)?;
        let y = dropout(&x, 0.25, &ctx)?;
        let grads = y.sum_all()?.backward()?;
        let dx = grads.get(&x).expect("x is a variable").to_vec1::<f32>()?;
        let y = y.to_vec1::<f32>()?;
        for (i, &y) in y.iter().enumerate() {
            let word = ctx.random().block((i / 1024 * 256 + i % 256) as u64)[i / 256 % 4];
            let truth = if word < 1 << 30 { 0.0 } else { 4.0 / 3.0 };
            assert_eq!((y, dx[i]), (truth, truth), "element {i}");
        }
        let dropped = y.iter().filter(|&&y| y == 0.0).count();
        assert!((9_700..10_300).contains(&dropped), "{dropped} of 40000 were dropped");
        Ok(())
    }

    #[test]
    fn the_kernel_is_its_portable_twin_to_the_bit() -> Result<()> {
        let ctx = Ctx::train(1);
        for (p, last, scale) in
            [(0.25, (1 << 30) - 1, 1.0 / 0.75), (0.5, (1 << 31) - 1, 2.0), (1.0, u32::MAX, 1.0)]
        {
            let twin = Draw { random: ctx.random(), chance: Chance { last, scale } };
            for shape in [vec![], vec![0, 3], vec![1], vec![63], vec![3, 5, 7], vec![50_001]] {
                for dtype in [DType::F64, DType::F32] {
                    let x = randn(2, shape.as_slice())?.to_dtype(dtype)?;
                    assert_same(|x| dropout(&x[0], p, &ctx), |x| portable(&x[0], twin), &[x], 0.0)?;
                }
            }
            let x = randn(3, (4, 5))?;
            assert_same(
                |x| dropout(&x[0].t()?.narrow(1, 1, 2)?, p, &ctx),
                |x| portable(&x[0].t()?.narrow(1, 1, 2)?, twin),
                &[x],
                0.0,
            )?;
        }
        Ok(())
    }

    #[test]
    fn gradients_are_derivatives() -> Result<()> {
        for p in [0.3, 1.0] {
            gradcheck(|x| dropout(&x[0], p, &Ctx::train(4)), &[randn(5, (3, 50))?])?;
        }
        Ok(())
    }

    #[test]
    fn types() -> Result<()> {
        assert_types("dropout", |x| dropout(&x[0], 0.3, &Ctx::train(4)), &[randn(5, (3, 50))?])
    }

    #[test]
    fn nothing_is_dropped_in_evaluation_or_with_probability_0() -> Result<()> {
        let x = randn(6, 100)?;
        for y in [dropout(&x, 0.9, &Ctx::eval())?, dropout(&x, 0.0, &Ctx::train(1))?] {
            assert_eq!(y.to_vec1::<f64>()?, x.to_vec1::<f64>()?);
        }
        Ok(())
    }

    #[test]
    fn all_is_dropped_with_probability_1() -> Result<()> {
        let x = Var::new(&[1f32, f32::INFINITY, f32::NAN], &Device::Cpu)?;
        let y = dropout(&x, 1.0, &Ctx::train(1))?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0; 3]);
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("x is a variable").to_vec1::<f32>()?, [0.0; 3]);
        Ok(())
    }

    #[test]
    fn masks_differ_by_seed_step_and_place() -> Result<()> {
        let x = Tensor::ones(256, DType::F32, &Device::Cpu)?;
        let mask = |ctx: Ctx| dropout(&x, 0.5, &ctx)?.to_vec1::<f32>();
        let start = mask(Ctx::train(1))?;
        assert_eq!(start, mask(Ctx::train(1))?);
        for other in [Ctx::train(2), Ctx::train(1).step(1), Ctx::train(1).at("drop")] {
            assert_ne!(start, mask(other)?);
        }
        Ok(())
    }

    #[test]
    fn a_probability_out_of_range_is_an_error() -> Result<()> {
        let x = Tensor::ones(2, DType::F32, &Device::Cpu)?;
        for p in [-0.1, 1.1, f64::NAN] {
            for ctx in [Ctx::train(1), Ctx::eval()] {
                let error = dropout(&x, p, &ctx).expect_err("out of range").to_string();
                assert!(error.contains(&format!("must be in [0, 1], got {p}")), "{error}");
            }
        }
        Ok(())
    }
}
