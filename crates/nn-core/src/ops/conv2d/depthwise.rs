//! The convolutions whose groups have one input channel each: forward and both gradients without a matrix product.

use super::Plan;
use super::ending::Ending;
use crate::cpu::{Element, depthwise};

impl Plan {
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.i() == 1 && self.o() > 0 && self.batch > 0
    }

    pub(super) fn depthwise_forward<T: Element>(&self, x: &[T], w: &[T], end: Ending<T>) -> Vec<T> {
        let finish = |channel: usize, y: &mut [T]| end.line(channel, y);
        let finish = end.has_line().then_some(&finish as &(dyn Fn(usize, &mut [T]) + Sync));
        depthwise::forward(&self.patches, [self.groups, self.o()], x, w, end.bias(), finish)
    }

    pub(super) fn depthwise_input_gradient<T: Element>(&self, dy: &[T], w: &[T], b: Option<&[T]>) -> Vec<T> {
        depthwise::input_gradient(&self.patches, [self.groups, self.o()], dy, w, b)
    }

    pub(super) fn depthwise_weight_gradient<T: Element>(&self, dy: &[T], x: &[T]) -> Vec<T> {
        depthwise::weight_gradient(&self.patches, [self.groups, self.o()], dy, x)
    }
}
