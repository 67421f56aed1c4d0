//! Gradients of attention: weights are computed again, tile by tile, from the logarithms of their sums.

use super::{Attention, Heads, KEYS, LANES, Onto, QUERIES, blocks, part, product, rows, transpose};
use crate::cpu::Element;
use crate::cpu::gemm::Mat;
use crate::cpu::parallel::for_each_task;
use crate::cpu::simd::vectorised;
use crate::cpu::vector::sum2;

/// What a thread works with, once for all its heads.
struct Scratch<T> {
    /// The block's queries, scaled, and its output gradients: a row for each column of them.
    queries: Vec<T>,
    dy_columns: Vec<T>,
    /// The same row by row, if they must be copied.
    query_rows: Vec<T>,
    dy_rows: Vec<T>,
    /// Of the block's queries: the logarithm of the sum of their exponentials, and how much of the gradient of a weight is
    /// that of the sum.
    log_sums: Vec<T>,
    common: Vec<T>,
    /// A row for each key of a tile, as the gradients of scores.
    weights: Vec<T>,
    d_scores: Vec<T>,
    kept: Vec<T>,
    /// A tile of keys or a block of outputs, if it must be copied.
    tile: Vec<T>,
    /// Gradients of the block's queries, and of all keys and values of a head, before scaling; rows are whole vectors.
    dq: Vec<T>,
    dk: Vec<T>,
    dv: Vec<T>,
}

/// The output of a forward pass, its gradient and the logarithms of sums `[B, N, T]`.
pub(crate) struct Passed<'a, T> {
    pub(crate) y: Heads<'a, T>,
    pub(crate) dy: Heads<'a, T>,
    pub(crate) log_sums: &'a [T],
}

