//! LAMB: Adam whose step for each parameter is as long as a fixed share of the parameter itself.
//!
//! Source: You et al. 2020, arXiv:1904.00962, algorithm 2, with φ the identity; without the clipping of all gradients
//! together that some implementations put before it, which is a matter of the loop.

use std::iter::once;

use candle_core::{Result, Tensor, Var};
use nn_core::ops;
use pulp::Arch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::adam::{Decay, Moments};
use super::apply::{STRETCH, is_plain};
use super::formula::{Quantity, Turn, Whole};
use crate::clip::sum_of_squares;

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

    /// Updates a parameter and its two means: on the CPU in two passes over memory, of which the second works the direction
    /// out anew rather than read what the first has written.
    pub(super) fn apply(&self, turn: Turn, var: &Var, kept: &[Var], grad: &Tensor) -> Result<()> {
        let state: Vec<&Tensor> = once(var).chain(kept).map(Var::as_tensor).collect();
        if is_plain(&state, grad) {
            return ops::update_in_place(&state, grad, |state, grad| {
                let [p, m, v] = state else { unreachable!("a parameter and two means") };
                self.numbers(turn, p, [m, v], grad);
            });
        }
        let [p, m, v] = state[..] else { unreachable!("a parameter and two means") };
        let [m, v] = self.moments().means(Whole::new(grad), [m, v].map(Whole::new));
        let direction = self.direction(self.scales(turn), Whole::new(p), [m.clone(), v.clone()]).get()?;
        let far = turn.lr * trust(sum_of_squares(p)?, sum_of_squares(&direction)?);
        let new = (p - (direction * far)?)?;
        once(var).chain(kept).zip([new, m.get()?, v.get()?]).try_for_each(|(var, new)| var.set(&new))
    }

    fn numbers(&self, turn: Turn, p: &mut [f32], [m, v]: [&mut [f32]; 2], grad: &[f32]) {
        let scales = self.scales(turn);
        let far = |[of_p, of_direction]: [f64; 2]| turn.lr * trust(of_p, of_direction);
        if grad.len() <= STRETCH {
            let far = far(self.first_pass(scales, p, [&mut *m, &mut *v], grad));
            return self.second_pass(scales, far, p, [m, v]);
        }
        let old = p.par_chunks(STRETCH).zip(m.par_chunks_mut(STRETCH)).zip(v.par_chunks_mut(STRETCH));
        let squares = old.zip(grad.par_chunks(STRETCH));
        let squares = squares.map(|(((p, m), v), grad)| self.first_pass(scales, p, [m, v], grad));
        // One after the other, however many threads there are.
        let squares = squares.collect::<Vec<_>>().into_iter();
        let far = far(squares.fold([0.0; 2], |[a, b], [p, direction]| [a + p, b + direction]));
        let new = p.par_chunks_mut(STRETCH).zip(m.par_chunks(STRETCH)).zip(v.par_chunks(STRETCH));
        new.for_each(|((p, m), v)| self.second_pass(scales, far, p, [m, v]));
    }

    /// Updates the means; the sums of the squares of the parameter and of the direction.
    fn first_pass(&self, s: Scales, p: &[f32], [m, v]: [&mut [f32]; 2], grad: &[f32]) -> [f64; 2] {
        let moments = self.moments();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut sums = [[0.0; LANES]; 2];
                // Whole arrays, so that the loops need no checks, and a rest.
                let ((p, p_rest), (grad, grad_rest)) = (p.as_chunks::<LANES>(), grad.as_chunks::<LANES>());
                let ((m, m_rest), (v, v_rest)) = (m.as_chunks_mut::<LANES>(), v.as_chunks_mut::<LANES>());
                let pieces = p.chunks(PIECE).zip(grad.chunks(PIECE));
                let pieces = pieces.zip(m.chunks_mut(PIECE).zip(v.chunks_mut(PIECE)));
                for ((p, grad), (m, v)) in pieces {
                    let mut piece = [[0.0f32; LANES]; 2];
                    for (((p, grad), m), v) in p.iter().zip(grad).zip(m).zip(v) {
                        for i in 0..LANES {
                            let direction = self.first(&moments, s, p[i], grad[i], [&mut m[i], &mut v[i]]);
                            piece[0][i] += p[i] * p[i];
                            piece[1][i] += direction * direction;
                        }
                    }
                    for (sums, piece) in sums.iter_mut().zip(piece) {
                        sums.iter_mut().zip(piece).for_each(|(sum, part)| *sum += f64::from(part));
                    }
                }
                for (((&p, &grad), m), v) in p_rest.iter().zip(grad_rest).zip(m_rest).zip(v_rest) {
                    sums[0][0] += square(p);
                    sums[1][0] += square(self.first(&moments, s, p, grad, [m, v]));
                }
                sums.map(|lanes| lanes.iter().sum())
            },
        )
    }

    /// Updates the means of one number; its direction.
    #[inline(always)]
    fn first(&self, moments: &Moments, s: Scales, p: f32, g: f32, [m, v]: [&mut f32; 2]) -> f32 {
        let means = moments.means(g, [*m, *v]);
        [*m, *v] = means;
        self.direction(s, p, means)
    }

    /// Goes so far in the direction.
    fn second_pass(&self, s: Scales, far: f64, p: &mut [f32], [m, v]: [&[f32]; 2]) {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let n = p.len();
                let (m, v) = (&m[..n], &v[..n]);
                for i in 0..n {
                    p[i] -= self.direction(s, p[i], [m[i], v[i]]).times(far);
                }
            },
        );
    }
}

/// Sums that run beside each other, so that an addition need not wait for the one before.
const LANES: usize = 16;

/// Arrays whose squares are summed as they are before their sum joins one in `f64`.
const PIECE: usize = 64;

#[inline(always)]
fn square(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

/// `‖p‖ / ‖u‖` from the sums of squares; 1 where one of them is 0.
fn trust(of_parameter: f64, of_direction: f64) -> f64 {
    if of_parameter > 0.0 && of_direction > 0.0 { (of_parameter / of_direction).sqrt() } else { 1.0 }
}
