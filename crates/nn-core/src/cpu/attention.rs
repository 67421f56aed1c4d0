//! Attention without its matrix of weights: a block of queries meets the keys tile by tile, and a tile stays in the cache.
//!
//! Scores lie with a key's in a row, so that each step of the softmax treats many queries at once and a running maximum and
//! sum stay in registers. The order of sums is that of the tiles: the same on any number of threads.
//!
//! Source: the running softmax of Milakov & Gimelshein 2018, arXiv:1805.02867, in the tiles of Rabe & Staats 2021,
//! arXiv:2112.05682, and Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4.

mod backward;
mod masks;

use super::Element;
use super::gemm::Mat;
use super::parallel::for_each_task;
use super::simd::{block, vectorised};
use super::tiles::{LANES, Onto, product};
use super::vector::larger;

pub(crate) use backward::Passed;
use masks::Place;
pub(crate) use masks::{Dropped, Masks};

/// Queries of a block at most: four vectors, which the products like best.
const QUERIES: usize = 64;

/// Keys of a tile: a multiple of four, as the random numbers of dropout come.
const KEYS: usize = 64;

/// `[batch, heads, rows, columns]`, wherever they lie.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) dims: [usize; 4],
    pub(crate) strides: [usize; 4],
}

impl<'a, T> Heads<'a, T> {
    fn head(&self, b: usize, n: usize) -> Mat<'a, T> {
        let ([_, _, rows, cols], [batch, head, row, col]) = (self.dims, self.strides);
        let first = if rows * cols == 0 { 0 } else { b * batch + n * head };
        Mat { data: &self.data[first..], rows, cols, row, col }
    }
}

/// One call: queries `[B, N, T, D]`, keys `[B, M, S, D]` and values `[B, M, S, E]`, where `M` divides `N`.
pub(crate) struct Attention<'a, T> {
    pub(crate) q: Heads<'a, T>,
    pub(crate) k: Heads<'a, T>,
    pub(crate) v: Heads<'a, T>,
    /// What a product of query and key is multiplied by.
    pub(crate) scale: f64,
    pub(crate) masks: Masks<'a, T>,
    pub(crate) dropped: Option<Dropped>,
}

/// What a thread works with, once for all its blocks.
struct Scratch<T> {
    /// The block's queries, scaled: a row for each column of them.
    queries: Vec<T>,
    /// A row of scores, then of weights, for each key of a tile.
    weights: Vec<T>,
    /// What dropout multiplies them by.
    kept: Vec<T>,
    /// A tile of the values, if it must be copied.
    tile: Vec<T>,
    /// The output before its division by `total`.
    output: Vec<T>,
    softmax: Softmax<T>,
}

/// The softmax of each query of a block over the keys so far.
struct Softmax<T> {
    top: Vec<T>,
    /// Of the exponentials of scores less `top`.
    total: Vec<T>,
    /// What an output summed up before the last tile is worth after it.
    shrink: Vec<T>,
}

