//! Planes of another size: along each axis, every output is a weighted sum of a few neighbours.
//!
//! The pass along the height adds whole rows and is as fast as memory; the one along the width gathers. So the latter
//! runs on as few rows as there are: before the former if the height grows, after it if the height shrinks.

use std::ops::Range;

use super::Element;
use super::blank::{Blank, by_chunks};
use super::simd::{block, vectorised};

/// What each output along an axis takes of the inputs: a matrix whose rows are zero but for one stretch each.
///
/// Stretches begin and end no earlier than those of the outputs before.
#[derive(Clone, Debug)]
pub(crate) struct Taps<T = f64> {
    inputs: usize,
    /// The first input of each output.
    firsts: Vec<usize>,
    /// Where the weights of each output begin, and where the last one's end.
    offsets: Vec<usize>,
    weights: Vec<T>,
}

impl Taps {
    /// From the first input and the weights of each output.
    pub(crate) fn new(inputs: usize, outputs: impl Iterator<Item = (usize, Vec<f64>)>) -> Self {
        let mut taps = Self { inputs, firsts: Vec::new(), offsets: vec![0], weights: Vec::new() };
        for (first, weights) in outputs {
            assert!(first + weights.len() <= inputs, "taps: an output takes what is not there");
            taps.firsts.push(first);
            taps.weights.extend(weights);
            taps.offsets.push(taps.weights.len());
        }
        taps
    }

    /// What each input gives to the outputs.
    pub(crate) fn transposed(&self) -> Self {
        let mut columns = vec![(0, Vec::new()); self.inputs];
        for o in 0..self.outputs() {
            let (first, weights) = self.of(o);
            for ((start, column), &weight) in columns[first..].iter_mut().zip(weights) {
                if column.is_empty() {
                    *start = o;
                }
                column.resize(o - *start, 0.0);
                column.push(weight);
            }
        }
        Self::new(self.outputs(), columns.into_iter())
    }

    /// The input each output is, if each is just one.
    pub(crate) fn picks(&self) -> Option<impl Iterator<Item = usize>> {
        let alone = self.weights.len() == self.outputs() && self.weights.iter().all(|&w| w == 1.0);
        (alone && self.offsets.iter().enumerate().all(|(o, &offset)| o == offset))
            .then(|| self.firsts.iter().copied())
    }

    /// The row-major `[outputs, inputs]` matrix.
    pub(crate) fn dense(&self) -> Vec<f64> {
        let mut matrix = vec![0.0; self.outputs() * self.inputs];
        for (o, row) in matrix.chunks_exact_mut(self.inputs).enumerate() {
            let (first, weights) = self.of(o);
            row[first..][..weights.len()].copy_from_slice(weights);
        }
        matrix
    }

    /// The same in the type of a kernel.
    fn cast<T: Element>(&self) -> Taps<T> {
        Taps {
            inputs: self.inputs,
            firsts: self.firsts.clone(),
            offsets: self.offsets.clone(),
            weights: self.weights.iter().map(|&w| T::of(w)).collect(),
        }
    }
}

impl<T> Taps<T> {
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.firsts.len()
    }

    fn count(&self, o: usize) -> usize {
        self.offsets[o + 1] - self.offsets[o]
    }

    /// The first input of output `o`, and the weights from there on.
    fn of(&self, o: usize) -> (usize, &[T]) {
        (self.firsts[o], &self.weights[self.offsets[o]..self.offsets[o + 1]])
    }
}

/// Elements of a task, of its input or output, whichever is larger.
const TASK: usize = 16_384;

/// Rows of a task at the least: neighbouring tasks of a growing plane both need the rows between them.
const ROWS: usize = 8;

