//! The convolutions that are fully connected layers in all but name: one matrix product for the whole batch.

use super::{Ending, Plan};
use crate::cpu::Element;
use crate::cpu::affine::affine;
use crate::cpu::gemm::{Mat, product};
use crate::ops::window::Window;

impl Plan {
    /// Whether the kernel sees the whole image once.
    pub(super) fn is_linear(&self) -> bool {
        let whole =
            |(w, &input): (&Window, &usize)| w.kernel == input && w.dilation == 1 && w.padding == [0, 0];
        self.groups == 1 && self.patches.windows.iter().zip(&self.patches.input).all(whole)
    }

    pub(super) fn linear_forward<T: Element>(&self, x: &[T], w: &[T], end: Ending<T>) -> Vec<T> {
        let mut y = affine(self.images(x), self.weights(w), end.bias());
        if end.has_line() {
            y.iter_mut().enumerate().for_each(|(n, y)| end.line(n % self.c_out, std::slice::from_mut(y)));
        }
        y
    }

    pub(super) fn linear_input_gradient<T: Element>(&self, dy: &[T], w: &[T]) -> Vec<T> {
        product(Mat::new(dy, self.batch, self.c_out), self.weights(w))
    }

    pub(super) fn linear_weight_gradient<T: Element>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        product(Mat::new(dy, self.batch, self.c_out).t(), self.images(x))
    }

    /// An image a row.
    fn images<'a, T>(&self, x: &'a [T]) -> Mat<'a, T> {
        Mat::new(x, self.batch, self.depth())
    }

    fn weights<'a, T>(&self, w: &'a [T]) -> Mat<'a, T> {
        Mat::new(w, self.c_out, self.depth())
    }
}
