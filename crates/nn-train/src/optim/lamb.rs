//! LAMB: Adam whose step for each parameter is as long as a fixed share of the parameter itself.
//!
//! Source: You et al. 2020, arXiv:1904.00962, algorithm 2, with φ the identity; without the clipping of all gradients
//! together that some implementations put before it, which is a matter of the loop.

use candle_core::Result;
use nn_core::vectorised;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::adam::{Decay, Moments};
use super::apply::{Numbers, SHARED, STRETCH, Update, in_place};
use super::formula::{Quantity, Turn, Whole};
use crate::clip::{squares, sum_of_squares};

/// `u = m̂ / (√v̂ + eps) + weight_decay · p`, `p ← p − lr · ‖p‖ / ‖u‖ · u`; the ratio is 1 where a norm is 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lamb {
    /// The share of the mean gradient that is kept in an update, in [0, 1).
    pub beta1: f64,
    /// The share of the mean square that is kept in an update, in [0, 1).
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// The share of the parameter in the direction of the step.
    pub weight_decay: f64,
}

impl Default for Lamb {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-6, weight_decay: 0.01 }
    }
}

impl Lamb {
    pub(super) fn moments(&self) -> Moments {
        let Self { beta1, beta2, eps, .. } = *self;
        Moments { rule: "Lamb", betas: [beta1, beta2], eps, decay: Decay::Apart, amsgrad: false }
    }
}

/// What is the same for all elements.
#[derive(Clone, Copy)]
struct Scales {
    decay: f64,
    /// `1 / (1 − β₁ᵗ)`
    first: f64,
    /// `1 / √(1 − β₂ᵗ)`
    second: f64,
}

/// A part of a parameter, small enough for a core's own cache.
struct Stretch<'a> {
    /// The place of its parameter in the group.
    of: usize,
    scales: Scales,
    p: &'a mut [f32],
    means: [&'a mut [f32]; 2],
    grad: &'a [f32],
    /// The sums of the squares of the parameter and of the direction.
    squares: [f64; 2],
}

/// Elements of a group of parameters that the second pass should still find in the cache: 8 MiB with means and gradient.
const CACHED: usize = 1 << 19;

impl Lamb {
    fn scales(&self, turn: Turn) -> Scales {
        let [first, second] = self.moments().corrections(turn);
        Scales { decay: turn.decay, first: first.recip(), second: second.sqrt().recip() }
    }

    /// Where the step goes; how far depends on the norms of this and of the parameter.
    #[inline(always)]
    fn direction<X: Quantity>(&self, s: Scales, p: X, [m, v]: [X; 2]) -> X {
        m.times(s.first) / v.sqrt().times(s.second).plus(self.eps) + p.times(s.decay)
    }

    /// Updates parameters and their two means: on the CPU in two passes over memory, of which the second works the
    /// direction out anew rather than read what the first has written.
    pub(super) fn apply(&self, updates: &[Update<'_>]) -> Result<()> {
        in_place(updates, CACHED, |parameters| self.numbers(parameters), |update| self.tensors(update))
    }

    fn tensors(&self, update: Update<'_>) -> Result<()> {
        let Update { turn, var: p, kept, grad } = update;
        let [m, v] = kept else { unreachable!("two means") };
        let [m, v] = self.moments().means(Whole::new(grad), [Whole::new(m), Whole::new(v)]);
        let direction = self.direction(self.scales(turn), Whole::new(p), [m.clone(), v.clone()]).get()?;
        let far = turn.lr * trust([sum_of_squares(p)?, sum_of_squares(&direction)?]);
        update.set([(p.as_tensor() - (direction * far)?)?, m.get()?, v.get()?])
    }

    fn numbers(&self, parameters: Vec<Numbers<'_>>) {
        let total: usize = parameters.iter().map(|parameter| parameter.grad.len()).sum();
        let mut far: Vec<f64> = parameters.iter().map(|parameter| parameter.turn.lr).collect();
        let mut stretches = Vec::with_capacity(parameters.len() + total / STRETCH);
        for (of, Numbers { turn, state, grad }) in parameters.into_iter().enumerate() {
            let scales = self.scales(turn);
            let mut state = state.into_iter().map(|tensor| tensor.chunks_mut(STRETCH));
            let (Some(p), Some(m), Some(v)) = (state.next(), state.next(), state.next()) else {
                unreachable!("a parameter and two means")
            };
            let means = m.zip(v).map(|(m, v)| [m, v]);
            stretches.extend(p.zip(means).zip(grad.chunks(STRETCH)).map(|((p, means), grad)| Stretch {
                of,
                scales,
                p,
                means,
                grad,
                squares: [0.0; 2],
            }));
        }
        let each = |stretches: &mut [Stretch<'_>], pass: &(dyn Fn(&mut Stretch<'_>) + Sync)| {
            if total < SHARED {
                stretches.iter_mut().for_each(pass)
            } else {
                stretches.par_iter_mut().for_each(pass)
            }
        };
        each(&mut stretches, &|stretch| stretch.squares = self.first_pass(stretch));
        // One after the other, however many threads there are.
        let mut squares = vec![[0.0; 2]; far.len()];
        for stretch in &stretches {
            squares[stretch.of].iter_mut().zip(stretch.squares).for_each(|(sum, part)| *sum += part);
        }
        far.iter_mut().zip(squares).for_each(|(far, squares)| *far *= trust(squares));
        // Backwards, for what the first pass came to last is still in the cache.
        stretches.reverse();
        each(&mut stretches, &|stretch| self.second_pass(far[stretch.of], stretch));
    }

    /// Updates the means; the sums of the squares of the parameter and of the direction.
    fn first_pass(&self, stretch: &mut Stretch<'_>) -> [f64; 2] {
        let (moments, s) = (self.moments(), stretch.scales);
        let mut room = [0.0; BLOCK];
        let mut sums = [0.0; 2];
        let [m, v] = &mut stretch.means;
        let means = m.chunks_mut(BLOCK).zip(v.chunks_mut(BLOCK));
        for ((p, grad), (m, v)) in stretch.p.chunks(BLOCK).zip(stretch.grad.chunks(BLOCK)).zip(means) {
            let direction = &mut room[..p.len()];
            vectorised(
                #[inline(always)]
                || {
                    let n = direction.len();
                    let (p, grad, m, v) = (&p[..n], &grad[..n], &mut m[..n], &mut v[..n]);
                    for i in 0..n {
                        [m[i], v[i]] = moments.means(grad[i], [m[i], v[i]]);
                        direction[i] = self.direction(s, p[i], [m[i], v[i]]);
                    }
                },
            );
            sums[0] += squares(p);
            sums[1] += squares(direction);
        }
        sums
    }

    /// Goes so far in the direction.
    fn second_pass(&self, far: f64, stretch: &mut Stretch<'_>) {
        let Stretch { scales: s, p, means: [m, v], .. } = stretch;
        vectorised(
            #[inline(always)]
            || {
                let n = p.len();
                let (m, v) = (&m[..n], &v[..n]);
                for i in 0..n {
                    p[i] -= self.direction(*s, p[i], [m[i], v[i]]).times(far);
                }
            },
        );
    }
}

/// Elements whose directions are kept until their squares are summed.
const BLOCK: usize = 1024;

/// `‖p‖ / ‖u‖` from the sums of squares; 1 where one of them is 0.
fn trust([of_parameter, of_direction]: [f64; 2]) -> f64 {
    if of_parameter > 0.0 && of_direction > 0.0 { (of_parameter / of_direction).sqrt() } else { 1.0 }
}
