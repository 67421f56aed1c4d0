//! Memory for numbers that several tasks write, each its own part, and read once all are written.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

/// Room for so many numbers. What nobody has written has no value.
pub(super) struct Room(Vec<UnsafeCell<MaybeUninit<f32>>>);

// SAFETY: the cells are reached through raw pointers only, by code that promises not to write where others read or write.
unsafe impl Sync for Room {}

impl Room {
    pub(super) fn new(len: usize) -> Self {
        let mut cells = Vec::with_capacity(len);
        // SAFETY: the capacity is `len` or more, and a cell without a value needs no writing.
        unsafe { cells.set_len(len) };
        Self(cells)
    }

    /// The place of number `first`, with `len` more from there on in the room.
    pub(super) fn at(&self, first: usize, len: usize) -> *mut f32 {
        let part = &self.0[first..first + len];
        UnsafeCell::raw_get(part.as_ptr()).cast()
    }
}
