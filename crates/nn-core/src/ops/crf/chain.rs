//! One sequence: scores, the sum over all labellings, and what each label's share of it is.

use crate::cpu::Element;

/// The numbers one sequence's labellings are scored with.
pub(super) struct Chain<'a, T> {
    /// `[T, C]`
    pub(super) emissions: &'a [T],
    /// `[C, C]`
    pub(super) transitions: &'a [T],
    /// `[2, C]`, of the first and of the last label.
    pub(super) ends: &'a [T],
}

impl<T: Element> Chain<'_, T> {
    fn classes(&self) -> usize {
        self.ends.len() / 2
    }

    fn steps(&self) -> usize {
        self.emissions.len() / self.classes()
    }

    fn emission(&self, t: usize, c: usize) -> f64 {
        self.emissions[t * self.classes() + c].to_f64()
    }

    fn transition(&self, i: usize, j: usize) -> f64 {
        self.transitions[i * self.classes() + j].to_f64()
    }

    fn start(&self, c: usize) -> f64 {
        self.ends[c].to_f64()
    }

    fn end(&self, c: usize) -> f64 {
        self.ends[self.classes() + c].to_f64()
    }

    /// Of one labelling.
    pub(super) fn score(&self, labels: &[u32]) -> f64 {
        let at = |t: usize| labels[t] as usize;
        let emissions: f64 = (0..labels.len()).map(|t| self.emission(t, at(t))).sum();
        let transitions: f64 = (1..labels.len()).map(|t| self.transition(at(t - 1), at(t))).sum();
        self.start(at(0)) + emissions + transitions + self.end(at(labels.len() - 1))
    }

    /// `ln Σ e^score` over all labellings.
    pub(super) fn log_partition(&self) -> f64 {
        let ahead = self.ahead();
        let last = &ahead[(self.steps() - 1) * self.classes()..];
        log_sum_exp((0..self.classes()).map(|c| last[c] + self.end(c)))
    }

    /// At `[t, c]`, `ln Σ e^score` over all labellings of the steps up to `t` that end with `c`.
    fn ahead(&self) -> Vec<f64> {
        let classes = self.classes();
        let mut ahead: Vec<f64> = (0..classes).map(|c| self.start(c) + self.emission(0, c)).collect();
        for t in 1..self.steps() {
            let before = (t - 1) * classes;
            for j in 0..classes {
                let all = log_sum_exp((0..classes).map(|i| ahead[before + i] + self.transition(i, j)));
                ahead.push(all + self.emission(t, j));
            }
        }
        ahead
    }

    /// At `[t, c]`, `ln Σ e^score` over all labellings of the steps after `t` if step `t` has `c`.
    fn behind(&self) -> Vec<f64> {
        let (classes, steps) = (self.classes(), self.steps());
        let mut behind = vec![0.0; steps * classes];
        (0..classes).for_each(|c| behind[(steps - 1) * classes + c] = self.end(c));
        for t in (0..steps - 1).rev() {
            for i in 0..classes {
                let after = (t + 1) * classes;
                behind[t * classes + i] = log_sum_exp(
                    (0..classes).map(|j| self.transition(i, j) + self.emission(t + 1, j) + behind[after + j]),
                );
            }
        }
        behind
    }

    /// The gradients of the loss times `dy`, of emissions and, added to `d_shared`, of transitions and ends: how likely a
    /// label, a pair, an end is, minus whether it is the right one.
    pub(super) fn gradients(&self, labels: &[u32], dy: f64, d_emissions: &mut [T], d_shared: &mut [f64]) {
        let (classes, steps) = (self.classes(), self.steps());
        let (ahead, behind) = (self.ahead(), self.behind());
        let total = log_sum_exp((0..classes).map(|c| ahead[(steps - 1) * classes + c] + self.end(c)));
        let (d_transitions, d_ends) = d_shared.split_at_mut(classes * classes);
        for t in 0..steps {
            let here = t * classes;
            let right = labels[t] as usize;
            for c in 0..classes {
                let likely = (ahead[here + c] + behind[here + c] - total).exp();
                let d = (likely - f64::from(u8::from(c == right))) * dy;
                d_emissions[here + c] = T::of(d);
                if t == 0 {
                    d_ends[c] += d;
                }
                if t + 1 == steps {
                    d_ends[classes + c] += d;
                }
            }
            if t == 0 {
                continue;
            }
            let before = here - classes;
            for i in 0..classes {
                for j in 0..classes {
                    let pair =
                        ahead[before + i] + self.transition(i, j) + self.emission(t, j) + behind[here + j];
                    d_transitions[i * classes + j] += (pair - total).exp() * dy;
                }
            }
            d_transitions[labels[t - 1] as usize * classes + right] -= dy;
        }
    }
}

/// `ln Σ eˣ` without overflow.
fn log_sum_exp(xs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = xs.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + xs.map(|x| (x - largest).exp()).sum::<f64>().ln()
}
