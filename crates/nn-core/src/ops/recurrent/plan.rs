//! Sizes, and which row of which sequence is worked on when: direction and lengths end here.

use candle_core::{Result, Shape, Tensor};

use super::{Direction, RecurrentOptions, RecurrentWeights};
use crate::cpu::Element;
use crate::ensure;
use crate::ops::indexing::checked_lengths;
use crate::ops::kernel::{Kernel, Reads, View, apply2};
use crate::ops::reshape;

/// One call's sizes, checked, and its way through time.
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) steps: usize,
    /// Numbers of an input.
    pub(super) input: usize,
    /// Units.
    pub(super) hidden: usize,
    /// Rows of the weights: gates times units.
    pub(super) gates: usize,
    /// Whether there is a `b_ih` and a `b_hh`.
    pub(super) biases: [bool; 2],
    pub(super) direction: Direction,
    /// Steps of each sequence.
    pub(super) lengths: Vec<usize>,
}

/// Sequences that one thread takes through time together, the longest first: those that are not at their end after
/// any number of steps are the first ones.
pub(super) struct Group(pub(super) Vec<usize>);

impl Plan {
    /// # Errors
    /// Those of `rnn`, `lstm` and `gru` that concern shapes and lengths.
    pub(super) fn new(
        name: &str,
        gates: usize,
        x: &Tensor,
        w: &RecurrentWeights,
        states: &[Option<&Tensor>],
        options: RecurrentOptions<'_>,
    ) -> Result<Self> {
        let &[batch, steps, input] = x.dims() else {
            candle_core::bail!("{name}: x must be [B, T, I], got {:?}", x.dims())
        };
        ensure!(steps > 0, "{name}: x must have at least one step, got {:?}", x.dims());
        let hidden = w.w_hh.dims().last().copied().unwrap_or(0);
        ensure!(
            hidden > 0 && w.w_hh.dims() == [gates * hidden, hidden],
            "{name}: w_hh must be [{gates}·H, H], got {:?}",
            w.w_hh.dims()
        );
        let gates = gates * hidden;
        let shape = |what: &str, got: &Tensor, expected: &[usize]| {
            ensure!(
                got.dims() == expected,
                "{name}: {what} must be {expected:?} for x {:?} and w_hh {:?}, got {:?}",
                x.dims(),
                w.w_hh.dims(),
                got.dims()
            );
            Ok(())
        };
        shape("w_ih", &w.w_ih, &[gates, input])?;
        for (what, b) in [("b_ih", &w.b_ih), ("b_hh", &w.b_hh)] {
            b.as_ref().map_or(Ok(()), |b| shape(what, b, &[gates]))?;
        }
        for (what, state) in ["the state h", "the state c"].into_iter().zip(states) {
            state.map_or(Ok(()), |state| shape(what, state, &[batch, hidden]))?;
        }
        let lengths = checked_lengths(name, options.lengths, batch, steps)?;
        let biases = [w.b_ih.is_some(), w.b_hh.is_some()];
        Ok(Self { batch, steps, input, hidden, gates, biases, direction: options.direction, lengths })
    }

    /// The batch in groups: an even number of them, of 16 sequences at most, so that two threads share the work and
    /// the weights are read for many rows at a time. Sequences are dealt, so that all groups get long ones.
    pub(super) fn groups(&self) -> Vec<Group> {
        const MOST: usize = 16;
        let count = (2 * self.batch.div_ceil(2 * MOST)).min(self.batch);
        let mut order: Vec<usize> = (0..self.batch).collect();
        order.sort_by_key(|&b| std::cmp::Reverse(self.lengths[b]));
        (0..count).map(|g| Group(order.iter().skip(g).step_by(count).copied().collect())).collect()
    }

    /// Whether all sequences have all steps.
    pub(super) fn is_even(&self) -> bool {
        self.lengths.iter().all(|&length| length == self.steps)
    }

    /// Where in time step `s` of sequence `b` is.
    #[inline]
    pub(super) fn time(&self, b: usize, s: usize) -> usize {
        match self.direction {
            Direction::Forward => s,
            Direction::Reverse => self.lengths[b] - 1 - s,
        }
    }

    /// The row of step `s` of sequence `b` in a `[B, T, width]` tensor.
    pub(super) fn row<'a, T>(&self, data: &'a [T], width: usize, [b, s]: [usize; 2]) -> &'a [T] {
        &data[(b * self.steps + self.time(b, s)) * width..][..width]
    }

    /// Where the first row of each of a group's steps is if the rows of a step are together, and the number of rows.
    pub(super) fn starts(&self, group: &Group) -> Vec<usize> {
        let mut starts = vec![0];
        let (mut active, mut row) = (group.0.len(), 0);
        for s in 0..group.0.first().map_or(0, |&b| self.lengths[b]) {
            while self.lengths[group.0[active - 1]] <= s {
                active -= 1;
            }
            row += active;
            starts.push(row);
        }
        starts
    }

    /// Multiply-adds of one pass over everything.
    pub(super) fn work(&self) -> usize {
        self.lengths.iter().sum::<usize>() * self.gates * (self.input + self.hidden)
    }

    /// `b_ih`, `b_hh`, `h` and `c` in what [`small`] made.
    pub(super) fn parts<'a, T>(&self, small: &'a [T]) -> [&'a [T]; 4] {
        let [b_ih, b_hh, h] = self.sizes();
        let (b_ih, rest) = small.split_at(b_ih);
        let (b_hh, rest) = rest.split_at(b_hh);
        let (h, c) = rest.split_at(h);
        [b_ih, b_hh, h, c]
    }

    /// [`Plan::parts`] of gradients.
    pub(super) fn parts_mut<'a, T>(&self, small: &'a mut [T]) -> [&'a mut [T]; 4] {
        let [b_ih, b_hh, h] = self.sizes();
        let (b_ih, rest) = small.split_at_mut(b_ih);
        let (b_hh, rest) = rest.split_at_mut(b_hh);
        let (h, c) = rest.split_at_mut(h);
        [b_ih, b_hh, h, c]
    }

    fn sizes(&self) -> [usize; 3] {
        let [b_ih, b_hh] = self.biases.map(|there| if there { self.gates } else { 0 });
        [b_ih, b_hh, self.batch * self.hidden]
    }
}

/// Biases and states, which are small, in one tensor of rank 1.
pub(super) fn small(w: &RecurrentWeights, state: &[Tensor]) -> Result<Tensor> {
    let mut parts = w.b_ih.iter().chain(&w.b_hh).chain(state);
    let Some(first) = parts.next() else { unreachable!("every cell has a state") };
    parts.try_fold(reshape(first, first.elem_count())?, |joined, part| apply2(Join, &joined, part))
}

/// The numbers of two tensors one after the other.
#[derive(Clone)]
struct Join;

impl Kernel<2> for Join {
    const NAME: &'static str = "join";

    fn forward<T: Element>(&self, [a, b]: [View<'_, T>; 2]) -> Result<(Vec<T>, Shape)> {
        let joined = [&a.data[..], &b.data[..]].concat();
        let shape = joined.len().into();
        Ok((joined, shape))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let part = |x: &Tensor, from| dy.narrow(0, from, x.elem_count())?.reshape(x.shape());
        Ok([Some(part(a, 0)?), Some(part(b, a.elem_count())?)])
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }
}