impl<T: Element> Attention<'_, T> {
    /// The outputs `[B, N, T, E]`, and for each query the logarithm of the sum of its exponentials: +∞ if it sees no key.
    pub(crate) fn forward(&self) -> (Vec<T>, Vec<T>) {
        let [batch, heads, queries, _] = self.q.dims;
        let width = self.v.dims[3];
        let mut y = vec![T::ZERO; batch * heads * queries * width];
        let mut sums = vec![T::ZERO; batch * heads * queries];
        let mut tasks = Vec::new();
        let (mut y_left, mut sums_left) = (y.as_mut_slice(), sums.as_mut_slice());
        for head in 0..batch * heads {
            for (first, count) in blocks(queries) {
                let (y, sums);
                (y, y_left) = y_left.split_at_mut(count * width);
                (sums, sums_left) = sums_left.split_at_mut(count);
                tasks.push((head, first, y, sums));
            }
        }
        for_each_task(
            tasks,
            self.work(),
            || self.scratch(),
            |scratch, (head, first, y, sums)| self.block(scratch, head, first, y, sums),
        );
        (y, sums)
    }

    /// Elementary operations of the forward pass, roughly.
    fn work(&self) -> usize {
        let [batch, heads, queries, width] = self.q.dims;
        batch * heads * queries * self.v.dims[2] * (width + self.v.dims[3]) / 8
    }

    fn scratch(&self) -> Scratch<T> {
        let (depth, width) = (self.q.dims[3], self.v.dims[3].next_multiple_of(LANES));
        let zeros = |len| vec![T::ZERO; len];
        let per_query = || zeros(QUERIES);
        Scratch {
            queries: zeros(depth * QUERIES),
            weights: zeros(KEYS * QUERIES),
            kept: zeros(if self.dropped.is_some() { KEYS * QUERIES } else { 0 }),
            tile: zeros(KEYS * width),
            output: zeros(QUERIES * width),
            softmax: Softmax { top: per_query(), total: per_query(), shrink: per_query() },
        }
    }

    /// The keys and values that query head `head` looks at.
    fn keys_of(&self, head: usize) -> [Mat<'_, T>; 2] {
        let [heads, groups] = [self.q.dims[1], self.k.dims[1]];
        let (b, n) = (head / heads, head % heads / (heads / groups));
        [self.k.head(b, n), self.v.head(b, n)]
    }

    fn queries_of(&self, head: usize) -> Mat<'_, T> {
        self.q.head(head / self.q.dims[1], head % self.q.dims[1])
    }

    /// Where a block of `count` queries from `first` on stands, and how many keys it can see.
    fn place(&self, head: usize, first: usize, count: usize) -> (Place, usize) {
        let [_, heads, queries, _] = self.q.dims;
        let keys = self.masks.reach(head / heads, [first + count, self.k.dims[2]]);
        let place = Place {
            head: [head / heads, head % heads],
            row: head * queries + first,
            query: first,
            queries: count,
            key: 0,
            keys: self.k.dims[2],
            width: count.next_multiple_of(LANES),
        };
        (place, keys)
    }

    fn block(&self, scratch: &mut Scratch<T>, head: usize, first: usize, y: &mut [T], sums: &mut [T]) {
        let (q, [k, v], count) = (self.queries_of(head), self.keys_of(head), sums.len());
        let (mut place, keys) = self.place(head, first, count);
        let (width, columns) = (place.width, v.cols.next_multiple_of(LANES));
        let Scratch { queries, weights, kept, tile, output, softmax } = scratch;
        let queries = &mut queries[..q.cols * width];
        transpose(part(q, first, count), T::of(self.scale), width, queries);
        let output = &mut output[..count * columns];
        softmax.start();
        for key in (0..keys).step_by(KEYS) {
            let many = KEYS.min(keys - key);
            place.key = key;
            let weights = &mut weights[..many * width];
            product(weights, part(k, key, many), Mat::new(queries, q.cols, width), Onto::Nothing);
            self.masks.hide(weights, place);
            softmax.add(weights, width);
            if let Some(dropped) = &self.dropped {
                dropped.factors(kept, place);
                vectorised(|| weights.iter_mut().zip(&*kept).for_each(|(x, &kept)| *x *= kept));
            }
            let onto = if key == 0 { Onto::Nothing } else { Onto::Scaled(&softmax.shrink) };
            let weights = Mat { data: weights, rows: count, cols: many, row: 1, col: width };
            product(output, weights, rows(part(v, key, many), tile), onto);
        }
        if keys == 0 {
            output.fill(T::ZERO);
        }
        for (i, (y, output)) in
            y.chunks_exact_mut(v.cols.max(1)).zip(output.chunks_exact(columns.max(1))).enumerate()
        {
            let total = softmax.total[i];
            let factor = if total == T::ZERO { T::ZERO } else { T::ONE / total };
            y.iter_mut().zip(output).for_each(|(y, &x)| *y = x * factor);
        }
        softmax.log_sums(sums);
    }
}

impl<T: Element> Softmax<T> {
    fn start(&mut self) {
        self.top.fill(T::NEG_INFINITY);
        self.total.fill(T::ZERO);
    }

