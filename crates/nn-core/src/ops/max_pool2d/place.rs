//! Where in its window a maximum is: the number of its tap, in as few bytes as do.

/// The number of a tap of a window, in row-major order; nothing where nobody asks for it.
pub(super) trait Place: Copy + PartialEq + Send + Sync + 'static {
    fn at(tap: usize) -> Self;
    fn plus(self, taps: Self) -> Self;
}

impl Place for u8 {
    #[inline(always)]
    fn at(tap: usize) -> Self {
        tap as u8
    }

    #[inline(always)]
    fn plus(self, taps: Self) -> Self {
        self.wrapping_add(taps)
    }
}

impl Place for u32 {
    #[inline(always)]
    fn at(tap: usize) -> Self {
        tap as u32
    }

    #[inline(always)]
    fn plus(self, taps: Self) -> Self {
        self.wrapping_add(taps)
    }
}

impl Place for () {
    #[inline(always)]
    fn at(_: usize) {}

    #[inline(always)]
    fn plus(self, (): Self) {}
}

/// The places of all maxima, in the order of the windows.
#[derive(Debug)]
pub(super) enum Places {
    /// Windows of at most 256 taps: all that networks have.
    Few(Vec<u8>),
    Many(Vec<u32>),
}
