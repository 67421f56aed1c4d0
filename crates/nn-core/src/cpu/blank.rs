//! New vectors written once: memory that a kernel is about to fill is not zeroed first.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::parallel::for_each_chunk;

/// A stretch of a vector in the making, without values until one of the methods has written all of them.
///
/// The loops are here and not in iterators given by the caller, so that the function of an element is called from
/// one that is always inlined: only then are both compiled for the vectors of [`vectorised`](super::simd::vectorised).
pub(crate) struct Blank<'a, T> {
    slots: &'a mut [MaybeUninit<T>],
    full: bool,
    // Invariant in 'a: no stretch of another vector, already full, can be put in this one's place.
    brand: PhantomData<Cell<&'a ()>>,
}

impl<'a, T: Copy> Blank<'a, T> {
    fn new(slots: &'a mut [MaybeUninit<T>]) -> Self {
        Self { slots, full: false, brand: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Writes `f(i)` to every place `i` and lends the result.
    #[inline(always)]
    pub(crate) fn fill(&mut self, mut f: impl FnMut(usize) -> T) -> &mut [T] {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            slot.write(f(i));
        }
        self.full = true;
        self.get_mut()
    }

    /// Writes `f(a)` for each element of `a` and lends the result.
    #[inline(always)]
    pub(crate) fn map<A: Copy>(&mut self, a: &[A], f: impl Fn(A) -> T) -> &mut [T] {
        assert_eq!(a.len(), self.len(), "lengths differ");
        for (slot, &a) in self.slots.iter_mut().zip(a) {
            slot.write(f(a));
        }
        self.full = true;
        self.get_mut()
    }

    /// Writes `f(a, b)` for the elements of two slices and lends the result.
    #[inline(always)]
    pub(crate) fn map2<A: Copy, B: Copy>(&mut self, a: &[A], b: &[B], f: impl Fn(A, B) -> T) -> &mut [T] {
        assert!(a.len() == self.len() && b.len() == self.len(), "lengths differ");
        for (slot, (&a, &b)) in self.slots.iter_mut().zip(a.iter().zip(b)) {
            slot.write(f(a, b));
        }
        self.full = true;
        self.get_mut()
    }

    /// Writes `f(a, b, c)` for the elements of three slices and lends the result.
    #[inline(always)]
    pub(crate) fn map3(&mut self, [a, b, c]: [&[T]; 3], f: impl Fn(T, T, T) -> T) -> &mut [T] {
        assert!([a, b, c].iter().all(|x| x.len() == self.len()), "lengths differ");
        for (slot, ((&a, &b), &c)) in self.slots.iter_mut().zip(a.iter().zip(b).zip(c)) {
            slot.write(f(a, b, c));
        }
        self.full = true;
        self.get_mut()
    }

    /// Lets `f(i, part)` fill the `i`th part of `len` elements, one part after the other.
    #[inline(always)]
    pub(crate) fn fill_parts(&mut self, len: usize, mut f: impl FnMut(usize, &mut Blank<'_, T>)) {
        for (i, slots) in self.slots.chunks_mut(len).enumerate() {
            let mut part = Blank::new(slots);
            f(i, &mut part);
            assert!(part.full, "a stretch of a new vector was left unwritten");
        }
        self.full = true;
    }

    /// Writes slices one after the other.
    pub(crate) fn join<'b>(&mut self, parts: impl Iterator<Item = &'b [T]>)
    where
        T: 'b,
    {
        let mut rest = &mut *self.slots;
        for part in parts {
            assert!(part.len() <= rest.len(), "lengths differ");
            let (slots, others) = std::mem::take(&mut rest).split_at_mut(part.len());
            slots.iter_mut().zip(part).for_each(|(slot, &v)| {
                slot.write(v);
            });
            rest = others;
        }
        assert!(rest.is_empty(), "lengths differ");
        self.full = true;
    }

    /// The values of a stretch that was filled.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self) -> &mut [T] {
        assert!(self.full, "a stretch of a new vector is read before it is written");
        // SAFETY: `full` is set by this type's methods alone, after they have written every slot; `MaybeUninit<T>` has the layout
        // of `T`, and the borrow is that of `self`.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast::<T>(), self.slots.len()) }
    }
}

/// A vector of `len` elements; `f(i, blank)` fills the `i`th stretch of `chunk` (the last may be shorter), on
/// several threads if `work`, the elementary operations in all, is worth it.
pub(crate) fn by_chunks<T: Copy + Send>(
    len: usize,
    chunk: usize,
    work: usize,
    f: impl Fn(usize, &mut Blank<'_, T>) + Sync + Send,
) -> Vec<T> {
    build(len, |slots| {
        for_each_chunk(slots, chunk, work, |i, slots| {
            let mut blank = Blank::new(slots);
            f(i, &mut blank);
            assert!(blank.full, "a stretch of a new vector was left unwritten");
        });
    })
}

/// Where a task of [`by_columns`] stands: in slab `slab`, at the columns from `start` on.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) slab: usize,
    pub(crate) start: usize,
}

