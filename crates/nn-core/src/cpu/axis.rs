//! Walks along one axis of a tensor seen as `[slabs, rows, columns]`, in the two ways memory allows: whole fibres
//! if the axis is the last one, blocks of neighbouring columns otherwise.

use super::Element;
use super::blank::{Blank, Columns, by_chunks, by_columns};
use super::simd::vectorised;
use super::vector::{self, CHUNK, larger};

/// Columns that are worked on side by side, at least: a kilobyte of `f32` from each row.
const BLOCK: usize = 256;

/// And at most, if there are so few rows that they stay in the first-level cache: longer stretches of memory are
/// fetched ahead.
const WIDEST: usize = 512;

/// One number for each column of a block.
pub(crate) type PerColumn<T> = [T; WIDEST];

/// A tensor's shape, seen from one of its axes: the axes before it, it, the axes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) slabs: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Axis {
    pub(crate) fn new(dims: &[usize], axis: usize) -> Self {
        let (before, after) = (&dims[..axis], &dims[axis + 1..]);
        Self { slabs: before.iter().product(), rows: dims[axis], columns: after.iter().product() }
    }

    /// Whether the elements along the axis are neighbours in memory.
    pub(crate) fn is_last(self) -> bool {
        self.columns == 1
    }

    /// The elements of fibre `i`, if the axis is the last one.
    #[inline(always)]
    pub(crate) fn fibre<T>(self, data: &[T], i: usize) -> &[T] {
        &data[i * self.rows..][..self.rows]
    }

    /// A vector of this shape, of which `f(i, fibre)` fills fibre `i`; the axis must be the last one.
    ///
    /// `cost` is the number of elementary operations per element.
    pub(crate) fn by_fibres<T: Element>(
        self,
        cost: usize,
        f: impl Fn(usize, &mut Blank<'_, T>) + Sync + Send,
    ) -> Vec<T> {
        let (len, many) = (self.slabs * self.rows, (CHUNK / self.rows.max(1)).max(1));
        by_chunks(len, many * self.rows, cost * len, |i, blank| {
            vectorised(
                #[inline(always)]
                || {
                    blank.fill_parts(
                        self.rows,
                        #[inline(always)]
                        |j, fibre| f(i * many + j, fibre),
                    )
                },
            );
        })
    }

    /// A vector of this shape, of which `f(at, rows)` fills blocks: all rows at some columns.
    ///
    /// `cost` is the number of elementary operations per element.
    pub(crate) fn by_blocks<T: Element>(
        self,
        cost: usize,
        f: impl Fn(Columns, &mut [Blank<'_, T>]) + Sync + Send,
    ) -> Vec<T> {
        let shape = [self.slabs, self.rows, self.columns];
        by_columns(shape, self.width(), cost * shape.iter().product::<usize>(), |at, rows| {
            vectorised(
                #[inline(always)]
                || f(at, rows),
            );
        })
    }

    /// A number `f(i)` for each fibre; the axis must be the last one. `cost` is per element of a fibre.
    pub(crate) fn per_fibre<T: Element>(self, cost: usize, f: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        let many = (CHUNK / self.rows.max(1)).max(1);
        by_chunks(self.slabs, many, cost * self.rows * self.slabs, |i, y| {
            vectorised(
                #[inline(always)]
                || {
                    y.fill(
                        #[inline(always)]
                        |j| f(i * many + j),
                    )
                    .len()
                },
            );
        })
    }

    /// `N` numbers for each fibre, in rows beside each other: `[slabs, N, columns]`, or `[1, N, slabs]` if the axis is
    /// the last one.
    ///
    /// They are what `fibre(i)` says of one fibre or `block` of the columns of a block. `cost` is per element of a fibre.
    pub(crate) fn facts<T: Element, const N: usize>(
        self,
        cost: usize,
        fibre: impl Fn(usize) -> [T; N] + Sync + Send,
        block: impl Fn(Columns) -> [PerColumn<T>; N] + Sync + Send,
    ) -> Vec<T> {
        let [slabs, columns] = self.grid();
        let many = if self.is_last() { (CHUNK / self.rows.max(1)).clamp(1, BLOCK) } else { self.width() };
        by_columns([slabs, N, columns], many, cost * self.rows * slabs * columns, |at, rows| {
            vectorised(
                #[inline(always)]
                || {
                    if !self.is_last() {
                        for (row, facts) in rows.iter_mut().zip(&block(at)) {
                            row.map(&facts[..row.len()], |x| x);
                        }
                        return;
                    }
                    let mut facts = [[T::ZERO; BLOCK]; N];
                    for j in 0..rows[0].len() {
                        for (facts, x) in facts.iter_mut().zip(fibre(at.start + j)) {
                            facts[j] = x;
                        }
                    }
                    for (row, facts) in rows.iter_mut().zip(&facts) {
                        row.map(&facts[..row.len()], |x| x);
                    }
                },
            );
        })
    }

    /// The fibres as a grid of slabs and columns, of which there is one slab if the axis is the last one.
    pub(crate) fn grid(self) -> [usize; 2] {
        if self.is_last() { [1, self.slabs] } else { [self.slabs, self.columns] }
    }

    /// From the place of a fibre or block on, row `n` of the `N` that [`Axis::facts`] made.
    #[inline(always)]
    pub(crate) fn fact<T, const N: usize>(self, facts: &[T], n: usize, at: Columns) -> &[T] {
        let columns = self.grid()[1];
        &facts[(at.slab * N + n) * columns..][at.start..columns]
    }

    /// The number of the first column of a block among those of all slabs.
    pub(crate) fn column(self, at: Columns) -> usize {
        at.slab * self.columns + at.start
    }

    /// The elements a task of [`Axis::by_blocks`] reads of a tensor of this shape.
    pub(crate) fn block<T>(self, data: &[T], at: Columns) -> Block<'_, T> {
        let size = self.rows * self.columns;
        // A slab without rows has nothing to start from.
        let data = data[at.slab * size..][..size].get(at.start..).unwrap_or_default();
        Block { data, columns: self.columns, width: self.width().min(self.columns - at.start) }
    }

    /// How many columns a block has.
    fn width(self) -> usize {
        (12_288 / self.rows.max(1)).clamp(BLOCK, WIDEST)
    }
}

/// All rows of one slab, at the columns of one block.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, T> {
    data: &'a [T],
    columns: usize,
    pub(crate) width: usize,
}

