//! The convolutions with 3×3 kernels at stride 1 and enough channels: a quarter of the multiplications.

use super::Plan;
use super::ending::Ending;
use crate::cpu::winograd::{self, Problem};

impl Plan {
    /// This convolution as one of 3×3 filters, if that is the shorter way.
    fn winograd(&self) -> Option<Problem> {
        let p = &self.patches;
        let plain = p.windows.iter().all(|w| w.kernel == 3 && w.stride == 1 && w.dilation == 1);
        let problem = Problem {
            images: self.batch,
            c_in: self.c_in,
            c_out: self.c_out,
            input: p.input,
            padding: p.windows.map(|w| w.padding[0]),
            output: p.output,
        };
        (plain && self.groups == 1 && problem.suits()).then_some(problem)
    }

    pub(super) fn winograd_forward(&self, x: &[f32], w: &[f32], end: Ending<f32>) -> Option<Vec<f32>> {
        let problem = self.winograd()?;
        let finish = |channel: usize, y: &mut [f32]| end.line(channel, y);
        let finish = end.has_line().then_some(&finish as &(dyn Fn(usize, &mut [f32]) + Sync));
        Some(winograd::forward(&problem, x, w, end.bias(), finish))
    }

    pub(super) fn winograd_weight_gradient(&self, dy: &[f32], x: &[f32]) -> Option<Vec<f32>> {
        Some(winograd::weight_gradient(&self.winograd()?, x, dy))
    }
}
