//! Paths through one sequence's labels: forward and backward sums, in logarithms.

use super::CtcLoss;
use crate::cpu::blank::Blank;
use crate::cpu::{Element, vector};

/// One sequence: its states are its targets with blanks between and around them.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) frames: usize,
    /// The class of each state.
    pub(super) classes: Vec<usize>,
    /// Whether a path may come to a state from the last but one before it: to a target that differs from the one before.
    pub(super) skips: Vec<bool>,
}

impl Sample {
    pub(super) fn new(frames: usize, targets: impl Iterator<Item = usize>, blank: usize) -> Self {
        let mut classes = vec![blank];
        classes.extend(targets.flat_map(|target| [target, blank]));
        let may_skip = |s: usize| s >= 3 && s % 2 == 1 && classes[s] != classes[s - 2];
        let skips = (0..classes.len()).map(may_skip).collect();
        Self { frames, classes, skips }
    }

    pub(super) fn states(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn targets(&self) -> usize {
        self.classes.len() / 2
    }

    /// 0 where a state may be skipped to, −∞ elsewhere, and for two states beyond the end.
    fn skip_logarithms<T: Element>(&self) -> Vec<T> {
        let logarithm = |skip: bool| if skip { T::ZERO } else { T::NEG_INFINITY };
        self.skips.iter().map(|&skip| logarithm(skip)).chain([T::NEG_INFINITY; 2]).collect()
    }
}

/// Logarithms of probabilities `[T, B, C]`.
#[derive(Clone, Copy)]
pub(super) struct Lattice<'a, T> {
    x: &'a [T],
    steps: usize,
    batch: usize,
    classes: usize,
}

/// Elementary operations per state and time, roughly.
const COST: usize = 64;

impl<'a, T: Element> Lattice<'a, T> {
    pub(super) fn new(x: &'a [T], dims: &[usize]) -> Self {
        let &[steps, batch, classes] = dims else { unreachable!("checked by samples") };
        Self { x, steps, batch, classes }
    }

    /// Elementary operations for a batch of so many states each.
    pub(super) fn work(self, states: usize) -> usize {
        COST * self.steps * self.batch * states
    }

    /// The logarithms of sequence `b` at time `t`.
    #[inline(always)]
    fn row(self, t: usize, b: usize) -> &'a [T] {
        &self.x[(t * self.batch + b) * self.classes..][..self.classes]
    }

    /// The logarithm of the sum of all paths of sequence `b`. Fills row `t` of `rows`, or of as many times as there is
    /// room for, with those of the paths to each state at time `t`, less what makes the largest 0.
    #[inline(always)]
    pub(super) fn ahead(self, sample: &Sample, b: usize, rows: &mut [T], room: usize) -> f64 {
        let (states, times) = (sample.states(), rows.len() / room.max(1));
        if sample.frames == 0 {
            return if sample.targets() == 0 { 0.0 } else { f64::NEG_INFINITY };
        }
        let skips = sample.skip_logarithms::<T>();
        // Two states before the first that no path comes from.
        let mut before = vec![T::NEG_INFINITY; states + 2];
        // As if every path had been in the first blank already.
        before[2] = T::ZERO;
        let mut taken = 0.0;
        for t in 0..sample.frames {
            let row = &mut rows[t % times * room..][..states];
            let emitted = self.row(t, b);
            for (to, &class) in row.iter_mut().zip(&sample.classes) {
                *to = emitted[class];
            }
            let [two, one, none] = [0, 1, 2].map(|back| &before[back..][..states]);
            for (s, to) in row.iter_mut().enumerate() {
                *to += sum_of_three(none[s], one[s], two[s] + skips[s]);
            }
            taken += normalise(row);
            before[2..].copy_from_slice(row);
        }
        let last = before[2..].iter().rev().take(2).map(|x| x.to_f64().exp()).sum::<f64>();
        taken + last.ln()
    }

    /// Fills the rows of `dx` that are sequence `b`'s with its gradient times `scale`, from what [`Lattice::ahead`] left.
    #[inline(always)]
    pub(super) fn gradient(
        self,
        sample: &Sample,
        b: usize,
        (ahead, room): (&[T], usize),
        dx: &mut [Blank<'_, T>],
        (scale, options): (T, CtcLoss),
    ) {
        let states = sample.states();
        let skips = sample.skip_logarithms::<T>();
        // Two states after the last that no path goes to.
        let mut behind = vec![T::NEG_INFINITY; states + 2];
        for end in behind[..states].iter_mut().rev().take(2) {
            *end = T::ZERO;
        }
        let mut to = vec![T::NEG_INFINITY; states + 2];
        let mut shares = vec![T::ZERO; states];
        for t in (0..dx.len()).rev() {
            let dx = dx[t].fill(|_| T::ZERO);
            if t >= sample.frames {
                continue;
            }
            if t + 1 < sample.frames {
                let emitted = self.row(t + 1, b);
                for ((to, &behind), &class) in to.iter_mut().zip(&behind).zip(&sample.classes) {
                    *to = behind + emitted[class];
                }
                let [none, one, two] = [0, 1, 2].map(|ahead| &to[ahead..][..states]);
                for (s, behind) in behind[..states].iter_mut().enumerate() {
                    *behind = sum_of_three(none[s], one[s], two[s] + skips[s + 2]);
                }
                normalise(&mut behind[..states]);
            }
            self.shares(&ahead[t * room..][..states], &behind[..states], &mut shares);
            let total = vector::sum(&shares, |share| share);
            if total > 0.0 {
                let scale = scale / T::of(total);
                for (&share, &class) in shares.iter().zip(&sample.classes) {
                    dx[class] -= share * scale;
                }
            } else if !options.zero_infinity {
                dx.fill(T::of(f64::NAN));
            }
        }
    }

    /// The paths through each state, as parts of the largest.
    #[inline(always)]
    fn shares(self, ahead: &[T], behind: &[T], shares: &mut [T]) {
        for (share, (&ahead, &behind)) in shares.iter_mut().zip(ahead.iter().zip(behind)) {
            *share = ahead + behind;
        }
        let top = finite(vector::max(shares));
        for share in shares {
            *share = (*share - top).exp();
        }
    }
}

/// Subtracts the largest from all, and gives it.
#[inline(always)]
fn normalise<T: Element>(row: &mut [T]) -> f64 {
    let top = finite(vector::max(row));
    for x in row {
        *x -= top;
    }
    top.to_f64()
}

/// 0 instead of −∞, of which nothing can be subtracted.
#[inline(always)]
fn finite<T: Element>(x: T) -> T {
    if x == T::NEG_INFINITY { T::ZERO } else { x }
}

/// `ln(eᵃ + eᵇ + eᶜ)`
#[inline(always)]
fn sum_of_three<T: Element>(a: T, b: T, c: T) -> T {
    let top = finite(vector::larger(vector::larger(a, b), c));
    ((a - top).exp() + (b - top).exp() + (c - top).exp()).ln() + top
}
