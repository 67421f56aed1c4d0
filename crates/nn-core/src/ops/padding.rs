//! What surrounds an image before a kernel slides over it.

/// Zeros around the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// `[height, width]`: as many pixels before as after.
    Symmetric([usize; 2]),
    /// As many as it takes for `⌈size / stride⌉` windows, an odd pixel going after: TensorFlow's `SAME`.
    Same,
}

impl Default for Padding {
    fn default() -> Self {
        Self::Symmetric([0, 0])
    }
}

impl Padding {
    /// Pixels `[before, after]` along `axis` (0 height, 1 width) of an input of `size`, for windows that span `span`.
    pub(crate) fn around(self, axis: usize, size: usize, span: usize, stride: usize) -> [usize; 2] {
        match self {
            Self::Symmetric(padding) => [padding[axis]; 2],
            Self::Same => {
                let last = size.div_ceil(stride.max(1)).saturating_sub(1) * stride;
                let total = (last + span).saturating_sub(size);
                [total / 2, total - total / 2]
            }
        }
    }
}