    /// Takes in a tile of scores and turns them into exponentials, less the largest of their query so far.
    fn add(&mut self, scores: &mut [T], width: usize) {
        vectorised(
            #[inline(always)]
            || {
                for at in (0..width).step_by(LANES) {
                    let before: [T; LANES] = block(&self.top, at);
                    let mut top = before;
                    for row in scores.chunks_exact(width) {
                        let x: [T; LANES] = block(row, at);
                        for i in 0..LANES {
                            top[i] = larger(top[i], x[i]);
                        }
                    }
                    self.top[at..at + LANES].copy_from_slice(&top);
                    // A query that has seen nothing yet keeps exponentials of 0.
                    let base = top.map(|x| if x == T::NEG_INFINITY { T::ZERO } else { x });
                    let mut total = [T::ZERO; LANES];
                    for row in scores.chunks_exact_mut(width) {
                        let x: [T; LANES] = block(row, at);
                        let mut e = [T::ZERO; LANES];
                        for i in 0..LANES {
                            e[i] = (x[i] - base[i]).exp_nonpositive();
                            total[i] += e[i];
                        }
                        row[at..at + LANES].copy_from_slice(&e);
                    }
                    for i in 0..LANES {
                        let shrink = (before[i] - base[i]).exp_nonpositive();
                        self.shrink[at + i] = shrink;
                        self.total[at + i] = self.total[at + i].mul_add(shrink, total[i]);
                    }
                }
            },
        );
    }

    /// `ln Σ eˣ` of each query's scores; +∞ where there are none, so that what is less it has exponentials of 0.
    fn log_sums(&self, sums: &mut [T]) {
        for (sum, (&top, &total)) in sums.iter_mut().zip(self.top.iter().zip(&self.total)) {
            *sum = if total == T::ZERO { -T::NEG_INFINITY } else { top + total.ln() };
        }
    }
}

/// Cuts `queries` into blocks of nearly equal numbers of vectors: where each begins and how many it has.
fn blocks(queries: usize) -> impl Iterator<Item = (usize, usize)> {
    let vectors = queries.div_ceil(LANES);
    let count = queries.div_ceil(QUERIES);
    (0..count).map(move |i| {
        let [first, end] = [i, i + 1].map(|i| (vectors * i / count * LANES).min(queries));
        (first, end - first)
    })
}

/// Some rows of a matrix.
fn part<T>(x: Mat<'_, T>, first: usize, rows: usize) -> Mat<'_, T> {
    let data = if rows * x.cols == 0 { &[] } else { &x.data[first * x.row..] };
    Mat { data, rows, ..x }
}

/// `y[j][i] = scale · x[i][j]`, with rows of `width` and zeros at their end.
fn transpose<T: Element>(x: Mat<T>, scale: T, width: usize, y: &mut [T]) {
    for (j, y) in y.chunks_exact_mut(width).enumerate() {
        for (i, y) in y[..x.rows].iter_mut().enumerate() {
            *y = x.data[i * x.row + j * x.col] * scale;
        }
        y[x.rows..].fill(T::ZERO);
    }
}

/// A matrix whose rows are whole vectors: itself if they are and are dense, else its copy in `room`, with zeros at their end.
fn rows<'a, T: Element>(x: Mat<'a, T>, room: &'a mut [T]) -> Mat<'a, T> {
    let width = x.cols.next_multiple_of(LANES);
    if x.col == 1 && x.row == x.cols && x.cols == width {
        return x;
    }
    let room = &mut room[..x.rows * width];
    for (i, row) in room.chunks_exact_mut(width.max(1)).enumerate() {
        let (row, end) = row.split_at_mut(x.cols);
        if x.col == 1 {
            row.copy_from_slice(&x.data[i * x.row..][..x.cols]);
        } else {
            row.iter_mut().enumerate().for_each(|(j, y)| *y = x.data[i * x.row + j * x.col]);
        }
        end.fill(T::ZERO);
    }
    Mat::new(room, x.rows, width)
}
