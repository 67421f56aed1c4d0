//! The loss of a linear-chain conditional random field: of a sequence of labels whose neighbours depend on each other.
//!
//! Source: Lafferty, McCallum & Pereira 2001, "Conditional random fields: probabilistic models for segmenting and labeling
//! sequence data", ICML, §3; the sum over all labellings by the forward algorithm, its gradient by forward–backward, in
//! logarithms and in `f64`.
//!
//! Why not Candle's: it has none.

mod chain;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use self::chain::Chain;
use self::portable::portable;
use super::indexing::{checked, checked_lengths};
use super::kernel::{Kernel, Reads, View, apply3, detached, on_cpu, wants_gradient};
use super::precision::{half_precision, widen};
use super::reduction::{Reduction, scalar};
use super::{concat, reshape};
use crate::cpu::Element;
use crate::cpu::parallel::for_each_chunk;
use crate::ensure;

const NAME: &str = "crf_loss";

/// What a labelling scores beside the emissions of its labels.
#[derive(Clone, Debug)]
pub struct CrfWeights {
    /// `[C, C]`: of label `j` right after label `i`, at `[i, j]`.
    pub transitions: Tensor,
    /// `[C]`: of the first label.
    pub start: Tensor,
    /// `[C]`: of the last label.
    pub end: Tensor,
}

/// `ln Σ e^score(all labellings) − score(labels)`, reduced, where
/// `score(l) = start[l₀] + Σ emissions[t, lₜ] + Σ transitions[lₜ₋₁, lₜ] + end[l_last]`: `−ln` of the labels' probability.
///
/// Emissions `[B, T, C]`, labels `[B, T]` of type `u8`, `u32` or `i64`, and the number of labels of each sequence, all `T` if
/// `None` → a scalar, or `[B]` with [`Reduction::None`]. The mean is over the sequences. Labels beyond a sequence's end must
/// be classes too, and have no effect.
///
/// # Errors
/// If a shape does not belong to the others, there are no classes or steps, a label is no class (the message names it and
/// its place), a length is not in `1..=T`, or types differ or are no float types.
pub fn crf_loss(
    emissions: &Tensor,
    weights: &CrfWeights,
    labels: &Tensor,
    lengths: Option<&[usize]>,
    reduction: Reduction,
) -> Result<Tensor> {
    let CrfWeights { transitions, start, end } = weights;
    let all = [emissions, transitions, start, end];
    if let Some(half) = half_precision(NAME, &all)? {
        let [transitions, start, end] = [transitions, start, end].map(widen);
        let weights = CrfWeights { transitions: transitions?, start: start?, end: end? };
        return crf_loss(&widen(emissions)?, &weights, labels, lengths, reduction)?.to_dtype(half);
    }
    let &[batch, steps, classes] = emissions.dims() else {
        candle_core::bail!("{NAME}: emissions must be [B, T, C], got {:?}", emissions.dims())
    };
    ensure!(
        steps > 0 && classes > 0,
        "{NAME}: there must be steps and classes, got emissions {:?}",
        emissions.dims()
    );
    for (what, x, expected) in [
        ("transitions", transitions, &[classes, classes][..]),
        ("start", start, &[classes]),
        ("end", end, &[classes]),
        ("labels", labels, &[batch, steps]),
    ] {
        ensure!(x.dims() == expected, "{NAME}: {what} must be {expected:?}, got {:?}", x.dims());
    }
    let labels = checked(NAME, labels, classes)?;
    let lengths = checked_lengths(NAME, lengths, batch, steps)?;
    let rows = |x: &Tensor| reshape(x, (1, classes));
    let ends = concat(&[&rows(start)?, &rows(end)?], 0)?; // [2, C]
    let crf = Crf { steps, classes, labels: labels.into(), lengths: lengths.into(), reduction };
    if on_cpu(&all) { apply3(crf, emissions, transitions, &ends) } else { portable(&crf, emissions, weights) }
}

