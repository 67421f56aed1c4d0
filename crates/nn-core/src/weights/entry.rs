//! A tensor under its present name: what it is made of, and how it becomes another library's.

use super::Element;
use super::names::Window;
use super::strided::Strided;

/// A tensor: one of the file's, or several end to end along the first axis.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    pub(super) parts: Vec<Strided>,
}

impl From<Strided> for Entry {
    fn from(tensor: Strided) -> Self {
        Self { shape: tensor.shape.clone(), element: tensor.element, parts: vec![tensor] }
    }
}

impl Entry {
    /// Both end to end along the first axis; nothing if they do not fit.
    pub(super) fn join(mut self, next: Self) -> Option<Self> {
        let ([rows, row @ ..], [more, other @ ..]) = (&mut self.shape[..], &next.shape[..]) else {
            return None;
        };
        if row != other || self.element != next.element {
            return None;
        }
        *rows = rows.checked_add(*more)?;
        self.parts.extend(next.parts);
        Some(self)
    }

    /// As many parts of equal size along the first axis; nothing if there are none.
    pub(super) fn split(&self, parts: usize) -> Option<Vec<Self>> {
        if parts == 1 {
            return Some(vec![self.clone()]);
        }
        let [whole] = &self.parts[..] else {
            let as_they_were =
                self.parts.len() == parts && self.parts.iter().all(|p| p.shape == self.parts[0].shape);
            return as_they_were.then(|| self.parts.iter().cloned().map(Self::from).collect());
        };
        let rows = self.shape.first().filter(|rows| *rows % parts == 0)? / parts;
        let cut = |n: usize| {
            let mut part = whole.clone();
            part.offset = (n * rows).checked_mul(*part.strides.first()?)?.checked_add(part.offset)?;
            *part.shape.first_mut().filter(|all| **all == parts * rows)? = rows;
            Some(Self::from(part))
        };
        (0..parts).map(cut).collect()
    }

    /// The kernel of a convolution as large as its input, as that of a dense layer; a bias stays as it is.
    pub(super) fn flatten(mut self, window: Window) -> Option<Self> {
        if let (Some(window), true) = (window, self.shape.len() > 1) {
            let &[c_out, c_in, height, width] = &self.shape[..] else { return None };
            if [height, width] != window {
                return None;
            }
            self.shape = vec![c_out, c_in * height * width];
        }
        Some(self)
    }

    /// The way back.
    pub(super) fn unflatten(mut self, window: Window) -> Option<Self> {
        if let (Some([height, width]), true) = (window, self.shape.len() > 1) {
            let &[rows, columns] = &self.shape[..] else { return None };
            let channels = columns.checked_div(height * width)?;
            self.shape = vec![rows, channels, height, width];
            if channels * height * width != columns {
                return None;
            }
        }
        Some(self)
    }
}