impl<'a, T> Block<'a, T> {
    /// The elements row by row.
    #[inline(always)]
    pub(crate) fn rows(self) -> impl Iterator<Item = &'a [T]> {
        self.data.chunks(self.columns).map(move |row| &row[..self.width])
    }

    /// The element in row `row` of the block's column `column`.
    #[inline(always)]
    pub(crate) fn at(self, row: usize, column: usize) -> T
    where
        T: Copy,
    {
        self.data[row * self.columns + column]
    }
}

/// Folds the rows of a block column by column.
#[inline(always)]
pub(crate) fn fold<T: Element>(into: &mut PerColumn<T>, row: &[T], f: impl Fn(T, T) -> T) {
    for (into, &x) in into.iter_mut().zip(row) {
        *into = f(*into, x);
    }
}

/// The largest element of each column, −∞ if there is none; NaN is passed over.
#[inline(always)]
pub(crate) fn max<T: Element>(block: Block<'_, T>) -> PerColumn<T> {
    let mut top = per_column(T::NEG_INFINITY);
    for row in block.rows() {
        fold(&mut top, row, larger);
    }
    top
}

/// Multiplies a row of a block by a number for each column.
#[inline(always)]
pub(crate) fn scale<T: Element>(row: &mut [T], by: &PerColumn<T>) {
    for (x, &by) in row.iter_mut().zip(by) {
        *x *= by;
    }
}

/// `(m, Σ e^(x − m))` for each column, where `m` is its largest element.
#[inline(always)]
pub(crate) fn exponential_sum<T: Element>(block: Block<'_, T>) -> (PerColumn<T>, PerColumn<T>) {
    let top = max(block);
    let mut total = per_column(T::ZERO);
    for row in block.rows() {
        for (total, (&x, &top)) in total.iter_mut().zip(row.iter().zip(&top)) {
            *total += (x - top).exp_nonpositive();
        }
    }
    (top, total)
}

/// [`exponential_sum`] of one fibre.
#[inline(always)]
pub(crate) fn exponential_sum_of<T: Element>(fibre: &[T]) -> (T, T) {
    let (top, total) = vector::exponential_sum(fibre);
    (top, T::of(total))
}

/// `(m, r)` with `ln Σ eˣ = m + r` for each column: apart, so that neither is rounded to the size of the other.
#[inline(always)]
pub(crate) fn log_sum_exp<T: Element>(block: Block<'_, T>) -> (PerColumn<T>, PerColumn<T>) {
    let (top, mut rest) = exponential_sum(block);
    for rest in &mut rest[..block.width] {
        *rest = rest.ln();
    }
    (top, rest)
}