/// `down · x · rightᵀ` for each of `planes` planes.
pub(crate) fn resample<T: Element>(x: &[T], planes: usize, [down, right]: [&Taps; 2]) -> Vec<T> {
    let [height, width] = [down.outputs(), right.outputs()];
    let plane = (height * width).max(down.inputs * right.inputs);
    let rows = match TASK / plane.max(1) {
        0 => (height * TASK / plane).max(ROWS),
        whole => height * whole,
    };
    let narrow = height.min(down.inputs);
    let work = planes * (narrow * right.weights.len() + down.weights.len() * width.max(right.inputs) / 8);
    let grows = height >= down.inputs;
    let (down, right) = (down.cast::<T>(), Across::new(right.cast::<T>()));
    let task = |i: usize, y: &mut Blank<'_, T>| {
        vectorised(
            #[inline(always)]
            || {
                let lines = Lines { x, down: &down, right: &right, first: i * rows };
                if grows { lines.grow(y) } else { lines.shrink(y) }
            },
        );
    };
    by_chunks(planes * height * width, rows * width, work, task)
}

/// Rows of the output, from `first` on, all planes being one above the other.
struct Lines<'a, T> {
    x: &'a [T],
    down: &'a Taps<T>,
    right: &'a Across<T>,
    first: usize,
}

impl<T: Element> Lines<'_, T> {
    /// The plane of row `r`, and which of its rows it is.
    #[inline(always)]
    fn place(&self, r: usize) -> (usize, usize) {
        let row = self.first + r;
        (row / self.down.outputs(), row % self.down.outputs())
    }

    /// A row of the input.
    #[inline(always)]
    fn input(&self, plane: usize, row: usize) -> &[T] {
        let width = self.right.taps.inputs;
        &self.x[(plane * self.down.inputs + row) * width..][..width]
    }

    /// Along the width, then the height.
    #[inline(always)]
    fn grow(&self, y: &mut Blank<'_, T>) {
        let width = self.right.taps.outputs();
        let taken = (0..self.down.outputs()).map(|o| self.down.count(o)).max().unwrap_or(0).max(1);
        // The rows that an output row may take, each in the place of the one `taken` rows before.
        let mut wide = vec![T::ZERO; taken * width];
        let (mut of_plane, mut made) = (usize::MAX, 0);
        y.fill_parts(
            width,
            #[inline(always)]
            |r, y| {
                let (plane, o) = self.place(r);
                let (first, weights) = self.down.of(o);
                if plane != of_plane {
                    (of_plane, made) = (plane, first);
                }
                let end = first + weights.len();
                for row in made.max(first)..end {
                    self.right.row(self.input(plane, row), &mut wide[row % taken * width..][..width]);
                }
                made = made.max(end);
                add_rows(
                    y.fill(|_| T::ZERO),
                    weights,
                    #[inline(always)]
                    |i| &wide[(first + i) % taken * width..][..width],
                );
            },
        );
    }

    /// Along the height, then the width.
    #[inline(always)]
    fn shrink(&self, y: &mut Blank<'_, T>) {
        let taps = &self.right.taps;
        let mut sum = vec![T::ZERO; taps.inputs];
        y.fill_parts(
            taps.outputs(),
            #[inline(always)]
            |r, y| {
                let (plane, o) = self.place(r);
                let (first, weights) = self.down.of(o);
                sum.fill(T::ZERO);
                add_rows(
                    &mut sum,
                    weights,
                    #[inline(always)]
                    |i| self.input(plane, first + i),
                );
                self.right.row(&sum, y.fill(|_| T::ZERO));
            },
        );
    }
}

/// `y += Σ weights[i] · row(i)`, four rows at a time.
#[inline(always)]
fn add_rows<'a, T: Element>(y: &mut [T], weights: &[T], row: impl Fn(usize) -> &'a [T]) {
    let n = y.len();
    for (group, weights) in weights.chunks(4).enumerate() {
        let first = 4 * group;
        match *weights {
            [a, b, c, d] => {
                let [p, q, r, s] = [0, 1, 2, 3].map(
                    #[inline(always)]
                    |i| &row(first + i)[..n],
                );
                for j in 0..n {
                    y[j] = d.mul_add(s[j], c.mul_add(r[j], b.mul_add(q[j], a.mul_add(p[j], y[j]))));
                }
            }
            [a, b] => {
                let [p, q] = [&row(first)[..n], &row(first + 1)[..n]];
                for j in 0..n {
                    y[j] = b.mul_add(q[j], a.mul_add(p[j], y[j]));
                }
            }
            _ => {
                for (i, &a) in weights.iter().enumerate() {
                    let p = &row(first + i)[..n];
                    for j in 0..n {
                        y[j] = a.mul_add(p[j], y[j]);
                    }
                }
            }
        }
    }
}

