//! Work over threads. Tasks are whole planes, rows or samples, and their number never depends on that of the
//! threads, so neither do results.

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
