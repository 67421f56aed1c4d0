//! The arithmetic of a layer's units at one step, in blocks that stay in registers.

use super::cell::{After, Before, Cell, Gradient, Past};
use crate::cpu::Element;
use crate::cpu::simd::{block, vectorised};

/// Units worked on at once: one 512-bit register of `f32`.
const UNITS: usize = 16;

/// One step of several sequences with `width` units each, in rows: `gates` holds what comes from the input before it and the
/// gates after it; `hidden` what comes from the last outputs; states `h` and `memory` become the next ones.
pub(super) fn forward<C: Cell<G>, T: Element, const G: usize>(
    cell: C,
    width: usize,
    gates: &mut [T],
    hidden: &[T],
    [h, memory]: [&mut [T]; 2],
) {
    vectorised(
        #[inline(always)]
        || {
            let rows = gates.chunks_exact_mut(G * width).zip(hidden.chunks_exact(G * width));
            let states = h.chunks_exact_mut(width).zip(memory.chunks_exact_mut(width));
            for ((gates, hidden), (h, memory)) in rows.zip(states) {
                let whole = width - width % UNITS;
                for u in (0..whole).step_by(UNITS) {
                    block_forward::<C, T, G, UNITS>(cell, u, gates, hidden, h, memory);
                }
                for u in whole..width {
                    block_forward::<C, T, G, 1>(cell, u, gates, hidden, h, memory);
                }
            }
        },
    );
}

/// `N` units from `u` on.
#[inline(always)]
fn block_forward<C: Cell<G>, T: Element, const G: usize, const N: usize>(
    cell: C,
    u: usize,
    gates: &mut [T],
    hidden: &[T],
    h: &mut [T],
    memory: &mut [T],
) {
    let mut x: [[T; N]; G] = blocks(gates, u);
    let hidden: [[T; N]; G] = blocks(hidden, u);
    let (mut new_h, mut new_memory): ([T; N], [T; N]) = (block(h, u), block(memory, u));
    for i in 0..N {
        let unit =
            Before { input: column(&x, i), hidden: column(&hidden, i), h: new_h[i], memory: new_memory[i] };
        let After { gates, h, memory } = cell.step(unit);
        for g in 0..G {
            x[g][i] = gates[g];
        }
        (new_h[i], new_memory[i]) = (h, memory);
    }
    put(gates, u, &x);
    h[u..u + N].copy_from_slice(&new_h);
    memory[u..u + N].copy_from_slice(&new_memory);
}

/// One step of one sequence, seen from the one after it.
pub(super) struct Row<'a, T> {
    pub(super) gates: &'a [T],
    /// None where a cell does not remember.
    pub(super) memory: &'a [T],
    pub(super) memory_before: &'a [T],
    pub(super) h_before: &'a [T],
    /// The gradient of the output before, that of the state the step started from after, but for what comes through
    /// the gates.
    pub(super) dh: &'a mut [T],
    pub(super) dmemory: &'a mut [T],
    pub(super) d_hidden: &'a mut [T],
    /// None where it is the same.
    pub(super) d_input: &'a mut [T],
}

/// The gradients of a step; to be called in [`vectorised`].
#[inline(always)]
pub(super) fn back<C: Cell<G>, T: Element, const G: usize>(cell: C, mut row: Row<'_, T>) {
    let width = row.dh.len();
    let whole = width - width % UNITS;
    for u in (0..whole).step_by(UNITS) {
        block_back::<C, T, G, UNITS>(cell, u, &mut row);
    }
    for u in whole..width {
        block_back::<C, T, G, 1>(cell, u, &mut row);
    }
}

/// `N` units from `u` on.
#[inline(always)]
fn block_back<C: Cell<G>, T: Element, const G: usize, const N: usize>(
    cell: C,
    u: usize,
    row: &mut Row<'_, T>,
) {
    let gates: [[T; N]; G] = blocks(row.gates, u);
    let none = [T::ZERO; N];
    let memory: [T; N] = if C::REMEMBERS { block(row.memory, u) } else { none };
    let memory_before: [T; N] = if C::REMEMBERS { block(row.memory_before, u) } else { none };
    let h_before: [T; N] = block(row.h_before, u);
    let (mut dh, mut dmemory): ([T; N], [T; N]) = (block(row.dh, u), block(row.dmemory, u));
    let (mut d_hidden, mut d_input) = ([none; G], [none; G]);
    for i in 0..N {
        let d: Gradient<T, G> = cell.back(Past {
            gates: column(&gates, i),
            memory: memory[i],
            memory_before: memory_before[i],
            h_before: h_before[i],
            dh: dh[i],
            dmemory: dmemory[i],
        });
        for g in 0..G {
            d_hidden[g][i] = d.hidden[g];
            d_input[g][i] = d.input[g];
        }
        (dh[i], dmemory[i]) = (d.h, d.memory);
    }
    put(row.d_hidden, u, &d_hidden);
    if C::APART {
        put(row.d_input, u, &d_input);
    }
    row.dh[u..u + N].copy_from_slice(&dh);
    row.dmemory[u..u + N].copy_from_slice(&dmemory);
}

/// `N` numbers from `u` on of each of `G` equal parts.
#[inline(always)]
fn blocks<T: Element, const G: usize, const N: usize>(row: &[T], u: usize) -> [[T; N]; G] {
    let mut parts = [[T::ZERO; N]; G];
    for (g, part) in parts.iter_mut().enumerate() {
        *part = block(row, g * (row.len() / G) + u);
    }
    parts
}

/// The other way round.
#[inline(always)]
fn put<T: Element, const G: usize, const N: usize>(row: &mut [T], u: usize, parts: &[[T; N]; G]) {
    let units = row.len() / G;
    for (g, part) in parts.iter().enumerate() {
        row[g * units + u..][..N].copy_from_slice(part);
    }
}

/// Element `i` of each part.
#[inline(always)]
fn column<T: Element, const G: usize, const N: usize>(parts: &[[T; N]; G], i: usize) -> [T; G] {
    let mut column = [T::ZERO; G];
    for g in 0..G {
        column[g] = parts[g][i];
    }
    column
}