/// [`log_sum_exp`] of one fibre.
#[inline(always)]
pub(crate) fn log_sum_exp_of<T: Element>(fibre: &[T]) -> (T, T) {
    let (top, total) = exponential_sum_of(fibre);
    (top, total.ln())
}

/// Fills `y` with `e^(x − m)`, where `m` is the largest of its column, and gives their sum for each column.
#[inline(always)]
pub(crate) fn exponentials<T: Element>(x: Block<'_, T>, y: &mut [Blank<'_, T>]) -> PerColumn<T> {
    let top = max(x);
    let mut total = per_column(T::ZERO);
    for (y, row) in y.iter_mut().zip(x.rows()) {
        let y = y.map2(
            row,
            &top[..x.width],
            #[inline(always)]
            |x, top| (x - top).exp_nonpositive(),
        );
        fold(&mut total, y, |total, y| total + y);
    }
    total
}

/// [`exponentials`] of one fibre: they and their sum.
#[inline(always)]
pub(crate) fn exponentials_of<'y, T: Element>(x: &[T], y: &'y mut Blank<'_, T>) -> (&'y mut [T], f64) {
    let top = vector::max(x);
    let y = y.map(
        x,
        #[inline(always)]
        |x| (x - top).exp_nonpositive(),
    );
    let total = vector::sum(y, |y| y);
    (y, total)
}

/// One number for each column.
pub(crate) fn per_column<T: Element>(x: T) -> PerColumn<T> {
    [x; WIDEST]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_a_shape() {
        let of = |axis| {
            let Axis { slabs, rows, columns } = Axis::new(&[2, 3, 4], axis);
            [slabs, rows, columns]
        };
        assert_eq!([of(0), of(1), of(2)], [[1, 2, 12], [2, 3, 4], [6, 4, 1]]);
    }

    #[test]
    fn fibres_and_blocks_see_the_same_elements() {
        for (slabs, rows, columns) in
            [(1, 1, 1), (3, 5, 1), (2, 20_000, 1), (2, 3, 5), (2, 3, 600), (2, 0, 3), (0, 2, 3)]
        {
            let axis = Axis { slabs, rows, columns };
            let x: Vec<f64> = (0..slabs * rows * columns).map(|i| i as f64).collect();
            let blocks = axis.by_blocks(100, |at, ys| {
                let block = axis.block(&x, at);
                assert_eq!(block.rows().count(), rows);
                for (y, x) in ys.iter_mut().zip(block.rows()) {
                    assert_eq!(x.len(), block.width);
                    y.map(x, |x| x);
                }
            });
            assert_eq!(blocks, x, "{axis:?}");
            if axis.is_last() {
                let fibres = axis.by_fibres(100, |i, y| {
                    y.map(axis.fibre(&x, i), |x| x);
                });
                assert_eq!(fibres, x, "{axis:?}");
            }
        }
    }

    #[test]
    fn facts_stand_in_rows() {
        for (slabs, rows, columns) in [(3, 5, 1), (700, 2, 1), (2, 3, 600), (2, 3, 0), (0, 2, 3)] {
            let axis = Axis { slabs, rows, columns };
            let x: Vec<f64> = (0..slabs * rows * columns).map(|i| i as f64).collect();
            let facts = axis.facts(
                1,
                |i| [axis.fibre(&x, i)[0], axis.fibre(&x, i)[1]],
                |at| {
                    let (mut facts, block) = ([per_column(0.0); 2], axis.block(&x, at));
                    for (facts, row) in facts.iter_mut().zip(block.rows()) {
                        facts[..row.len()].copy_from_slice(row);
                    }
                    facts
                },
            );
            let [slabs, columns] = axis.grid();
            for (slab, start) in (0..slabs).flat_map(|slab| (0..columns).map(move |start| (slab, start))) {
                let first = slab * rows * columns + if axis.is_last() { start * rows } else { start };
                let at = Columns { slab, start };
                let [a, b] = [0, 1].map(|n| axis.fact::<_, 2>(&facts, n, at)[0]);
                assert_eq!([a, b], [x[first], x[first + axis.columns]], "{axis:?}");
            }
        }
    }

    #[test]
    fn maxima_of_columns() {
        let axis = Axis { slabs: 1, rows: 2, columns: 3 };
        let block = axis.block(&[1.0, f64::NAN, 3.0, 4.0, 2.0, f64::NAN], Columns { slab: 0, start: 0 });
        assert_eq!(max(block)[..3], [4.0, 2.0, 3.0]);
    }
}
