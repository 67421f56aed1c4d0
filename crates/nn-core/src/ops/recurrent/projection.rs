//! A layer whose outputs are projections, from the one without.
//!
//! Source: Sak, Senior & Beaufays 2014, "Long short-term memory recurrent neural network architectures for large scale
//! acoustic modeling", arXiv:1402.1128, §2.2, without the second, non-recurrent projection; Jordan 1986, "Serial order: a
//! parallel distributed processing approach", for the plain network whose output is fed back.
//!
//! With `rₜ` for what the units give and `hₜ = w_hr · rₜ + b_hr`, what the gates see of the state is
//! `w_hh · hₜ₋₁ = (w_hh w_hr) · rₜ₋₁ + w_hh · b_hr`: a layer over `r`. The first state `h₀` is not the projection of any
//! `r₀`, so it comes in as an input of the first step, beside `x` and with the weights `w_hh`; the bias does so at all others.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::cell::Cell;
use super::layer;
use super::{Direction, Projection, RecurrentOptions, RecurrentWeights};
use crate::cpu::Element;
use crate::ensure;
use crate::ops::indexing::checked_lengths;
use crate::ops::kernel::{Kernel, Reads, View, apply1, on_cpu};
use crate::ops::{concat, linear, reshape, transpose};

/// [`layer::run`] with the projection `p`: `h` has as many numbers as it has rows.
pub(super) fn run<C: Cell<G>, const G: usize, const S: usize>(
    cell: C,
    x: &Tensor,
    w: &RecurrentWeights,
    state: [Option<&Tensor>; S],
    (p, options): (Projection<'_>, RecurrentOptions<'_>),
) -> Result<(Tensor, [Tensor; S])> {
    let [batch, steps, outputs, hidden] = check::<C, G>(x, w, p, state[0])?;
    let first = FirstStep::new(C::NAME, options, batch, steps)?;
    let (mut inputs, mut weights) = (vec![x.clone()], vec![w.w_ih.clone()]);
    if let Some(h) = state[0] {
        inputs.push(place(h, &first)?); // [B, T, P]
        weights.push(w.w_hh.clone());
    }
    if let Some(b) = p.bias {
        let ones = |shape: &[usize]| Tensor::ones(shape, x.dtype(), x.device());
        let others = (ones(&[batch, steps, 1])? - place(&ones(&[batch, 1])?, &first)?)?;
        inputs.push(others);
        weights.push(linear(&w.w_hh, &reshape(b, (1, outputs))?, None)?); // [gates · H, 1]
    }
    // A single step sees no output of its own.
    let w_hh = if steps == 1 && state[0].is_some() {
        Tensor::zeros((G * hidden, hidden), x.dtype(), x.device())?
    } else {
        linear(&w.w_hh, &transpose(p.weight, 0, 1)?, None)?
    };
    let w = RecurrentWeights { w_ih: joined(&weights, 1)?, w_hh, ..w.clone() };
    let zeros = Tensor::zeros((batch, hidden), x.dtype(), x.device())?;
    let mut inside = state;
    inside[0] = state[0].map(|_| &zeros);
    let (y, mut state) = layer::run(cell, &joined(&inputs, 2)?, &w, inside, options)?;
    state[0] = linear(&state[0], p.weight, p.bias)?;
    Ok((outputs_of(&y, p, options.lengths)?, state))
}

/// The projection of all steps; those beyond a sequence's end stay 0.
fn outputs_of(y: &Tensor, p: Projection<'_>, lengths: Option<&[usize]>) -> Result<Tensor> {
    let (Some(b), Some(lengths)) = (p.bias, lengths) else { return linear(y, p.weight, p.bias) };
    let (batch, steps, _) = y.dims3()?;
    let inside = lengths.iter().flat_map(|&length| (0..steps).map(move |t| f64::from(u8::from(t < length))));
    let inside = Tensor::from_vec(inside.collect(), (batch, steps, 1), y.device())?.to_dtype(y.dtype())?;
    let weight = concat(&[p.weight, &reshape(b, (b.elem_count(), 1))?], 1)?; // [P, H + 1]
    linear(&concat(&[y, &inside], 2)?, &weight, None)
}