#[derive(Clone)]
struct Crf {
    steps: usize,
    classes: usize,
    /// `[B, T]`
    labels: Arc<[u32]>,
    /// `[B]`
    lengths: Arc<[usize]>,
    reduction: Reduction,
}

impl Crf {
    /// Elementary operations of a way through all sequences.
    fn work(&self) -> usize {
        20 * self.lengths.iter().sum::<usize>() * self.classes * self.classes
    }

    fn chain<'a, T: Element>(&self, b: usize, [emissions, transitions, ends]: [&'a [T]; 3]) -> Chain<'a, T> {
        let from = b * self.steps * self.classes;
        let emissions = &emissions[from..][..self.lengths[b] * self.classes];
        Chain { emissions, transitions, ends }
    }

    fn labels(&self, b: usize) -> &[u32] {
        &self.labels[b * self.steps..][..self.lengths[b]]
    }

    fn factor(&self) -> f64 {
        let batch = self.lengths.len();
        self.reduction.factor(batch as f64, &[batch])
    }
}

impl Kernel<3> for Crf {
    const NAME: &'static str = NAME;

    fn forward<T: Element>(&self, xs: [View<'_, T>; 3]) -> Result<(Vec<T>, Shape)> {
        let xs = xs.each_ref().map(|x| &*x.data);
        let mut losses = vec![0.0; self.lengths.len()];
        for_each_chunk(&mut losses, 1, self.work(), |b, loss| {
            let chain = self.chain(b, xs);
            loss[0] = chain.log_partition() - chain.score(self.labels(b));
        });
        if self.reduction == Reduction::None {
            return Ok((losses.iter().map(|&loss| T::of(loss)).collect(), losses.len().into()));
        }
        Ok(scalar(losses.iter().sum::<f64>() * self.factor()))
    }

    fn backward(&self, xs: [&Tensor; 3], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let all = detached(&Gradients(self.clone()), [xs[0], xs[1], xs[2], dy])?;
        let mut start = 0;
        let mut part = |x: &Tensor| {
            let from = start;
            start += x.elem_count();
            wants_gradient(x).then(|| all.narrow(0, from, x.elem_count())?.reshape(x.shape())).transpose()
        };
        Ok([part(xs[0])?, part(xs[1])?, part(xs[2])?])
    }

    fn reads(&self) -> Reads {
        Reads::Exactly
    }
}

/// Those of emissions, transitions and ends, one after the other.
#[derive(Clone)]
struct Gradients(Crf);

impl Kernel<4> for Gradients {
    const NAME: &'static str = "crf_loss-gradients";

    fn forward<T: Element>(&self, xs: [View<'_, T>; 4]) -> Result<(Vec<T>, Shape)> {
        let (crf, classes) = (&self.0, self.0.classes);
        let [emissions, transitions, ends, dy] = xs.each_ref().map(|x| &*x.data);
        let mut d = vec![T::ZERO; emissions.len() + transitions.len() + ends.len()];
        let (d_emissions, rest) = d.split_at_mut(emissions.len());
        let shared = transitions.len() + ends.len();
        // The weights' gradients of each sequence, added in order.
        let mut tasks: Vec<_> = d_emissions
            .chunks_exact_mut(crf.steps * classes)
            .map(|d_emissions| (d_emissions, vec![0.0; shared]))
            .collect();
        for_each_chunk(&mut tasks, 1, 3 * crf.work(), |b, task| {
            let (d_emissions, d_shared) = &mut task[0];
            let dy = if crf.reduction == Reduction::None { dy[b] } else { dy[0] };
            let chain = crf.chain(b, [emissions, transitions, ends]);
            chain.gradients(crf.labels(b), crf.factor() * dy.to_f64(), d_emissions, d_shared);
        });
        for (_, d_shared) in &tasks {
            rest.iter_mut().zip(d_shared).for_each(|(d, &own)| *d += T::of(own));
        }
        let shape = d.len().into();
        Ok((d, shape))
    }
}
