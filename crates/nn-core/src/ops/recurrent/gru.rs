//! Gated recurrent units.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::cell::{self, After, Before, Cell, Gradient, Past};
use super::{RecurrentOptions, RecurrentWeights, layer};
use crate::cpu::Element;
use crate::graph::Unit;

/// A layer of gated recurrent units; `⊙` multiplies element by element, `σ` is the sigmoid:
///
/// ```text
/// rₓ, zₓ, nₓ = the three parts of w_ih · xₜ + b_ih
/// rₕ, zₕ, nₕ = the three parts of w_hh · hₜ₋₁ + b_hh
/// r = σ(rₓ + rₕ), z = σ(zₓ + zₕ), n = tanh(nₓ + r ⊙ nₕ)
/// hₜ = (1 − z) ⊙ n + z ⊙ hₜ₋₁
/// ```
///
/// `x [B, T, I]`, `h₀ [B, H]` (zeros if absent) → all `hₜ` as `[B, T, H]`, and the last of each sequence, `[B, H]`.
///
/// Source: Cho et al. 2014, arXiv:1406.1078, §2.3.
/// Differs: the reset gate acts after the product with `w_hh`, as in cuDNN and PyTorch.
///
/// # Errors
/// If `x` is not rank 3 or has no steps; if a parameter or the state is of another shape than these sizes ask for; if
/// there is not one length a sequence, or one is not in `1..=T`; if types differ or are not of floats.
pub fn gru(
    x: &Tensor,
    weights: &RecurrentWeights,
    h: Option<&Tensor>,
    options: RecurrentOptions<'_>,
) -> Result<(Tensor, Tensor)> {
    let (y, [h]) = layer::run(Gru, x, weights, [h], options)?;
    Ok((y, h))
}

#[derive(Clone, Copy)]
pub(super) struct Gru;

impl Cell<3> for Gru {
    const NAME: &'static str = "gru";
    const STATES: usize = 1;
    const REMEMBERS: bool = true;
    const APART: bool = true;
    const PROJECTS: bool = false;
    const UNIT: Unit = Unit::Gru;

    #[inline(always)]
    fn step<T: Element>(self, unit: Before<T, 3>) -> After<T, 3> {
        let Before { input: x, hidden, h, .. } = unit;
        let (r, z) = ((x[0] + hidden[0]).sigmoid(), (x[1] + hidden[1]).sigmoid());
        let n = r.mul_add(hidden[2], x[2]).tanh();
        After { gates: [r, z, n], h: z.mul_add(h - n, n), memory: hidden[2] }
    }

    #[inline(always)]
    fn back<T: Element>(self, unit: Past<T, 3>) -> Gradient<T, 3> {
        let [r, z, n] = unit.gates;
        let dn = unit.dh * (T::ONE - z) * (-n).mul_add(n, T::ONE);
        let dz = unit.dh * (unit.h_before - n) * z * (T::ONE - z);
        let dr = dn * unit.memory * r * (T::ONE - r);
        Gradient { input: [dr, dz, dn], hidden: [dr, dz, dn * r], h: unit.dh * z, memory: T::ZERO }
    }

    fn portable(self, input: &Tensor, hidden: &Tensor, state: &[Tensor]) -> Result<Vec<Tensor>> {
        let ([xr, xz, xn], [hr, hz, hn]) = (cell::gates(input)?, cell::gates(hidden)?);
        let (r, z) = (sigmoid(&xr.add(&hr)?)?, sigmoid(&xz.add(&hz)?)?);
        let n = xn.add(&r.mul(&hn)?)?.tanh()?;
        Ok(vec![z.mul(&state[0].sub(&n)?)?.add(&n)?])
    }
}
