//! Instruction sets, chosen at run time.

/// Runs plain loops compiled for the widest vectors the processor has (AVX-512, AVX2 with FMA, or the baseline).
///
/// `f` and what it calls must be inlined for that, so both calls inside and a closure of more than a few lines are
/// `#[inline(always)]`; `mul_add` is then one instruction, and rounds once on every processor. Write the closure here
/// as the argument: one that is passed on by a function with another bound than `FnOnce` goes through an adapter that is
/// not inlined, and runs as if this were not here.
///
/// ```
/// fn scale(x: &mut [f32], by: f32) {
///     nn_core::vectorised(
///         #[inline(always)]
///         || x.iter_mut().for_each(|x| *x *= by),
///     );
/// }
/// # let mut x = [1.0, 2.0, 3.0];
/// # scale(&mut x, 2.0);
/// # assert_eq!(x, [2.0, 4.0, 6.0]);
/// ```
#[inline]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The `N` elements from `start` on, as a value that can stay in registers.
///
/// A loop over a row of unknown length has a scalar tail, which is all of a short row; loops over blocks have none.
#[inline(always)]
pub(crate) fn block<T: Copy, const N: usize>(x: &[T], start: usize) -> [T; N] {
    let Some(block) = x[start..].first_chunk() else { panic!("a block reaches beyond its slice") };
    *block
}
