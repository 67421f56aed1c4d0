//! Layers that take a single step, as decoders do: nothing is laid out for later steps, each weight is read where it lies.

use super::backward::Gradients;
use super::cell::Cell;
use super::forward::Kept;
use super::layer::Layer;
use super::plan::Plan;
use super::units::{self, Row};
use crate::cpu::Element;
use crate::cpu::affine::affine;
use crate::cpu::gemm::{Mat, add_product, product};
use crate::cpu::parallel::for_each_task;
use crate::cpu::simd::vectorised;

/// Sequences of a task.
const ROWS: usize = 8;

/// All outputs, the final memories, and what to keep if so asked, as one group's.
pub(super) fn forward<C: Cell<G>, T: Element, const G: usize>(
    layer: &Layer<C, G>,
    [x, w_ih, w_hh, small]: [&[T]; 4],
    keep: bool,
) -> (Vec<T>, Vec<T>, Vec<Kept<T>>) {
    let &Plan { batch, input, hidden: width, gates: rows, .. } = &*layer.plan;
    let [b_ih, b_hh, h, c] = layer.plan.parts(small);
    let bias = |b| Some(b).filter(|b: &&[T]| !b.is_empty());
    let mut gates = affine(Mat::new(x, batch, input), Mat::new(w_ih, rows, input), bias(b_ih));
    let hidden = affine(Mat::new(h, batch, width), Mat::new(w_hh, rows, width), bias(b_hh));
    let mut y = h.to_vec();
    let mut memory = if c.is_empty() { vec![T::ZERO; y.len()] } else { c.to_vec() };
    let parts = gates.chunks_mut(ROWS * rows).zip(hidden.chunks(ROWS * rows));
    let states = y.chunks_mut(ROWS * width).zip(memory.chunks_mut(ROWS * width));
    let tasks = parts.zip(states).collect();
    for_each_task(
        tasks,
        batch * rows,
        || (),
        |(), ((gates, hidden), (h, memory))| {
            units::forward(layer.cell, width, gates, hidden, [h, memory]);
        },
    );
    let end = if c.is_empty() { Vec::new() } else { memory.clone() };
    let memory = if C::REMEMBERS { memory } else { Vec::new() };
    (y, end, if keep { vec![Kept { gates, memory }] } else { Vec::new() })
}

/// The wanted gradients, end to end.
pub(super) fn gradients<C: Cell<G>, T: Element, const G: usize>(
    d: &Gradients<C, G>,
    [x, w_ih, w_hh, small, _, dy, dc]: [&[T]; 7],
) -> Vec<T> {
    let plan = &*d.layer.plan;
    let &Plan { batch, input, hidden: width, gates: rows, .. } = plan;
    let [_, _, h, c] = plan.parts(small);
    let start = |given: &[T]| if given.is_empty() { vec![T::ZERO; batch * width] } else { given.to_vec() };
    let (mut dh, mut dmemory, before) = (dy.to_vec(), start(dc), start(c));
    let [kept] = d.layer.kept() else { unreachable!("one step is one group's") };
    let [d_hidden, d_input] = back(d.layer.cell, width, kept, [h, &before], [&mut dh, &mut dmemory]);
    let d_hidden = Mat::new(&d_hidden, batch, rows);
    let d_input = if C::APART { Mat::new(&d_input, batch, rows) } else { d_hidden };
    add_product(&mut dh, d_hidden, Mat::new(w_hh, rows, width));
    let mut all = Vec::new();
    if d.wanted[0] {
        all = product(d_input, Mat::new(w_ih, rows, input));
    }
    if d.wanted[1] {
        all.extend(product(d_input.t(), Mat::new(x, batch, input)));
    }
    if d.wanted[2] {
        all.extend(product(d_hidden.t(), Mat::new(h, batch, width)));
    }
    if d.wanted[3] {
        let mut dsmall = vec![T::ZERO; small.len()];
        let [db_ih, db_hh, to_h, to_c] = plan.parts_mut(&mut dsmall);
        for (db, d) in [(db_ih, d_input), (db_hh, d_hidden)].into_iter().filter(|(db, _)| !db.is_empty()) {
            for row in d.data.chunks_exact(rows) {
                db.iter_mut().zip(row).for_each(|(db, &d)| *db += d);
            }
        }
        to_h.copy_from_slice(&dh);
        to_c.copy_from_slice(&dmemory[..to_c.len()]);
        all.append(&mut dsmall);
    }
    all
}

/// The gradients of what comes from the states and, where those differ, from the input, of all sequences; those of the states
/// are left without what comes through either.
fn back<C: Cell<G>, T: Element, const G: usize>(
    cell: C,
    width: usize,
    kept: &Kept<T>,
    [h_before, memory_before]: [&[T]; 2],
    [dh, dmemory]: [&mut [T]; 2],
) -> [Vec<T>; 2] {
    let mut d_hidden = vec![T::ZERO; kept.gates.len()];
    let mut d_input = vec![T::ZERO; if C::APART { kept.gates.len() } else { 0 }];
    vectorised(
        #[inline(always)]
        || {
            let own = |data: &[T], j: usize| if data.is_empty() { 0..0 } else { j * width..(j + 1) * width };
            for j in 0..dh.len() / width {
                let gates = j * G * width..(j + 1) * G * width;
                let apart = if C::APART { gates.clone() } else { 0..0 };
                let row = Row {
                    gates: &kept.gates[gates.clone()],
                    memory: &kept.memory[own(&kept.memory, j)],
                    memory_before: &memory_before[j * width..][..width],
                    h_before: &h_before[j * width..][..width],
                    dh: &mut dh[j * width..][..width],
                    dmemory: &mut dmemory[j * width..][..width],
                    d_hidden: &mut d_hidden[gates],
                    d_input: &mut d_input[apart],
                };
                units::back(cell, row);
            }
        },
    );
    [d_hidden, d_input]
}
