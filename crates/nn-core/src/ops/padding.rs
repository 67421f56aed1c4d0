//! What surrounds a signal or an image before a kernel slides over it.

/// Zeros around the input, along `N` axes: `[length]`, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<const N: usize = 2> {
    /// As many before as after, an axis at a time.
    Symmetric([usize; N]),
    /// `[before, after]`, an axis at a time: for `N = 2` it is `[[top, bottom], [left, right]]`.
    Asymmetric([[usize; 2]; N]),
    /// As many as it takes for `⌈size / stride⌉` windows, an odd pixel going after: TensorFlow's `SAME`.
    Same,
}

impl<const N: usize> Default for Padding<N> {
    fn default() -> Self {
        Self::Symmetric([0; N])
    }
}

impl<const N: usize> Padding<N> {
    /// Pixels `[before, after]` along an axis of an input of `size`, for windows that span `span`.
    pub(crate) fn around(self, axis: usize, size: usize, span: usize, stride: usize) -> [usize; 2] {
        match self {
            Self::Symmetric(padding) => [padding[axis]; 2],
            Self::Asymmetric(padding) => padding[axis],
            Self::Same => {
                let last = size.div_ceil(stride.max(1)).saturating_sub(1) * stride;
                let total = (last + span).saturating_sub(size);
                [total / 2, total - total / 2]
            }
        }
    }
}

impl Padding<1> {
    /// The same around an image of height 1, along its width.
    pub(crate) fn of_a_row(self) -> Padding {
        match self {
            Self::Symmetric([length]) => Padding::Symmetric([0, length]),
            Self::Asymmetric([length]) => Padding::Asymmetric([[0, 0], length]),
            Self::Same => Padding::Same,
        }
    }
}
