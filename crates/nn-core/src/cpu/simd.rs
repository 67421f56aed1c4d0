//! Instruction sets, chosen at run time.

/// Runs plain loops compiled for the widest vectors the processor has (AVX-512, AVX2 with FMA, or the baseline).
///
/// `f` and what it calls must be inlined for that, so calls inside are `#[inline(always)]`; `mul_add` is then one
/// instruction, and rounds once on every processor.
#[inline]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
