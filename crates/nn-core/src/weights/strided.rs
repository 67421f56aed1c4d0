//! Where in a storage the numbers of a tensor are.

use super::Element;

/// A tensor's way through a storage; offset and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strided {
    pub(super) storage: usize,
    pub(super) element: Element,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// PyTorch's tensors have no more, nor have NumPy's.
pub(super) const MOST_AXES: usize = 64;

impl Strided {
    /// A tensor that lies in row-major order.
    pub(super) fn contiguous(storage: usize, element: Element, shape: Vec<usize>) -> Self {
        Self { storage, element, offset: 0, strides: row_major(&shape), shape }
    }

    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor's bytes, if neither they nor any place of it in the storage is beyond `length`.
    pub(super) fn checked_bytes(&self, length: u64) -> Option<usize> {
        let count = self.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))?;
        let bytes = count.checked_mul(self.element.size())?;
        // A tensor without numbers has strides as well.
        self.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side.max(1)))?;
        if self.shape.len() != self.strides.len() || self.shape.len() > MOST_AXES {
            return None;
        }
        if count > 0 {
            let steps = self.shape.iter().zip(&self.strides);
            let last = steps.map(|(&side, &stride)| (side - 1).checked_mul(stride));
            let last = last.into_iter().try_fold(self.offset, |sum, step| sum.checked_add(step?))?;
            let end = last.checked_add(1)?.checked_mul(self.element.size())?;
            u64::try_from(end).ok().filter(|&end| end <= length)?;
        }
        Some(bytes)
    }

    pub(super) fn is_contiguous(&self) -> bool {
        let plain = row_major(&self.shape);
        let same = |axis: usize| self.shape[axis] < 2 || self.strides[axis] == plain[axis];
        self.offset == 0 && (0..self.shape.len()).all(same)
    }

    /// The tensor's bytes in row-major order.
    pub(super) fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let size = self.element.size();
        let mut bytes = Vec::with_capacity(size * self.count());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.count() {
            let place: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            let start = size * (self.offset + place);
            bytes.extend_from_slice(&storage[start..start + size]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        bytes
    }
}

/// The strides of a tensor that lies in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}
