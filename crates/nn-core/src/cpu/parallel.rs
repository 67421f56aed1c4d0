//! Work over threads. Tasks are whole planes, rows or samples, and their number never depends on that of the
//! threads, so neither do results.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Work below this many elementary operations is done by the calling thread: waking another costs more.
const WORTH_A_THREAD: usize = 32_768;

/// Calls `f(i, chunk)` for each chunk of `len` elements of `data` (the last may be shorter), on several threads
/// if `work`, the elementary operations in all, is worth it.
pub(crate) fn for_each_chunk<T: Send>(
    data: &mut [T],
    len: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let len = len.max(1);
    if work < WORTH_A_THREAD || data.len() <= len {
        data.chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        data.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}

/// Calls `f(scratch, task)` for each task, on several threads if `work`, the elementary operations in all, is worth it.
///
/// Every thread gets scratch space of its own, whose content at the start of a call is whatever an earlier one left.
pub(crate) fn for_each_task<X: Send, S>(
    tasks: Vec<X>,
    work: usize,
    scratch: impl Fn() -> S + Sync + Send,
    f: impl Fn(&mut S, X) + Sync + Send,
) {
    if work < WORTH_A_THREAD || tasks.len() < 2 {
        let mut scratch = scratch();
        tasks.into_iter().for_each(|task| f(&mut scratch, task));
    } else {
        tasks.into_par_iter().for_each_init(scratch, f);
    }
}

/// A new vector of `count` chunks of `len` elements, on several threads if `work`, the elementary operations in
/// all, is worth it.
///
/// Chunk `i` is what `f(scratch, i)` returns; every thread gets scratch space of its own, whose content at the
/// start of a call is whatever an earlier one left. Chunks are copied once, from the cache: zeroing the
/// vector to fill it in place would go through memory.
pub(crate) fn collect_chunks<T: Copy + Send + Sync, S>(
    [count, len]: [usize; 2],
    work: usize,
    scratch: impl Fn() -> S + Sync + Send,
    f: impl Fn(&mut S, usize) -> &[T] + Sync + Send,
) -> Vec<T> {
    collect_pairs(count, [len, 1], work, scratch, |scratch, i| (f(scratch, i), &[()])).0
}

/// [`collect_chunks`] for two vectors at once, whose chunks are of `lens` elements.
pub(crate) fn collect_pairs<A: Copy + Send + Sync, B: Copy + Send + Sync, S>(
    count: usize,
    lens: [usize; 2],
    work: usize,
    scratch: impl Fn() -> S + Sync + Send,
    f: impl Fn(&mut S, usize) -> (&[A], &[B]) + Sync + Send,
) -> (Vec<A>, Vec<B>) {
    let totals = lens.map(|len| count * len);
    let (mut first, mut second) = (Vec::with_capacity(totals[0]), Vec::with_capacity(totals[1]));
    if totals.contains(&0) {
        return (first, second);
    }
    let rooms = (&mut first.spare_capacity_mut()[..totals[0]], &mut second.spare_capacity_mut()[..totals[1]]);
    let fill = |scratch: &mut S, (i, (a, b)): (usize, (Room<'_, A>, Room<'_, B>))| {
        let chunks = f(scratch, i);
        fill(a, chunks.0);
        fill(b, chunks.1);
    };
    if work < WORTH_A_THREAD || count < 2 {
        let mut scratch = scratch();
        let rooms = rooms.0.chunks_exact_mut(lens[0]).zip(rooms.1.chunks_exact_mut(lens[1]));
        rooms.enumerate().for_each(|task| fill(&mut scratch, task));
    } else {
        let rooms = rooms.0.par_chunks_exact_mut(lens[0]).zip(rooms.1.par_chunks_exact_mut(lens[1]));
        rooms.enumerate().for_each_init(scratch, fill);
    }
    // SAFETY: each total is a multiple of its length, both have `count` chunks, and each chunk was filled (or its task
    // panicked, and so did this).
    unsafe {
        first.set_len(totals[0]);
        second.set_len(totals[1]);
    }
    (first, second)
}

/// A stretch of new memory.
type Room<'a, T> = &'a mut [MaybeUninit<T>];

fn fill<T: Copy>(room: Room<'_, T>, chunk: &[T]) {
    assert_eq!(chunk.len(), room.len(), "a chunk of another length");
    // SAFETY: as many elements as there is room for; they are `Copy`, and apart, since one is borrowed mutably.
    unsafe { room.as_mut_ptr().cast::<T>().copy_from_nonoverlapping(chunk.as_ptr(), chunk.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_arrive_in_order() {
        for work in [0, usize::MAX] {
            for (count, len) in [(0, 3), (1, 3), (100, 7), (5, 0)] {
                let out = collect_chunks(
                    [count, len],
                    work,
                    || vec![0; len],
                    |scratch: &mut Vec<usize>, i| {
                        scratch.iter_mut().enumerate().for_each(|(j, x)| *x = i * len + j);
                        scratch
                    },
                );
                assert_eq!(out, (0..count * len).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn pairs_arrive_together() {
        for work in [0, usize::MAX] {
            let scratch = || (vec![0; 3], vec![0; 2]);
            let (a, b) = collect_pairs(50, [3, 2], work, scratch, |(a, b), i| {
                a.fill(i);
                b.fill(2 * i);
                (a, b)
            });
            assert_eq!(a, (0..150).map(|i| i / 3).collect::<Vec<_>>());
            assert_eq!(b, (0..100).map(|i| i / 2 * 2).collect::<Vec<_>>());
        }
    }
}