fn joined(parts: &[Tensor], dim: usize) -> Result<Tensor> {
    match parts {
        [one] => Ok(one.clone()),
        parts => concat(&parts.iter().collect::<Vec<_>>(), dim),
    }
}

/// What the layer over `r` cannot check: sizes of the batch, the sequences, the outputs and the units.
fn check<C: Cell<G>, const G: usize>(
    x: &Tensor,
    w: &RecurrentWeights,
    p: Projection<'_>,
    h: Option<&Tensor>,
) -> Result<[usize; 4]> {
    let name = C::NAME;
    ensure!(C::PROJECTS, "{name}: only an RNN and an LSTM have a projection");
    let &[batch, steps, _] = x.dims() else {
        candle_core::bail!("{name}: x must be [B, T, I], got {:?}", x.dims())
    };
    let &[outputs, hidden] = p.weight.dims() else {
        candle_core::bail!("{name}: the projection must be [P, H], got {:?}", p.weight.dims())
    };
    ensure!(
        outputs > 0 && hidden > 0 && w.w_hh.dims() == [G * hidden, outputs],
        "{name}: w_hh must be [{G}·H, P] for a projection [{outputs}, {hidden}], got {:?}",
        w.w_hh.dims()
    );
    if let Some(b) = p.bias {
        ensure!(
            b.dims() == [outputs],
            "{name}: the projection's bias must be [{outputs}], got {:?}",
            b.dims()
        );
    }
    if let Some(h) = h {
        let expected = [batch, outputs];
        ensure!(h.dims() == expected, "{name}: the state h must be {expected:?}, got {:?}", h.dims());
    }
    Ok([batch, steps, outputs, hidden])
}

/// `[B, P]` → `[B, T, P]`: each sequence's row at the step it begins with, zeros elsewhere.
fn place(h: &Tensor, at: &FirstStep) -> Result<Tensor> {
    if on_cpu(&[h]) {
        return apply1(at.clone(), h);
    }
    let (batch, width) = h.dims2()?;
    let times: Vec<u32> = at.times.iter().map(|&t| t as u32).collect();
    let times = Tensor::from_vec(times, (batch, 1), h.device())?;
    let steps = Tensor::arange(0, at.steps as u32, h.device())?.unsqueeze(0)?;
    let here = times.broadcast_eq(&steps)?.to_dtype(h.dtype())?.unsqueeze(2)?; // [B, T, 1]
    here.broadcast_mul(&h.reshape((batch, 1, width))?)
}

#[derive(Clone)]
struct FirstStep {
    steps: usize,
    /// Of each sequence.
    times: Arc<[usize]>,
}

impl FirstStep {
    fn new(name: &str, options: RecurrentOptions<'_>, batch: usize, steps: usize) -> Result<Self> {
        let times = checked_lengths(name, options.lengths, batch, steps)?.into_iter();
        let times = times.map(|length| match options.direction {
            Direction::Forward => 0,
            Direction::Reverse => length - 1,
        });
        Ok(Self { steps, times: times.collect() })
    }
}

impl Kernel<1> for FirstStep {
    const NAME: &'static str = "first-step";

    fn forward<T: Element>(&self, [h]: [View<'_, T>; 1]) -> Result<(Vec<T>, Shape)> {
        let &[batch, width] = h.dims else { unreachable!("checked by check") };
        let mut y = vec![T::ZERO; batch * self.steps * width];
        for (b, (h, &t)) in h.data.chunks_exact(width).zip(&*self.times).enumerate() {
            y[(b * self.steps + t) * width..][..width].copy_from_slice(h);
        }
        Ok((y, (batch, self.steps, width).into()))
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let rows = self.times.iter().enumerate().map(|(b, t)| (b * self.steps + t) as u32);
        let rows = Tensor::from_iter(rows, dy.device())?;
        Ok([Some(dy.contiguous()?.flatten(0, 1)?.index_select(&rows, 0)?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}