/// [`by_chunks`] whose tasks also find something out: what `f` returns, in the order of the stretches.
pub(crate) fn by_chunks_finding<T: Copy + Send, R: Send>(
    len: usize,
    chunk: usize,
    work: usize,
    f: impl Fn(usize, &mut Blank<'_, T>) -> R + Sync + Send,
) -> (Vec<T>, Vec<R>) {
    by_columns_finding([1, 1, len], chunk, work, |at, rows| f(at.start / chunk, &mut rows[0]))
}

/// A vector of `[slabs, rows, columns]`, made in blocks of all rows by at most `block` columns.
///
/// `f` fills, for each row, the stretch of it that lies in the block.
pub(crate) fn by_columns<T: Copy + Send>(
    shape: [usize; 3],
    block: usize,
    work: usize,
    f: impl Fn(Columns, &mut [Blank<'_, T>]) + Sync + Send,
) -> Vec<T> {
    by_columns_finding(shape, block, work, f).0
}

/// [`by_columns`] whose tasks also find something out: what `f` returns, slab by slab in the order of the columns.
pub(crate) fn by_columns_finding<T: Copy + Send, R: Send>(
    [slabs, rows, columns]: [usize; 3],
    block: usize,
    work: usize,
    f: impl Fn(Columns, &mut [Blank<'_, T>]) -> R + Sync + Send,
) -> (Vec<T>, Vec<R>) {
    let mut found = Vec::new();
    let made = build(slabs * rows * columns, |slots| {
        let mut tasks = Vec::new();
        for (slab, slots) in slots.chunks_mut((rows * columns).max(1)).enumerate() {
            let first = tasks.len();
            for start in (0..columns).step_by(block) {
                tasks.push((Columns { slab, start }, Vec::with_capacity(rows), None));
            }
            for row in slots.chunks_mut(columns) {
                for (stretch, (_, blanks, _)) in row.chunks_mut(block).zip(&mut tasks[first..]) {
                    blanks.push(Blank::new(stretch));
                }
            }
        }
        for_each_chunk(&mut tasks, 1, work, |_, task| {
            let (at, blanks, found) = &mut task[0];
            *found = Some(f(*at, blanks));
            assert!(blanks.iter().all(|b| b.full), "a stretch of a new vector was left unwritten");
        });
        found.extend(tasks.into_iter().filter_map(|(_, _, found)| found));
    });
    (made, found)
}

/// A vector of `len` elements all of which `write` must write.
fn build<T: Copy>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut data = Vec::with_capacity(len);
    write(&mut data.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and both callers cut all `len` slots into stretches and panic
    // unless every stretch was filled.
    unsafe { data.set_len(len) };
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_columns_cover_the_vector() {
        for len in [0, 1, 5, 6, 7] {
            let made = by_chunks(len, 3, 1_000_000, |i, blank| {
                let start = 3 * i;
                blank.fill(|j| start + j);
            });
            assert_eq!(made, (0..len).collect::<Vec<_>>());
            let made = by_chunks(len, 5, 1_000_000, |i, blank| {
                blank.fill_parts(2, |j, part| {
                    let start = 5 * i + 2 * j;
                    part.fill(|k| start + k);
                });
            });
            assert_eq!(made, (0..len).collect::<Vec<_>>());
        }
        for [slabs, rows, columns] in [[2, 3, 5], [1, 1, 4], [3, 2, 1], [0, 3, 2], [2, 0, 3], [2, 3, 0]] {
            let made = by_columns([slabs, rows, columns], 2, 1_000_000, |at, blanks| {
                for (row, blank) in blanks.iter_mut().enumerate() {
                    let start = (at.slab * rows + row) * columns + at.start;
                    blank.fill(|j| start + j);
                }
            });
            assert_eq!(made, (0..slabs * rows * columns).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_tasks_find_comes_in_their_order() {
        let (made, found) = by_chunks_finding(7, 3, 1_000_000, |i, blank| (i, blank.fill(|j| j).len()));
        assert_eq!(made, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(found, [(0, 3), (1, 3), (2, 1)]);
        let (_, found) = by_columns_finding([2, 3, 5], 2, 1_000_000, |at, blanks| {
            for blank in blanks {
                blank.fill(|_| 0);
            }
            (at.slab, at.start)
        });
        assert_eq!(found, [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4)]);
    }

    #[test]
    fn slices_are_joined() {
        let parts: [&[u8]; 3] = [&[1, 2], &[], &[3]];
        assert_eq!(by_chunks(6, 3, 0, |_, blank| blank.join(parts.into_iter())), [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn slices_that_leave_a_gap_are_a_bug() {
        by_chunks::<u8>(2, 2, 0, |_, blank| blank.join([[1].as_slice()].into_iter()));
    }

    #[test]
    #[should_panic(expected = "left unwritten")]
    fn an_unwritten_stretch_is_a_bug() {
        by_chunks::<u8>(2, 1, 0, |i, blank| {
            if i == 0 {
                blank.fill(|_| 1);
            }
        });
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn too_few_values_are_a_bug() {
        by_chunks::<u8>(2, 2, 0, |_, blank| {
            blank.map2(&[1, 2], &[1], |a, b| a + b);
        });
    }
}