impl<T: Element> Attention<'_, T> {
    /// The gradients of queries, keys and values, one after the other.
    pub(crate) fn backward(&self, passed: &Passed<'_, T>) -> Vec<T> {
        let [dq_len, dk_len, dv_len] = [&self.q, &self.k, &self.v].map(|x| x.dims.iter().product::<usize>());
        let mut gradients = vec![T::ZERO; dq_len + dk_len + dv_len];
        let (dq, rest) = gradients.split_at_mut(dq_len);
        let (dk, dv) = rest.split_at_mut(dk_len);
        let groups = self.k.dims[0] * self.k.dims[1];
        // Keys and values of a group are shared by its heads, and summed by one task.
        let chunk = |len: usize| (len / groups.max(1)).max(1);
        let tasks = dq
            .chunks_mut(chunk(dq_len))
            .zip(dk.chunks_mut(chunk(dk_len)).zip(dv.chunks_mut(chunk(dv_len))))
            .enumerate()
            .collect();
        for_each_task(
            tasks,
            3 * self.work(),
            || self.backward_scratch(),
            |scratch, (group, (dq, (dk, dv)))| self.group(scratch, group, passed, [dq, dk, dv]),
        );
        gradients
    }

    fn backward_scratch(&self) -> Scratch<T> {
        let [_, _, keys, width] = self.v.dims;
        let depth = self.q.dims[3];
        let (depth_padded, width_padded) = (depth.next_multiple_of(LANES), width.next_multiple_of(LANES));
        let zeros = |len| vec![T::ZERO; len];
        let tile = || zeros(KEYS * QUERIES);
        Scratch {
            queries: zeros(depth * QUERIES),
            dy_columns: zeros(width * QUERIES),
            query_rows: zeros(QUERIES * depth_padded),
            dy_rows: zeros(QUERIES * width_padded),
            log_sums: zeros(QUERIES),
            common: zeros(QUERIES),
            weights: tile(),
            d_scores: tile(),
            kept: if self.dropped.is_some() { tile() } else { Vec::new() },
            tile: zeros(KEYS.max(QUERIES) * depth_padded.max(width_padded)),
            dq: zeros(QUERIES * depth_padded),
            dk: zeros(keys * depth_padded),
            dv: zeros(keys * width_padded),
        }
    }

    /// The heads that look at one head of keys and values.
    fn group(
        &self,
        scratch: &mut Scratch<T>,
        group: usize,
        passed: &Passed<'_, T>,
        [dq, dk, dv]: [&mut [T]; 3],
    ) {
        let [heads, groups] = [self.q.dims[1], self.k.dims[1]];
        let many = heads / groups;
        scratch.dk.fill(T::ZERO);
        scratch.dv.fill(T::ZERO);
        let [_, _, queries, depth] = self.q.dims;
        for n in 0..many {
            let head = group * many + n;
            for (first, count) in blocks(queries) {
                let dq = &mut dq[(n * queries + first) * depth..][..count * depth];
                self.block_backward(scratch, head, [first, count], passed, dq);
            }
        }
        scaled(&scratch.dk, depth, T::of(self.scale), dk);
        scaled(&scratch.dv, self.v.dims[3], T::ONE, dv);
    }

    fn block_backward(
        &self,
        scratch: &mut Scratch<T>,
        head: usize,
        [first, count]: [usize; 2],
        passed: &Passed<'_, T>,
        dq: &mut [T],
    ) {
        let (b, n) = (head / self.q.dims[1], head % self.q.dims[1]);
        let (q, [k, v]) = (part(self.queries_of(head), first, count), self.keys_of(head));
        let [y, dy] = [&passed.y, &passed.dy].map(|x| part(x.head(b, n), first, count));
        let (mut place, keys) = self.place(head, first, count);
        let width = place.width;
        let [depth_padded, width_padded] = [q.cols, v.cols].map(|cols| cols.next_multiple_of(LANES));

        let s = scratch;
        transpose(q, T::of(self.scale), width, &mut s.queries[..q.cols * width]);
        transpose(dy, T::ONE, width, &mut s.dy_columns[..v.cols * width]);
        s.log_sums[..count].copy_from_slice(&passed.log_sums[place.row..][..count]);
        let queries = Mat::new(&s.queries, q.cols, width);
        let dy_columns = Mat::new(&s.dy_columns, v.cols, width);
        let (query_rows, dy_rows) = (rows(q, &mut s.query_rows), rows(dy, &mut s.dy_rows));
        products_of_rows(rows(y, &mut s.tile), dy_rows, &mut s.common[..count]);
        let dq_rows = &mut s.dq[..count * depth_padded];
        dq_rows.fill(T::ZERO);

        for key in (0..keys).step_by(KEYS) {
            let many = KEYS.min(keys - key);
            place.key = key;
            let (k, v) = (part(k, key, many), part(v, key, many));
            let (weights, d_scores) = (&mut s.weights[..many * width], &mut s.d_scores[..many * width]);
            product(weights, k, queries, Onto::Nothing);
            self.masks.hide(weights, place);
            product(d_scores, v, dy_columns, Onto::Nothing);
            if let Some(dropped) = &self.dropped {
                dropped.factors(&mut s.kept, place);
                vectorised(|| d_scores.iter_mut().zip(&s.kept).for_each(|(x, &kept)| *x *= kept));
            }
            differentiate(weights, d_scores, &s.log_sums[..width], &s.common[..width]);
            if self.dropped.is_some() {
                vectorised(|| weights.iter_mut().zip(&s.kept).for_each(|(x, &kept)| *x *= kept));
            }
            // A row of weights for each key, of which those of queries that are there count.
            let tile = |data| Mat { data, rows: many, cols: count, row: width, col: 1 };
            let dv = &mut s.dv[key * width_padded..][..many * width_padded];
            product(dv, tile(weights), dy_rows, Onto::Sum);
            let dk = &mut s.dk[key * depth_padded..][..many * depth_padded];
            product(dk, tile(d_scores), query_rows, Onto::Sum);
            product(dq_rows, tile(d_scores).t(), rows(k, &mut s.tile), Onto::Sum);
        }
        scaled(dq_rows, q.cols, T::of(self.scale), dq);
    }
}

/// Scores become weights, and gradients of weights those of scores.
fn differentiate<T: Element>(weights: &mut [T], gradients: &mut [T], log_sums: &[T], common: &[T]) {
    let width = log_sums.len();
    vectorised(
        #[inline(always)]
        || {
            for (weights, gradients) in weights.chunks_exact_mut(width).zip(gradients.chunks_exact_mut(width))
            {
                for i in 0..width {
                    let weight = (weights[i] - log_sums[i]).exp_nonpositive();
                    weights[i] = weight;
                    gradients[i] = weight * (gradients[i] - common[i]);
                }
            }
        },
    );
}

/// `y[i] = Σ a[i, j] b[i, j]`
fn products_of_rows<T: Element>(a: Mat<'_, T>, b: Mat<'_, T>, y: &mut [T]) {
    vectorised(
        #[inline(always)]
        || {
            for (i, y) in y.iter_mut().enumerate() {
                let [a, b] = [a, b].map(|x| &x.data[i * x.row..][..x.cols]);
                *y = T::of(sum2(a, b, |a, b| a * b));
            }
        },
    );
}

/// `y = scale · x`, where rows of `y` have `cols` numbers and those of `x` are whole vectors.
fn scaled<T: Element>(x: &[T], cols: usize, scale: T, y: &mut [T]) {
    let width = cols.next_multiple_of(LANES).max(1);
    for (y, x) in y.chunks_exact_mut(cols.max(1)).zip(x.chunks_exact(width)) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * scale);
    }
}
