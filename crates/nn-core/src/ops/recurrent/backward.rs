//! Back through time.
//!
//! The groups of the forward pass go back the same way: at each step the units' gradients and their product with `w_hh`,
//! after each stretch of steps the products that give the gradients of inputs and weights. Weights get a sum for each
//! group, and these are added in order.

use candle_core::{Result, Shape};

use super::cell::Cell;
use super::forward::{Kept, gather, rows_of};
use super::layer::Layer;
use super::plan::{Group, Plan};
use super::units::Row;
use super::{once, units};
use crate::cpu::Element;
use crate::cpu::gemm::{Mat, add_product};
use crate::cpu::panels::Panels;
use crate::cpu::parallel::for_each_chunk;
use crate::cpu::simd::vectorised;
use crate::ops::kernel::{Kernel, View};

/// Rows of a stretch: the inner dimension of the products that make the weights' gradients.
const ROWS: usize = 256;

/// The wanted ones of the gradients of `x`, `w_ih`, `w_hh` and the small arguments, end to end.
pub(super) struct Gradients<C, const G: usize> {
    pub(super) layer: Layer<C, G>,
    pub(super) wanted: [bool; 4],
}

impl<C: Copy, const G: usize> Clone for Gradients<C, G> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), wanted: self.wanted }
    }
}

impl<C: Cell<G>, const G: usize> Kernel<7> for Gradients<C, G> {
    const NAME: &'static str = C::NAME;

    fn forward<T: Element>(&self, args: [View<'_, T>; 7]) -> Result<(Vec<T>, Shape)> {
        let d = run(self, args.each_ref().map(|arg| &*arg.data));
        let shape = d.len().into();
        Ok((d, shape))
    }
}

/// One group's work: its sequences, what was kept of them, where the gradients of their inputs go, those of their
/// states, and their share of the gradients of weights and biases.
struct Task<'a, T> {
    group: Group,
    kept: &'a Kept<T>,
    dx: Vec<&'a mut [T]>,
    dh: Vec<T>,
    dmemory: Vec<T>,
    dw_ih: Vec<T>,
    dw_hh: Vec<T>,
    db: [Vec<T>; 2],
}

fn run<C: Cell<G>, T: Element, const G: usize>(d: &Gradients<C, G>, xs: [&[T]; 7]) -> Vec<T> {
    let plan = &*d.layer.plan;
    if plan.steps == 1 {
        return once::gradients(d, xs);
    }
    let [x, w_ih, w_hh, small, y, dy, dc] = xs;
    let [_, _, h, memory] = plan.parts(small);
    let pass = Pass {
        layer: &d.layer,
        x,
        y,
        dy,
        h,
        memory,
        input: d.wanted[0].then(|| Panels::new(Mat::new(w_ih, plan.gates, plan.input))),
        recurrent: Panels::new(Mat::new(w_hh, plan.gates, plan.hidden)),
    };
    let sizes = [0, 1, 2, 3].map(|i| if d.wanted[i] { xs[i].len() } else { 0 });
    let mut out = vec![T::ZERO; sizes.iter().sum()];
    let (dx, rest) = out.split_at_mut(sizes[0]);
    let (dw_ih, rest) = rest.split_at_mut(sizes[1]);
    let (dw_hh, dsmall) = rest.split_at_mut(sizes[2]);
    let mut places: Vec<_> = dx.chunks_mut((plan.steps * plan.input).max(1)).map(Some).collect();
    let task = |(group, kept): (Group, _)| Task {
        dx: group.0.iter().filter_map(|&b| places.get_mut(b)?.take()).collect(),
        dh: vec![T::ZERO; group.0.len() * plan.hidden],
        dmemory: rows_of(dc, &group.0, plan.hidden),
        dw_ih: vec![T::ZERO; sizes[1]],
        dw_hh: vec![T::ZERO; sizes[2]],
        db: plan.biases.map(|there| vec![T::ZERO; if there { plan.gates } else { 0 }]),
        kept,
        group,
    };
    let mut tasks: Vec<_> = plan.groups().into_iter().zip(d.layer.kept()).map(task).collect();
    for_each_chunk(&mut tasks, 1, plan.work(), |_, task| pass.run(&mut task[0]));
    for task in &tasks {
        task.join(plan, dw_ih, dw_hh, dsmall);
    }
    out
}

