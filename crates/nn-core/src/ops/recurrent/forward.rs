//! Forward through time.
//!
//! Each group of sequences goes its way alone, a stretch of steps at a time: the products with the inputs of the stretch
//! at once, then step by step the products with the last outputs and the arithmetic of the units.

use super::cell::Cell;
use super::layer::Layer;
use super::plan::{Group, Plan};
use super::{once, units};
use crate::cpu::Element;
use crate::cpu::gemm::Mat;
use crate::cpu::panels::Panels;
use crate::cpu::parallel::for_each_chunk;

/// Gates of a stretch, in numbers: what stays in the second-level cache beside the weights.
const STRETCH: usize = 1 << 16;

/// What the backward pass needs of a group's sequences: a row a step, step by step, the longest sequence first.
#[derive(Default)]
pub(super) struct Kept<T> {
    pub(super) gates: Vec<T>,
    pub(super) memory: Vec<T>,
}

/// One group's work: its sequences, where their outputs and final memories go, and what is kept of them.
struct Task<'a, T> {
    group: Group,
    y: Vec<&'a mut [T]>,
    memory: Vec<&'a mut [T]>,
    kept: Kept<T>,
}

/// All outputs, the final memories, and what to keep if so asked.
pub(super) fn run<C: Cell<G>, T: Element, const G: usize>(
    layer: &Layer<C, G>,
    [x, w_ih, w_hh, small]: [&[T]; 4],
    keep: bool,
) -> (Vec<T>, Vec<T>, Vec<Kept<T>>) {
    let plan = &*layer.plan;
    if plan.steps == 1 {
        return once::forward(layer, [x, w_ih, w_hh, small], keep);
    }
    let (batch, units) = (plan.batch, plan.hidden);
    let [b_ih, b_hh, h, memory] = plan.parts(small);
    let panels = |w, k, b: &[T]| {
        let panels = Panels::new(Mat::new(w, plan.gates, k).t());
        if b.is_empty() { panels } else { panels.with_bias(b) }
    };
    let pass = Pass {
        layer,
        x,
        input: panels(w_ih, plan.input, b_ih),
        recurrent: panels(w_hh, units, b_hh),
        h,
        memory,
        keep,
    };
    let mut y = vec![T::ZERO; batch * plan.steps * units];
    let mut end = vec![T::ZERO; memory.len()];
    let mut places: Vec<_> = y.chunks_mut(plan.steps * units).map(Some).collect();
    let mut ends: Vec<_> = end.chunks_mut(units).map(Some).collect();
    let task = |group: Group| {
        let y = group.0.iter().filter_map(|&b| places[b].take()).collect();
        let memory = group.0.iter().filter_map(|&b| ends.get_mut(b)?.take()).collect();
        Task { group, y, memory, kept: Kept { gates: Vec::new(), memory: Vec::new() } }
    };
    let mut tasks: Vec<_> = plan.groups().into_iter().map(task).collect();
    for_each_chunk(&mut tasks, 1, plan.work(), |_, task| pass.run(&mut task[0]));
    let kept = tasks.into_iter().map(|task| task.kept).collect();
    (y, end, kept)
}

/// What all groups share.
struct Pass<'a, C, T, const G: usize> {
    layer: &'a Layer<C, G>,
    x: &'a [T],
    input: Panels<T>,
    recurrent: Panels<T>,
    /// To start with; no memory means zeros.
    h: &'a [T],
    memory: &'a [T],
    keep: bool,
}

impl<C: Cell<G>, T: Element, const G: usize> Pass<'_, C, T, G> {
    fn run(&self, task: &mut Task<'_, T>) {
        let plan = &*self.layer.plan;
        let (width, gates) = (plan.hidden, plan.gates);
        let Task { group, y, memory: ends, kept } = task;
        let starts = plan.starts(group);
        let (steps, most) = (starts.len() - 1, group.0.len());
        let mut h = rows_of(self.h, &group.0, width);
        let mut memory = rows_of(self.memory, &group.0, width);
        let stretch = (STRETCH / (most * gates)).max(1);
        let mut inputs = Vec::new();
        let mut in_gates = vec![T::ZERO; stretch.min(steps) * most * gates];
        let mut hidden = vec![T::ZERO; most * gates];
        if self.keep {
            kept.gates.reserve_exact(starts[steps] * gates);
            kept.memory.reserve_exact(if C::REMEMBERS { starts[steps] * width } else { 0 });
        }
        for first in (0..steps).step_by(stretch) {
            let now = first..steps.min(first + stretch);
            gather(plan, self.x, plan.input, group, &starts, now.clone(), &mut inputs);
            let in_gates = &mut in_gates[..(starts[now.end] - starts[first]) * gates];
            self.input.product(&inputs, in_gates);
            for s in now {
                let active = starts[s + 1] - starts[s];
                let in_gates = &mut in_gates[(starts[s] - starts[first]) * gates..][..active * gates];
                let (h, memory) = (&mut h[..active * width], &mut memory[..active * width]);
                let hidden = &mut hidden[..active * gates];
                self.recurrent.product(h, hidden);
                units::forward(self.layer.cell, width, in_gates, hidden, [h, memory]);
                for ((y, h), &b) in y.iter_mut().zip(h.chunks_exact(width)).zip(&group.0) {
                    y[plan.time(b, s) * width..][..width].copy_from_slice(h);
                }
                if self.keep && C::REMEMBERS {
                    kept.memory.extend_from_slice(memory);
                }
            }
            if self.keep {
                kept.gates.extend_from_slice(in_gates);
            }
        }
        for (end, memory) in ends.iter_mut().zip(memory.chunks_exact(width)) {
            end.copy_from_slice(memory);
        }
    }
}

/// The rows of some sequences; zeros if there are none to take.
pub(super) fn rows_of<T: Element>(data: &[T], sequences: &[usize], width: usize) -> Vec<T> {
    if data.is_empty() {
        return vec![T::ZERO; sequences.len() * width];
    }
    sequences.iter().flat_map(|b| &data[b * width..][..width]).copied().collect()
}

/// Collects a group's rows of a `[B, T, width]` tensor at some steps, step by step.
pub(super) fn gather<T: Element>(
    plan: &Plan,
    data: &[T],
    width: usize,
    group: &Group,
    starts: &[usize],
    steps: std::ops::Range<usize>,
    rows: &mut Vec<T>,
) {
    rows.clear();
    for s in steps {
        for &b in &group.0[..starts[s + 1] - starts[s]] {
            rows.extend_from_slice(plan.row(data, width, [b, s]));
        }
    }
}