/// The taps along the width, as stretches of outputs that take equally many inputs each.
struct Across<T> {
    taps: Taps<T>,
    stretches: Vec<(Range<usize>, usize)>,
}

impl<T: Element> Across<T> {
    fn new(taps: Taps<T>) -> Self {
        let mut stretches: Vec<(Range<usize>, usize)> = Vec::new();
        for o in 0..taps.outputs() {
            match stretches.last_mut() {
                Some((outputs, count)) if *count == taps.count(o) => outputs.end = o + 1,
                _ => stretches.push((o..o + 1, taps.count(o))),
            }
        }
        Self { taps, stretches }
    }

    /// One row.
    #[inline(always)]
    fn row(&self, x: &[T], y: &mut [T]) {
        for (outputs, count) in &self.stretches {
            let y = &mut y[outputs.clone()];
            let firsts = &self.taps.firsts[outputs.clone()];
            let weights = &self.taps.weights[self.taps.offsets[outputs.start]..];
            match *count {
                0 => y.fill(T::ZERO),
                1 => fixed::<T, 1>(x, y, firsts, weights),
                2 => fixed::<T, 2>(x, y, firsts, weights),
                3 => fixed::<T, 3>(x, y, firsts, weights),
                4 => fixed::<T, 4>(x, y, firsts, weights),
                count => {
                    for ((y, &first), weights) in y.iter_mut().zip(firsts).zip(weights.chunks_exact(count)) {
                        *y = dot(&x[first..][..count], weights);
                    }
                }
            }
        }
    }
}

/// [`Across::row`] where each output takes `N` inputs.
#[inline(always)]
fn fixed<T: Element, const N: usize>(x: &[T], y: &mut [T], firsts: &[usize], weights: &[T]) {
    for ((y, &first), weights) in y.iter_mut().zip(firsts).zip(weights.as_chunks::<N>().0) {
        *y = dot(&block::<T, N>(x, first), weights);
    }
}

#[inline(always)]
fn dot<T: Element>(x: &[T], weights: &[T]) -> T {
    x.iter().zip(weights).fold(
        T::ZERO,
        #[inline(always)]
        |sum, (&x, &w)| w.mul_add(x, sum),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two outputs of three inputs: the first takes two of them, the second the last.
    fn taps() -> Taps {
        Taps::new(3, [(0, vec![1.0, 2.0]), (2, vec![3.0])].into_iter())
    }

    #[test]
    fn taps_are_a_matrix() {
        assert_eq!(taps().dense(), [1.0, 2.0, 0.0, 0.0, 0.0, 3.0]);
        assert_eq!(taps().transposed().dense(), [1.0, 0.0, 2.0, 0.0, 0.0, 3.0]);
        assert!(taps().picks().is_none());
        let picks = Taps::new(3, [(0, vec![1.0]), (2, vec![1.0])].into_iter());
        assert_eq!(picks.picks().map(Iterator::collect), Some(vec![0, 2]));
        assert!(picks.transposed().picks().is_none(), "one input is picked by nobody");
    }

    #[test]
    fn both_orders_are_the_product_of_three_matrices() {
        let (x, shrinks, grows) = ([1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0], taps(), taps().transposed());
        // [[1, 2, 3], [4, 5, 6]] · rightᵀ = [[5, 9], [14, 18]]
        assert_eq!(resample(&x, 1, [&grows, &shrinks]), [5.0, 9.0, 10.0, 18.0, 42.0, 54.0]);
        // The same numbers as [[1, 2], [3, 4], [5, 6]]: down · x = [[7, 10], [15, 18]]
        assert_eq!(resample(&x, 1, [&shrinks, &grows]), [7.0, 14.0, 30.0, 15.0, 30.0, 54.0]);
    }

    #[test]
    #[should_panic(expected = "takes what is not there")]
    fn taps_beyond_the_border_are_a_bug() {
        Taps::new(2, std::iter::once((1, vec![1.0, 1.0])));
    }
}