impl<T: Element> Task<'_, T> {
    /// Adds the group's gradients to those of all.
    fn join(&self, plan: &Plan, dw_ih: &mut [T], dw_hh: &mut [T], dsmall: &mut [T]) {
        let add = |to: &mut [T], from: &[T]| to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
        add(dw_ih, &self.dw_ih);
        add(dw_hh, &self.dw_hh);
        if dsmall.is_empty() {
            return;
        }
        let [db_ih, db_hh, dh, dmemory] = plan.parts_mut(dsmall);
        add(db_ih, &self.db[0]);
        add(db_hh, &self.db[1]);
        for (to, from) in [(dh, &self.dh), (dmemory, &self.dmemory)] {
            let mut to: Vec<_> = to.chunks_mut(plan.hidden).collect();
            for (from, &b) in from.chunks_exact(plan.hidden).zip(&self.group.0) {
                if let Some(to) = to.get_mut(b) {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

/// What all groups share.
struct Pass<'a, C, T, const G: usize> {
    layer: &'a Layer<C, G>,
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    /// What the forward pass started with.
    h: &'a [T],
    memory: &'a [T],
    /// `w_ih`, if inputs want a gradient.
    input: Option<Panels<T>>,
    recurrent: Panels<T>,
}

/// Of the rows of a stretch.
#[derive(Default)]
struct Stretch<T> {
    h_before: Vec<T>,
    d_input: Vec<T>,
    d_hidden: Vec<T>,
    inputs: Vec<T>,
    dx: Vec<T>,
}

impl<C: Cell<G>, T: Element, const G: usize> Pass<'_, C, T, G> {
    fn run(&self, task: &mut Task<'_, T>) {
        let plan = &*self.layer.plan;
        let starts = plan.starts(&task.group);
        let stretch = (ROWS / task.group.0.len()).max(1);
        let first_memory = rows_of(self.memory, &task.group.0, plan.hidden);
        let mut rows =
            Stretch { h_before: vec![], d_input: vec![], d_hidden: vec![], inputs: vec![], dx: vec![] };
        let mut end = starts.len() - 1;
        while end > 0 {
            let first = end.saturating_sub(stretch);
            let count = starts[end] - starts[first];
            self.collect_h(&task.group, &starts, first..end, &mut rows.h_before);
            rows.d_hidden.resize(count * plan.gates, T::ZERO);
            rows.d_input.resize(if C::APART { count * plan.gates } else { 0 }, T::ZERO);
            for s in (first..end).rev() {
                self.step(task, &starts, [first, s], &first_memory, &mut rows);
            }
            self.spread_dx(task, &starts, first..end, &mut rows);
            self.add_dw(task, &starts, first..end, &mut rows);
            end = first;
        }
    }

    /// What each step of a stretch started from.
    fn collect_h(&self, group: &Group, starts: &[usize], steps: std::ops::Range<usize>, rows: &mut Vec<T>) {
        let (plan, units) = (&*self.layer.plan, self.layer.plan.hidden);
        rows.clear();
        for s in steps {
            for &b in &group.0[..starts[s + 1] - starts[s]] {
                rows.extend_from_slice(match s.checked_sub(1) {
                    Some(before) => plan.row(self.y, units, [b, before]),
                    None => &self.h[b * units..][..units],
                });
            }
        }
    }

    /// Step `s` of the stretch from `first` on.
    fn step(
        &self,
        task: &mut Task<'_, T>,
        starts: &[usize],
        [first, s]: [usize; 2],
        first_memory: &[T],
        rows: &mut Stretch<T>,
    ) {
        let (plan, units, gates) = (&*self.layer.plan, self.layer.plan.hidden, self.layer.plan.gates);
        let (start, active) = (starts[s], starts[s + 1] - starts[s]);
        let at = start - starts[first];
        let (dh, dmemory) = (&mut task.dh[..active * units], &mut task.dmemory[..active * units]);
        for (dh, &b) in dh.chunks_exact_mut(units).zip(&task.group.0) {
            dh.iter_mut().zip(plan.row(self.dy, units, [b, s])).for_each(|(dh, &dy)| *dh += dy);
        }
        let d_hidden = &mut rows.d_hidden[at * gates..][..active * gates];
        let d_input = if C::APART { &mut rows.d_input[at * gates..][..active * gates] } else { &mut [][..] };
        let kept = task.kept;
        vectorised(
            #[inline(always)]
            || {
                for j in 0..active {
                    let memory = |s: usize| row(&kept.memory, starts[s] + j, units);
                    let [memory, memory_before] = match s.checked_sub(1) {
                        _ if !C::REMEMBERS => [&[][..]; 2],
                        None => [memory(s), row(first_memory, j, units)],
                        Some(before) => [memory(s), memory(before)],
                    };
                    units::back(
                        self.layer.cell,
                        Row {
                            gates: row(&kept.gates, start + j, gates),
                            memory,
                            memory_before,
                            h_before: row(&rows.h_before, at + j, units),
                            dh: &mut dh[j * units..][..units],
                            dmemory: &mut dmemory[j * units..][..units],
                            d_hidden: &mut d_hidden[j * gates..][..gates],
                            d_input: if C::APART { &mut d_input[j * gates..][..gates] } else { &mut [] },
                        },
                    );
                }
            },
        );
        self.recurrent.add_product(d_hidden, dh);
    }

    /// The inputs' gradients of a stretch.
    fn spread_dx(
        &self,
        task: &mut Task<'_, T>,
        starts: &[usize],
        steps: std::ops::Range<usize>,
        rows: &mut Stretch<T>,
    ) {
        let Some(input) = &self.input else { return };
        let (plan, width) = (&*self.layer.plan, self.layer.plan.input);
        let d = if C::APART { &rows.d_input } else { &rows.d_hidden };
        rows.dx.resize(d.len() / plan.gates * width, T::ZERO);
        input.product(d, &mut rows.dx);
        let mut from = rows.dx.chunks_exact(width.max(1));
        for s in steps {
            let active = starts[s + 1] - starts[s];
            for (dx, (&b, from)) in task.dx.iter_mut().zip(task.group.0[..active].iter().zip(&mut from)) {
                dx[plan.time(b, s) * width..][..width].copy_from_slice(from);
            }
        }
    }

    /// Adds a stretch's share to the weights' gradients.
    fn add_dw(
        &self,
        task: &mut Task<'_, T>,
        starts: &[usize],
        steps: std::ops::Range<usize>,
        rows: &mut Stretch<T>,
    ) {
        let plan = &*self.layer.plan;
        let d_hidden = &rows.d_hidden;
        let d_input = if C::APART { &rows.d_input } else { d_hidden };
        let matrix = |data, width| Mat::new(data, d_hidden.len() / plan.gates, width);
        if !task.dw_ih.is_empty() {
            gather(plan, self.x, plan.input, &task.group, starts, steps, &mut rows.inputs);
            let x = matrix(&rows.inputs, plan.input);
            add_product(&mut task.dw_ih, matrix(d_input, plan.gates).t(), x);
        }
        if !task.dw_hh.is_empty() {
            let h = matrix(&rows.h_before, plan.hidden);
            add_product(&mut task.dw_hh, matrix(d_hidden, plan.gates).t(), h);
        }
        for (db, d) in task.db.iter_mut().zip([d_input, d_hidden]) {
            for row in d.chunks_exact(plan.gates) {
                db.iter_mut().zip(row).for_each(|(db, &d)| *db += d);
            }
        }
    }
}

#[inline(always)]
fn row<T>(data: &[T], j: usize, width: usize) -> &[T] {
    &data[j * width..][..width]
}
